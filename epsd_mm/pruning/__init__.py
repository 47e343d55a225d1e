"""Which weights go: masks, criteria and their objective, in pure torch."""

from .allocation import select_global
from .criteria import SNIP, Criterion, Magnitude, ProsPr, Random
from .masks import Masks
from .meta_gradient import MetaGradient, meta_gradient
from .objective import ModuleObjective, Objective, Step
from .prunable import prunable_parameters
from .scoring import Scoring, score

__all__ = [
    'Criterion',
    'Magnitude',
    'Masks',
    'MetaGradient',
    'ModuleObjective',
    'Objective',
    'ProsPr',
    'Random',
    'SNIP',
    'Scoring',
    'Step',
    'meta_gradient',
    'prunable_parameters',
    'score',
    'select_global',
]
