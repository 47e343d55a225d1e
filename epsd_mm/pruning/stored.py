"""Whether a layer multiplies by its weight as it is stored.

A mask makes stored weights zero. Where a layer standardises its weight, or
adds something to it, before it convolves, what it convolves with is not zero
there: a removed weight would still take part.
"""

import inspect
import re
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from .layers import layer_weights
from .objective import preserved_randomness

#: Where forward passes are written that use the weight as it is.
_TRUSTED = (
    'torch.nn.modules.',
    'torchvision.ops.deform_conv',
    'mmcv.ops.deform_conv',
    'mmcv.ops.modulated_deform_conv',
)

#: Operators that move values, cast them or put zeros beside them.
_MOVES = set(
    'AccumulateGrad Alias AsStrided Cat Clone ConstantPadNd Expand Flip '
    'Gather Index IndexSelect Permute Repeat ReshapeAlias Roll Select Slice '
    'Split SplitWithSizes Squeeze Stack T ToCopy Transpose Unbind UnsafeSplit '
    'UnsafeView Unsqueeze View'.split()
)


class UncallableError(Exception):
    """A layer cannot be called by itself."""


def changes_to_weights(layer: nn.Module) -> list[str]:
    """What a layer does to its weights before it multiplies by them.

    Torch's own layers do nothing. One that has a forward pass of its own
    is called once, on a small input and copies of its weights: until a
    weight meets the input, it may be moved and cast, and nothing else.

    Args:
        layer: One with :func:`~epsd_mm.pruning.layers.layer_weights`.

    Returns:
        Names of the operators, such as ``['Mean', 'Sub']``.

    Raises:
        UncallableError: The call fails.
    """
    if _trusted(layer):
        return []
    copies = {
        name: param.detach().clone().requires_grad_()
        for name, param in layer.named_parameters()
    }
    weights = [
        copies[name]
        for name, param in layer.named_parameters(recurse=False)
        if any(param is weight for weight in layer_weights(layer))
    ]
    modes = {module: module.training for module in layer.modules()}
    inputs, seen, failure = [], _Seen(), None
    try:
        layer.train()
        with preserved_randomness(), torch.enable_grad():
            inputs = _inputs(layer)
            with seen:
                seen.outputs = _forward(layer, copies, inputs)
    except Exception as e:
        failure = UncallableError(f'{type(e).__name__}: {e}')
    finally:
        for module, training in modes.items():
            module.training = training
    operators = set(_before_they_meet(seen.outputs, weights, inputs))
    if failure and not operators:
        raise failure
    return sorted(operators)


def _trusted(layer: nn.Module) -> bool:
    kind = type(layer)
    own = vars(layer).get('forward')
    if own is not None and _code(own) is not _code(kind.forward):
        return False
    functions = kind.forward, getattr(kind, '_conv_forward', kind.forward)
    modules = [getattr(f, '__module__', None) or '' for f in functions]
    return all(module.startswith(_TRUSTED) for module in modules)


def _code(function: Any) -> Any:
    return getattr(inspect.unwrap(function), '__code__', None)


class _Seen(TorchFunctionMode):
    """Has the outputs of a call; of one that failed, all up to there."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: Any = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        self.outputs.append(output)
        return output


class _Alone(nn.Module):
    """Lets ``functional_call`` reach a layer without its hooks."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *inputs: Tensor) -> Any:
        return self.layer.forward(*inputs)


def _forward(
    layer: nn.Module, params: dict[str, Tensor], inputs: Sequence[Tensor]
) -> Any:
    buffers = {name: b.clone() for name, b in layer.named_buffers()}
    state = {f'layer.{name}': t for name, t in {**params, **buffers}.items()}
    return functional_call(_Alone(layer), state, tuple(inputs))


def _inputs(layer: nn.Module) -> list[Tensor]:
    """Small ones, with room for the padding of a convolution."""
    weight = layer_weights(layer)[0]
    if isinstance(layer, nn.Linear):
        shapes = [(2, layer.in_features)]
    elif isinstance(layer, nn.MultiheadAttention):
        dims = layer.embed_dim, layer.kdim, layer.vdim
        shapes = [(2, 2, dim) for dim in dims]
    else:
        kernel, dilation = layer.kernel_size, layer.dilation
        if isinstance(dilation, int):
            dilation = (dilation,) * len(kernel)
        sides = [d * (k - 1) + 3 for k, d in zip(kernel, dilation)]
        shapes = [(2, layer.in_channels, *sides)]
    return [
        torch.randn(
            shape, device=weight.device, dtype=weight.dtype, requires_grad=True
        )
        for shape in shapes
    ]


def _before_they_meet(
    outputs: Any, weights: Sequence[Tensor], inputs: Sequence[Tensor]
) -> Iterator[str]:
    """Operators on weights alone that do more than to move values."""
    reached: dict[Any, tuple[bool, bool]] = {}

    def visit(node: Any) -> tuple[bool, bool]:
        """Whether a node depends on a weight, and on an input."""
        if node not in reached:
            leaf = getattr(node, 'variable', None)
            of_weight, of_input = _among(leaf, weights), _among(leaf, inputs)
            for below, _ in node.next_functions:
                if below is not None:
                    of_weight |= visit(below)[0]
                    of_input |= visit(below)[1]
            reached[node] = of_weight, of_input
        return reached[node]

    for tensor in _tensors(outputs):
        if tensor.grad_fn is not None:
            visit(tensor.grad_fn)
    for node, (of_weight, of_input) in reached.items():
        name = node.name().rpartition('::')[2]
        operator = re.sub(r'Backward\d*$', '', name)
        if of_weight and not of_input and operator not in _MOVES:
            yield operator


def _among(tensor: Tensor | None, tensors: Sequence[Tensor]) -> bool:
    return any(tensor is other for other in tensors)


def _tensors(outputs: Any) -> Iterator[Tensor]:
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, dict):
        yield from _tensors(list(outputs.values()))
    elif isinstance(outputs, (list, tuple)):
        for output in outputs:
            yield from _tensors(output)
