"""Whether a network that was cut is the one with zeros."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from epsd_mm.structure import traceable
from epsd_mm.structure.wiring import tensors

Call = Callable[[nn.Module], Any]

#: In single precision deep networks come to 1e-5.
_TOLERANCE = 1e-3


class Comparison(NamedTuple):
    """How two networks compare.

    Attributes:
        difference: The largest of their outputs, as a share of the largest
            output.
        dropouts: Names of the layers that draw other random numbers in
            training, because their features are narrower.
    """

    difference: float
    dropouts: list[str]


def compare(zeros: nn.Module, narrow: nn.Module, call: Call) -> Comparison:
    """Call a network with zeros, and one without those channels.

    Args:
        zeros: Left as it is.
        narrow: Left as it is.
        call: Calls a network on an example, and returns its outputs.

    Raises:
        ValueError: They are not the same network.
    """
    (one, whole), (other, cut) = (_called(m, call) for m in (zeros, narrow))
    pairs = [*zip(one, other)]
    differences = torch.tensor([0.0, *(_difference(a, b) for a, b in pairs)])
    worst = float(differences.max())  # nan, where one is
    if len(one) != len(other) or not worst <= _TOLERANCE:
        raise ValueError(
            'the network without the removed channels does not return what '
            'the one with zeros in their place does (a difference of '
            f'{worst:.1e} of the largest output): these are not its channels, '
            'or it is one that cannot be cut: take the channels of this very '
            'network, or prune single weights; nothing was written'
        )
    return Comparison(worst, [n for n in cut if cut[n] != whole[n]])


def check_training(
    zeros: nn.Module, narrow: nn.Module, call: Callable[[nn.Module], Any]
) -> None:
    """Call both as a training step does: with layers that only it uses.

    Args:
        zeros: Left as it is.
        narrow: Left as it is.
        call: Calls a network on a batch, and returns its losses.

    Raises:
        ValueError: Only the one with zeros can be called so.
    """
    try:
        _trained(narrow, call)
    except Exception as error:  # whatever a layer says to other widths
        _trained(zeros, call)  # or it could not be trained anyway
        (line, *_) = str(error).splitlines() or [type(error).__name__]
        raise ValueError(
            'the network without the removed channels cannot be trained, as '
            'the one with zeros in their place can: layers that only '
            f'training uses are not made narrow ({line}); name in '
            'exclude=[...] of EPSDHook the layers whose outputs those read; '
            'nothing was written'
        ) from error


def _trained(model: nn.Module, call: Callable[[nn.Module], Any]) -> None:
    with traceable(model), torch.no_grad():
        for module in model.modules():
            module.training = True
        call(model)


def _difference(one: torch.Tensor, other: torch.Tensor) -> float:
    if one.shape != other.shape:
        return float('inf')
    if not one.numel():
        return 0.0
    return float((one - other).abs().max() / one.abs().max().clamp_min(1e-12))


def _called(
    model: nn.Module, call: Call
) -> tuple[list[torch.Tensor], dict[str, torch.Size]]:
    with traceable(model), torch.no_grad(), _dropout_shapes(model) as shapes:
        return [*tensors(call(model))], shapes


@contextmanager
def _dropout_shapes(model: nn.Module) -> Iterator[dict[str, torch.Size]]:
    """Shapes of what dropout gets while the block runs, by its name."""
    shapes: dict[str, torch.Size] = {}

    def note(name: str) -> Callable:
        def hook(module: nn.Module, inputs: tuple) -> None:
            shapes[name] = inputs[0].shape

        return hook

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            if isinstance(module, _DropoutNd) and module.p:
                handle = module.register_forward_pre_hook(note(name))
                hooks.callback(handle.remove)
        yield shapes
