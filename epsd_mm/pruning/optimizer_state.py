"""What optimisers remember of weights."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer


def with_wrapped(optimizer: Optimizer) -> list[Optimizer]:
    """An optimiser and those that it holds, however deep.

    Such as those of ``ZeroRedundancyOptimizer`` and of timm's ``Lookahead``.
    """
    found = [optimizer]
    for each in found:  # grows on the way
        found += [
            held
            for held in vars(each).values()
            if isinstance(held, Optimizer)
            and not any(held is known for known in found)
        ]
    return found


def let_run_hooks(optimizer: Optimizer) -> None:
    """Make up for an ``Optimizer.__init__`` that was never called.

    Wrappers leave it out for the groups of weights that it would make, and
    get no hooks then; unpickling an optimiser of an old torch adds them.
    """
    if not hasattr(optimizer, '_optimizer_load_state_dict_post_hooks'):
        Optimizer.__setstate__(optimizer, {})


def alike(state: Any, weight: Tensor) -> Iterator[Tensor]:
    """What has an entry for each of a weight, in the weight's shape.

    Whatever is in its state, however deep, but not a list of matrices or
    vectors, one for each side of the weight, which are factors of a
    preconditioner (as of Kron, SOAP and Shampoo).
    """
    for value in _tensors(state, weight):
        if not value.is_floating_point():
            continue
        if value.shape == weight.shape:
            yield value
        elif value.numel() == weight.numel() and value.is_contiguous():
            yield value.view(weight.shape)


def _tensors(value: Any, weight: Tensor) -> Iterator[Tensor]:
    """What may have an entry for each of a weight, however deep."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _tensors(each, weight)
    elif isinstance(value, (list, tuple)) and not _factors(value, weight):
        for each in value:
            yield from _tensors(each, weight)


def _factors(values: Sequence[Any], weight: Tensor) -> bool:
    """Whether there is a square or a diagonal for each side of a weight.

    Those of a square weight are of its own shape.
    """
    return weight.dim() == len(values) > 1 and all(
        isinstance(value, Tensor)
        and value.dim() in (1, 2)
        and set(value.shape) == {side}
        for value, side in zip(values, weight.shape)
    )
