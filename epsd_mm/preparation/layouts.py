"""All data sets that can be put into place, by name."""

from .bccd import BCCD
from .cifar import CIFAR10, CIFAR100
from .cub import CUB
from .imagenet import ImageNet
from .layout import Layout
from .tiny_imagenet import TinyImageNet
from .voc import VOC

_ALL = (
    CIFAR10(),
    CIFAR100(),
    TinyImageNet(),
    CUB(),
    VOC(),
    BCCD(),
    ImageNet(),
)
LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in _ALL}
