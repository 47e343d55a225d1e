"""What one entry of a weight costs: how often it multiplies.

``torch.utils.flop_counter`` counts by module and operator: it agrees on
convolutions and linear layers, but not by weight (attention has two in one
module, layers may share one), and knows no operators of mmcv.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from epsd_mm.pruning.layers import layer_weights


def multiplications(
    model: nn.Module, call: Callable[[], Any]
) -> dict[str, float]:
    """How often an entry of each weight multiplies an input in a call.

    Of a convolution that is at each position of the outputs, of a linear
    layer for each row; a layer that is called several times counts each
    time. Times the number of entries it is the layer's multiply-adds.

    Args:
        model: The network.
        call: Calls it in some way.

    Returns:
        Numbers by name of the parameter; 0 where the call uses none.
    """
    times: Counter = Counter()

    def count(module: nn.Module, args: tuple, output: Any) -> None:
        for weight in _multiplying(module):
            times[weight] += _positions(module, args, output)

    handles = [
        module.register_forward_hook(count)
        for module in model.modules()
        if layer_weights(module)
    ]
    try:
        call()
    finally:
        for handle in handles:
            handle.remove()
    weights = {w for m in model.modules() for w in _multiplying(m)}
    return {
        name: float(times[param])
        for name, param in model.named_parameters()
        if param in weights
    }


def _multiplying(module: nn.Module) -> list[nn.Parameter]:
    weights = layer_weights(module)
    if isinstance(module, nn.MultiheadAttention):
        # It multiplies by that weight without a call of its layer.
        weights = [*weights, module.out_proj.weight]
    return weights


def _positions(module: nn.Module, args: tuple, output: Any) -> int:
    if isinstance(module, nn.MultiheadAttention):
        return output[0].numel() // module.embed_dim
    if isinstance(module, _ConvTransposeNd):
        inputs: Tensor = args[0]
        return inputs.numel() // module.in_channels
    channels = layer_weights(module)[0].shape[0]
    return output.numel() // channels
