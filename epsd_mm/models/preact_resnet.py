"""Residual networks with pre-activation for small images."""

from collections.abc import Sequence

import torch.nn.functional as F
from mmcv.cnn import ConvModule, build_conv_layer
from mmengine.model import BaseModule, Sequential
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.models.utils import build_norm_layer
from mmpretrain.registry import MODELS
from torch import Tensor, nn


class PreActBlock(BaseModule):
    """``s(x) + conv2(drop(a2(conv1(a1(x)))))``, ``a = ReLU(norm(x))``.

    The shortcut ``s`` is the identity, or a 1x1 convolution of ``a1(x)``
    where the shape changes.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of both convolutions.
        stride: Of the first convolution.
        dropout: Probability of an element to be zeroed.
        norm_cfg: Config of the normalisation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        dropout: float = 0.0,
        norm_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        norm_cfg = norm_cfg or dict(type='BN')

        def conv(channels, size, stride):
            return build_conv_layer(
                None,
                channels,
                out_channels,
                size,
                stride=stride,
                padding=size // 2,
                bias=False,
            )

        self.norm1 = build_norm_layer(norm_cfg, in_channels)
        self.conv1 = conv(in_channels, 3, stride)
        self.norm2 = build_norm_layer(norm_cfg, out_channels)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.conv2 = conv(out_channels, 3, 1)
        changes = stride != 1 or in_channels != out_channels
        self.shortcut = conv(in_channels, 1, stride) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.norm1(x), inplace=True)
        identity = x if self.shortcut is None else self.shortcut(active)
        x = self.conv1(active)
        x = self.dropout(F.relu(self.norm2(x), inplace=True))
        return identity + self.conv2(x)


class _PreActStages(BaseBackbone):
    """A 3x3 stem and stages of blocks, all but the first with stride 2."""

    def __init__(
        self,
        stem_channels: int,
        stage_channels: Sequence[int],
        stage_blocks: Sequence[int],
        stem_norm: bool,
        final_norm: bool,
        dropout: float = 0.0,
        norm_cfg: dict | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        if init_cfg is None:
            init_cfg = [
                dict(type='Kaiming', layer='Conv2d'),
                dict(type='Constant', val=1, layer='_BatchNorm'),
            ]
        super().__init__(init_cfg)
        norm_cfg = norm_cfg or dict(type='BN')
        self.stem = ConvModule(
            3,
            stem_channels,
            3,
            padding=1,
            bias=False,
            norm_cfg=norm_cfg if stem_norm else None,
            act_cfg=dict(type='ReLU') if stem_norm else None,
        )
        stages, channels = [], stem_channels
        for i, (width, count) in enumerate(zip(stage_channels, stage_blocks)):
            blocks = []
            for j in range(count):
                stride = 2 if i and not j else 1
                blocks.append(
                    PreActBlock(channels, width, stride, dropout, norm_cfg)
                )
                channels = width
            stages.append(Sequential(*blocks))
        self.stages = Sequential(*stages)
        self.norm = (
            build_norm_layer(norm_cfg, channels) if final_norm else None
        )

    def forward(self, x: Tensor) -> tuple[Tensor]:
        x = self.stages(self.stem(x))
        if self.norm is not None:
            x = F.relu(self.norm(x), inplace=True)
        return (x,)


@MODELS.register_module()
class PreActResNet(_PreActStages):
    """Pre-activation ResNet of four stages for 32x32 and 64x64 images.

    He et al., *Identity Mappings in Deep Residual Networks*, ECCV 2016, in
    the form in which CS-KD (Yun et al., CVPR 2020) and PS-KD (Kim et al.,
    ICCV 2021) train it: a 3x3 stem without pooling that is followed by
    normalisation and ReLU, and none of them after the last block. The form
    of He et al. is ``stem_norm=False, final_norm=True``. Returns one feature
    map of shape (N, 8 * base_channels, H/8, W/8).

    Args:
        depth: 18 or 34.
        base_channels: Channels of the stem and the first stage; each
            further stage doubles them.
        stem_norm: Normalisation and ReLU after the stem.
        final_norm: Normalisation and ReLU after the last block.
        norm_cfg: Config of the normalisation, by default ``BN``.
        init_cfg: By default Kaiming's normal initialisation by fan-out.

    Raises:
        ValueError: There is no such depth.
    """

    arch_settings = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}

    def __init__(
        self,
        depth: int = 18,
        base_channels: int = 64,
        stem_norm: bool = True,
        final_norm: bool = False,
        norm_cfg: dict | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        if depth not in self.arch_settings:
            raise ValueError(
                f'depth={depth} is no PreActResNet: choose one of '
                f'{sorted(self.arch_settings)}'
            )
        super().__init__(
            base_channels,
            [base_channels * 2**i for i in range(4)],
            self.arch_settings[depth],
            stem_norm=stem_norm,
            final_norm=final_norm,
            norm_cfg=norm_cfg,
            init_cfg=init_cfg,
        )


@MODELS.register_module()
class WideResNet(_PreActStages):
    """Three stages of 16k, 32k and 64k channels with pre-activation.

    Zagoruyko & Komodakis, *Wide Residual Networks*, BMVC 2016. Returns one
    feature map of shape (N, 64k, H/4, W/4).

    The depth is counted in two ways for the same network of n blocks a
    stage: 6n + 4 as its authors do (stem, 6n convolutions of the blocks,
    three shortcuts), 6n + 2 as for other ResNets (stem, 6n convolutions,
    classifier). Both are taken: 20 and 22 are the network with n = 3. What
    DLB calls WRN-20-8 is another network: :class:`WideBottleneckResNet`.

    Args:
        depth: 6n + 4 or 6n + 2.
        widen_factor: k.
        dropout: Probability of an element between the two convolutions of
            a block to be zeroed.
        norm_cfg: Config of the normalisation, by default ``BN``.
        init_cfg: By default Kaiming's normal initialisation by fan-out.

    Raises:
        ValueError: The depth is not of this form.
    """

    def __init__(
        self,
        depth: int,
        widen_factor: int,
        dropout: float = 0.0,
        norm_cfg: dict | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        blocks, rest = divmod(depth - 2, 6)
        if blocks < 1 or rest not in (0, 2):
            raise ValueError(
                f'depth={depth} is no WideResNet: choose 6n + 4 (10, 16, 22, '
                '28, 34, 40, ...) or 6n + 2 (8, 14, 20, 26, 32, 38, ...)'
            )
        super().__init__(
            16,
            [16 * widen_factor * 2**i for i in range(3)],
            [blocks] * 3,
            stem_norm=False,
            final_norm=True,
            dropout=dropout,
            norm_cfg=norm_cfg,
            init_cfg=init_cfg,
        )
