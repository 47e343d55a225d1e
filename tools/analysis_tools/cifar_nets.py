"""The two networks for 32 x 32 images on which layer collapse was published.

Shapes and initialisation are those of the code of SynFlow's authors: in the
VGG every weight is Kaiming normal by fan-in and every bias 0; in the ResNet
convolutions are Kaiming normal by fan-out and the linear layer is as torch
makes it. That last difference decides where magnitude pruning collapses.
"""

from torch import Tensor, nn

VGG16 = [64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3
RESNET18 = 64, 128, 256, 512


def vgg16_bn(classes: int, stages=VGG16) -> nn.Sequential:
    """Convolutions with batch norm, average pooling, one linear layer."""
    layers: list[nn.Module] = []
    channels = 3
    for stage in stages:
        if layers:
            layers.append(nn.MaxPool2d(2))
        for width in stage:
            layers += [
                nn.Conv2d(channels, width, 3, padding=1),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            channels = width
    layers += _head(channels, classes)
    net = nn.Sequential(*layers)
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)
            nn.init.zeros_(module.bias)
    return net


def resnet18(classes: int, widths=RESNET18) -> nn.Sequential:
    """A 3 x 3 stem without pooling, two basic blocks a stage."""
    layers = [*_conv_norm(3, widths[0], 3, 1), nn.ReLU()]
    channels = widths[0]
    for i, width in enumerate(widths):
        layers += [
            BasicBlock(channels, width, stride=2 if i else 1),
            BasicBlock(width, width, stride=1),
        ]
        channels = width
    net = nn.Sequential(*layers, *_head(channels, classes))
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
        self.branch = nn.Sequential(
            *_conv_norm(channels, width, 3, stride),
            nn.ReLU(),
            *_conv_norm(width, width, 3, 1),
        )
        self.shortcut = nn.Sequential()
        if stride > 1 or channels != width:
            self.shortcut.extend(_conv_norm(channels, width, 1, stride))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.branch(x) + self.shortcut(x))


def _conv_norm(channels: int, width: int, kernel: int, stride: int) -> list:
    convolution = nn.Conv2d(
        channels, width, kernel, stride, padding=kernel // 2, bias=False
    )
    return [convolution, nn.BatchNorm2d(width)]


def _head(channels: int, classes: int) -> list[nn.Module]:
    linear = nn.Linear(channels, classes)
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear]
