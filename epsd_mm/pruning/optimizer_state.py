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
        if not (value.is_floating_point() or value.is_complex()):
            continue
        if value.shape == weight.shape:
            yield value
        elif value.numel() == weight.numel() and value.is_contiguous():
            yield value.view(weight.shape)


def starts_of(optimizer: Optimizer, weight: Tensor) -> dict[str, float]:
    """What the state of a weight begins with, by key, where that is not 0.

    Of the optimisers of torch and timm that have such a state: from zero,
    the step sizes of Rprop would never grow again.
    """
    for kind in type(optimizer).__mro__:
        name = f'{kind.__module__}.{kind.__name__}'
        if name in _STARTS:
            key, start = _STARTS[name]
            return {key: float(start(_group_of(optimizer, weight)))}
    return {}


_STARTS = {
    'torch.optim.adagrad.Adagrad': (
        'sum',
        lambda group: group['initial_accumulator_value'],
    ),
    'torch.optim.rprop.Rprop': ('step_size', lambda group: group['lr']),
    'timm.optim.rmsprop_tf.RMSpropTF': ('square_avg', lambda group: 1),
}


def in_rows(
    optimizer: Optimizer,
) -> Iterator[tuple[dict, list[tuple[Tensor, Tensor]]]]:
    """States in which a whole group of weights lies in rows, as L-BFGS's.

    Each with the weights of its group, and what lies there of them.
    """
    for group in optimizer.param_groups:
        weights = group['params']
        sizes = [weight.numel() for weight in weights]
        if len(weights) < 2:
            continue
        for weight in weights:
            if weight not in optimizer.state:
                continue
            state = optimizer.state[weight]
            parts = [
                (each, part.view(each.shape))
                for row in _tensors(state, weight)
                if row.shape == (sum(sizes),)
                for each, part in zip(weights, row.split(sizes))
            ]
            if parts:
                yield state, parts


def _group_of(optimizer: Optimizer, weight: Tensor) -> dict[str, Any]:
    for group in optimizer.param_groups:
        if any(weight is each for each in group['params']):
            return group
    raise KeyError('a weight of no group')


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
