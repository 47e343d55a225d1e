"""Networks of the field that mmpretrain lacks.

Importing this package imports mmpretrain: a config that uses one of them
says ``custom_imports = dict(imports=['epsd_mm', 'epsd_mm.models'])``.
"""

from .cifar_resnet import CIFARResNet

__all__ = ['CIFARResNet']
