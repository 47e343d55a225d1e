"""RoIAlign that can be differentiated twice.

mmcv's operator is differentiable once, and ``torch.autograd.grad`` drops
its second-order terms without a word. RoIAlign with average pooling is
linear in the features: with ``y = A(rois) x`` its backward is ``Aᵀ``, and
the backward of that is ``A`` again. Both are kernels that mmcv has, on the
CPU and on CUDA.
"""

from dataclasses import dataclass

import torch
from mmcv.ops import RoIAlign
from mmcv.utils import ext_loader
from torch import Tensor, nn
from torch.autograd import Function

_ext = ext_loader.load_ext('_ext', ['roi_align_forward', 'roi_align_backward'])


@dataclass(frozen=True)
class _Geometry:
    """Everything about the operator but its tensors."""

    height: int
    width: int
    spatial_scale: float
    sampling_ratio: int
    aligned: bool

    def kernel_arguments(self) -> dict:
        return dict(
            aligned_height=self.height,
            aligned_width=self.width,
            spatial_scale=self.spatial_scale,
            sampling_ratio=self.sampling_ratio,
            pool_mode=1,
            aligned=self.aligned,
        )


class _Pool(Function):
    """``A(rois) x``: features (N, C, H, W) to (K, C, h, w)."""

    @staticmethod
    def forward(ctx, features: Tensor, rois: Tensor, geometry: _Geometry):
        ctx.save_for_backward(rois)
        ctx.geometry = geometry
        ctx.features_shape = features.shape
        size = (len(rois), features.shape[1], geometry.height, geometry.width)
        pooled = features.new_zeros(size)
        unused = features.new_zeros(0)
        _ext.roi_align_forward(
            features.contiguous(),
            rois,
            pooled,
            unused,
            unused,
            **geometry.kernel_arguments(),
        )
        return pooled

    @staticmethod
    def backward(ctx, grad_pooled: Tensor):
        (rois,) = ctx.saved_tensors
        grad_features = _Spread.apply(
            grad_pooled, rois, ctx.geometry, ctx.features_shape
        )
        return grad_features, None, None


class _Spread(Function):
    """``A(rois)ᵀ g``: (K, C, h, w) to features (N, C, H, W)."""

    @staticmethod
    def forward(
        ctx,
        grad_pooled: Tensor,
        rois: Tensor,
        geometry: _Geometry,
        features_shape: torch.Size,
    ):
        ctx.save_for_backward(rois)
        ctx.geometry = geometry
        grad_features = grad_pooled.new_zeros(features_shape)
        unused = grad_pooled.new_zeros(0)
        _ext.roi_align_backward(
            grad_pooled.contiguous(),
            rois,
            unused,
            unused,
            grad_features,
            **geometry.kernel_arguments(),
        )
        return grad_features

    @staticmethod
    def backward(ctx, grad_features: Tensor):
        (rois,) = ctx.saved_tensors
        pooled = _Pool.apply(grad_features, rois, ctx.geometry)
        return pooled, None, None, None


class TwiceDifferentiableRoIAlign(nn.Module):
    """mmcv's RoIAlign with average pooling and an exact second derivative.

    The values and first derivatives are those of :class:`mmcv.ops.RoIAlign`.
    The boxes get no gradient, as there.

    Args:
        roi_align: The layer whose settings to take over.

    Raises:
        ValueError: The layer pools by maximum, which is not linear.
    """

    def __init__(self, roi_align: RoIAlign) -> None:
        super().__init__()
        if roi_align.pool_mode != 'avg':
            raise ValueError(
                f'RoIAlign with pool_mode={roi_align.pool_mode!r} cannot be '
                "differentiated twice: use pool_mode='avg', or "
                'first_order=True in the criterion'
            )
        self.output_size = roi_align.output_size
        self.geometry = _Geometry(
            *roi_align.output_size,
            roi_align.spatial_scale,
            roi_align.sampling_ratio,
            roi_align.aligned,
        )

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        """Pool ``features`` (N, C, H, W) over ``rois`` (K, 5)."""
        return _Pool.apply(features, rois, self.geometry)


def replace_roi_align(model: nn.Module) -> int:
    """Swap every RoIAlign layer of a model for its exact counterpart.

    The layers have no parameters, so names stay as they are. Meant for the
    copy of a model that is scored; the model that is trained keeps mmcv's.
    Layers that pool by maximum have no such counterpart and stay.

    Returns:
        The number of layers swapped.
    """
    found = [
        (module, name, child)
        for module in model.modules()
        for name, child in module.named_children()
        if type(child) is RoIAlign and child.pool_mode == 'avg'
    ]
    for module, name, child in found:
        setattr(module, name, TwiceDifferentiableRoIAlign(child))
    return len(found)
