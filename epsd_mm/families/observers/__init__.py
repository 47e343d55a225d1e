"""How each family of models shows its predictions."""

from .anchors import AnchorObserver
from .assigned import AssignedObserver
from .base import Observer
from .build import build_observer
from .classifier import ClassifierObserver
from .detr import QueryObserver
from .sparse import SparseObserver
from .two_stage import TwoStageObserver

__all__ = [
    'AnchorObserver',
    'AssignedObserver',
    'ClassifierObserver',
    'Observer',
    'QueryObserver',
    'SparseObserver',
    'TwoStageObserver',
    'build_observer',
]
