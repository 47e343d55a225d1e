"""The bottleneck network that DLB and others call WRN-20-8."""

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule, Sequential
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.registry import MODELS
from torch import Tensor, nn


def _conv(
    in_channels: int,
    out_channels: int,
    size: int,
    stride: int = 1,
    act: bool = True,
) -> ConvModule:
    return ConvModule(
        in_channels,
        out_channels,
        size,
        stride=stride,
        padding=size // 2,
        bias=False,
        norm_cfg=dict(type='BN'),
        act_cfg=dict(type='ReLU') if act else None,
    )


class WideBottleneck(BaseModule):
    """1x1, 3x3 and 1x1 convolutions; a ReLU follows the sum.

    Args:
        in_channels: Channels of the input.
        mid_channels: Channels of the first two convolutions.
        out_channels: Channels of the last one.
        stride: Of the 3x3 convolution.
    """

    def __init__(
        self,
        in_channels: int,
        mid_channels: int,
        out_channels: int,
        stride: int = 1,
    ) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels, mid_channels, 1)
        self.conv2 = _conv(mid_channels, mid_channels, 3, stride)
        self.conv3 = _conv(mid_channels, out_channels, 1, act=False)
        self.shortcut = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = _conv(
                in_channels, out_channels, 1, stride, act=False
            )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.shortcut is None else self.shortcut(x)
        return self.relu(identity + self.conv3(self.conv2(self.conv1(x))))


@MODELS.register_module()
class WideBottleneckResNet(BaseBackbone):
    """Three stages of bottlenecks that are widened inside.

    A stage of c channels, c = 16, 32, 64, has blocks of k c, k c and 4 c
    channels with the ReLU after the sum (the wide form of the bottleneck of
    He et al., CVPR 2016). With 3 convolutions a block, 20 means two blocks a
    stage. This is the WRN-20-8 in the published code of DLB (Shen et al.,
    CVPR 2022); the network of *Wide Residual Networks* is
    :class:`WideResNet`. Returns one feature map of shape (N, 256, H/4, W/4).

    Args:
        depth: 9n + 2 for n blocks a stage.
        widen_factor: k.
        init_cfg: By default Kaiming's normal initialisation by fan-out.

    Raises:
        ValueError: The depth is not of this form.
    """

    def __init__(
        self,
        depth: int = 20,
        widen_factor: int = 8,
        init_cfg: dict | list | None = None,
    ) -> None:
        blocks, rest = divmod(depth - 2, 9)
        if blocks < 1 or rest:
            raise ValueError(
                f'depth={depth} is no WideBottleneckResNet: choose 9n + 2 '
                '(11, 20, 29, 38, ...)'
            )
        if init_cfg is None:
            init_cfg = [
                dict(type='Kaiming', layer='Conv2d'),
                dict(type='Constant', val=1, layer='_BatchNorm'),
            ]
        super().__init__(init_cfg)
        self.stem = _conv(3, 16, 3)
        stages, channels = [], 16
        for i, base in enumerate((16, 32, 64)):
            stage = []
            for j in range(blocks):
                stride = 2 if i and not j else 1
                stage.append(
                    WideBottleneck(
                        channels, base * widen_factor, base * 4, stride
                    )
                )
                channels = base * 4
            stages.append(Sequential(*stage))
        self.stages = Sequential(*stages)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.stages(self.stem(x)),)
