"""MobileNetV2 for small images."""

from typing import Any

from mmpretrain.models.backbones.mobilenet_v2 import MobileNetV2
from mmpretrain.registry import MODELS


@MODELS.register_module()
class CIFARMobileNetV2(MobileNetV2):
    """MobileNetV2 whose stem and second stage keep the resolution.

    Sandler et al., *MobileNetV2: Inverted Residuals and Linear Bottlenecks*,
    CVPR 2018, with strides for 32x32 images: the weights are those of
    mmpretrain's ``MobileNetV2``, the last feature map is of shape
    (N, 1280, H/8, W/8) and not H/32.

    Args:
        kwargs: Options of mmpretrain's ``MobileNetV2``.
    """

    # Expansion, channels, blocks, stride; only the second stride differs.
    arch_settings = [
        [1, 16, 1, 1],
        [6, 24, 2, 1],
        [6, 32, 3, 2],
        [6, 64, 4, 2],
        [6, 96, 3, 1],
        [6, 160, 3, 2],
        [6, 320, 1, 1],
    ]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # The base has no option for it, and no weight depends on it.
        self.conv1.conv.stride = (1, 1)
