"""How each family of models shows its predictions."""

from .anchors import AnchorObserver
from .base import Observer
from .build import build_observer
from .classifier import ClassifierObserver
from .two_stage import TwoStageObserver

__all__ = [
    'ClassifierObserver',
    'AnchorObserver',
    'Observer',
    'TwoStageObserver',
    'build_observer',
]
