"""The narrow residual networks for CIFAR: ResNet-20 to ResNet-110."""

from typing import Any

from mmpretrain.models.backbones.resnet import BasicBlock
from mmpretrain.models.backbones.resnet_cifar import ResNet_CIFAR
from mmpretrain.registry import MODELS


@MODELS.register_module()
class CIFARResNet(ResNet_CIFAR):
    """ResNet of depth ``6n + 2`` with three stages of 16, 32, 64 channels.

    He et al., *Deep Residual Learning for Image Recognition*, CVPR 2016,
    section 4.2, but with 1x1 convolutions as shortcuts where the shape
    changes (option B there), as most later work has it. Returns one feature
    map of shape (N, 64, H/4, W/4).

    Args:
        depth: 20, 32, 44, 56 or 110.
        base_channels: Channels of the stem and the first stage.
        zero_init_residual: Start residual branches at zero; no gradient
            then reaches them, so that nothing ranks their weights.
        kwargs: Other options of mmpretrain's ``ResNet_CIFAR``.
    """

    arch_settings = {
        6 * n + 2: (BasicBlock, (n, n, n)) for n in (3, 5, 7, 9, 18)
    }

    def __init__(
        self,
        depth: int,
        base_channels: int = 16,
        zero_init_residual: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            depth,
            stem_channels=base_channels,
            base_channels=base_channels,
            num_stages=3,
            strides=(1, 2, 2),
            dilations=(1, 1, 1),
            out_indices=(2,),
            zero_init_residual=zero_init_residual,
            **kwargs,
        )
