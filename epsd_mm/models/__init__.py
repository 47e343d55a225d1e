"""Networks of the field that mmpretrain lacks.

Importing this package imports mmpretrain: a config that uses one of them
says ``custom_imports = dict(imports=['epsd_mm', 'epsd_mm.models'])``.
"""

from epsd_mm import needs_mm as needs_mm

from .cifar_mobilenet import CIFARMobileNetV2
from .cifar_resnet import CIFARResNet
from .preact_resnet import PreActResNet, WideResNet
from .wide_bottleneck_resnet import WideBottleneckResNet

__all__ = [
    'CIFARMobileNetV2',
    'CIFARResNet',
    'PreActResNet',
    'WideBottleneckResNet',
    'WideResNet',
]
