"""mmcv's deformable attention by operators of torch, on any device.

On CUDA it calls a kernel whose backward is differentiable once. Its own form
for the CPU samples with ``grid_sample``, which torch 2.13 differentiates
twice; where an older one does not, scoring names it.
"""

import inspect
from types import FunctionType, MethodType

from mmcv.ops import multi_scale_deform_attn as mmcv_attention
from torch import Tensor, nn


class _TorchForm:
    """Stands where mmcv calls its kernel."""

    @staticmethod
    def apply(
        value: Tensor,
        shapes: Tensor,
        level_start: Tensor,
        locations: Tensor,
        weights: Tensor,
        step: int,
    ) -> Tensor:
        return mmcv_attention.multi_scale_deformable_attn_pytorch(
            value, shapes, locations, weights
        )


def replace_deformable_attention(model: nn.Module) -> int:
    """Let deformable attention of a model call no kernel.

    Meant for the copy of a model that is scored. Names stay as they are, and
    subclasses with a forward pass of their own too.

    Returns:
        How many there were.
    """
    kind = mmcv_attention.MultiScaleDeformableAttention
    found = [
        module
        for module in model.modules()
        if isinstance(module, kind) and type(module).forward is kind.forward
    ]
    # The method lies under a decorator.
    method = inspect.unwrap(kind.forward)
    names = dict(MultiScaleDeformableAttnFunction=_TorchForm)
    plain = FunctionType(
        method.__code__,
        {**method.__globals__, **names},
        method.__name__,
        method.__defaults__,
        method.__closure__,
    )
    for module in found:
        module.forward = MethodType(plain, module)
    return len(found)
