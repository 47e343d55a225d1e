"""How each family of models shows its predictions."""

from .base import Observer
from .build import build_observer
from .classifier import ClassifierObserver
from .dense import DenseObserver
from .two_stage import TwoStageObserver

__all__ = [
    'ClassifierObserver',
    'DenseObserver',
    'Observer',
    'TwoStageObserver',
    'build_observer',
]
