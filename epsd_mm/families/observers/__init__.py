"""How each family of models shows its predictions."""

from .anchors import AnchorObserver
from .assigned import AssignedObserver
from .atss import ATSSObserver
from .base import Observer
from .build import build_observer
from .classifier import ClassifierObserver
from .fcos import FCOSObserver
from .two_stage import TwoStageObserver

__all__ = [
    'ATSSObserver',
    'AssignedObserver',
    'FCOSObserver',
    'ClassifierObserver',
    'AnchorObserver',
    'Observer',
    'TwoStageObserver',
    'build_observer',
]
