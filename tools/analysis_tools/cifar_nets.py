"""The two networks for 32 x 32 images on which layer collapse was published.

Shapes and initialisation are those of the code of SynFlow's authors: in the
VGG every weight is Kaiming normal by fan-in and every bias 0; in the ResNet
convolutions are Kaiming normal by fan-out and the linear layer is as torch
makes it. This decides where magnitude pruning collapses.
"""

from torch import Tensor, nn
from torch.nn.functional import relu

VGG16 = [64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3
RESNET18 = 64, 128, 256, 512


def vgg16_bn(classes: int, stages=VGG16) -> nn.Sequential:
    """Convolutions with batch norm, average pooling, one linear layer."""
    net = nn.Sequential()
    channels, count = 3, 0
    for number, stage in enumerate(stages):
        if number:
            net.add_module(f'pool{number}', nn.MaxPool2d(2))
        for width in stage:
            count += 1
            convolution = nn.Conv2d(channels, width, 3, padding=1)
            net.add_module(f'conv{count}', convolution)
            net.add_module(f'norm{count}', nn.BatchNorm2d(width))
            net.add_module(f'relu{count}', nn.ReLU())
            channels = width
    _add_head(net, channels, classes)
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)
            nn.init.zeros_(module.bias)
    return net


def resnet18(classes: int, widths=RESNET18) -> nn.Sequential:
    """A 3 x 3 stem without pooling, two basic blocks a stage."""
    net = nn.Sequential()
    channels = widths[0]
    net.add_module('stem', _conv_norm(3, channels, 3, 1))
    net.add_module('relu', nn.ReLU())
    for number, width in enumerate(widths, 1):
        stride = 1 if number == 1 else 2
        first = BasicBlock(channels, width, stride)
        net.add_module(f'stage{number}a', first)
        net.add_module(f'stage{number}b', BasicBlock(width, width, 1))
        channels = width
    _add_head(net, channels, classes)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(
                module.weight, mode='fan_out', nonlinearity='relu'
            )
    return net


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = _conv_norm(channels, width, 3, stride)
        self.second = _conv_norm(width, width, 3, 1)
        self.shortcut = nn.Identity()
        if stride > 1 or channels != width:
            self.shortcut = _conv_norm(channels, width, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.second(relu(self.first(x)))
        return relu(branch + self.shortcut(x))


def _conv_norm(
    channels: int, width: int, kernel: int, stride: int
) -> nn.Sequential:
    net = nn.Sequential()
    net.add_module(
        'conv',
        nn.Conv2d(
            channels, width, kernel, stride, padding=kernel // 2, bias=False
        ),
    )
    net.add_module('norm', nn.BatchNorm2d(width))
    return net


def _add_head(net: nn.Sequential, channels: int, classes: int) -> None:
    net.add_module('average', nn.AdaptiveAvgPool2d(1))
    net.add_module('flatten', nn.Flatten())
    net.add_module('fc', nn.Linear(channels, classes))
