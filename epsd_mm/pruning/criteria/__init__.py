"""Criteria: how much each weight matters, one criterion a file."""

from .base import Criterion, Sensitivity, masked
from .force import FORCE
from .grasp import GraSP
from .magnitude import Magnitude
from .ntk_sap import NTKSAP
from .prospr import ProsPr
from .random import Random
from .sdm_prune import SDMPrune
from .snip import SNIP, IterSNIP
from .synflow import SynFlow

__all__ = [
    'Criterion',
    'FORCE',
    'GraSP',
    'IterSNIP',
    'Magnitude',
    'NTKSAP',
    'ProsPr',
    'Random',
    'SDMPrune',
    'SNIP',
    'Sensitivity',
    'SynFlow',
    'masked',
]
