"""Which weights go: masks, criteria and their objective, in pure torch."""

from .allocation import ERK, Allocation, ByGlob, Global, Uniform
from .criteria import (
    FORCE,
    NTKSAP,
    SNIP,
    Criterion,
    GraSP,
    IterSNIP,
    Magnitude,
    ProsPr,
    Random,
    SDMPrune,
    Sensitivity,
    SynFlow,
    masked,
)
from .gradients import hessian_product, record_gradient
from .hessian_check import check_hessian_product
from .ledger import Ledger
from .mask_keeper import MaskKeeper
from .masks import Masks
from .meta_gradient import MetaGradient, meta_gradient
from .network import Network
from .objective import ModuleObjective, Objective, Step
from .prunable import Prunability, prunable_parameters, weight_count
from .schedule import Schedule
from .scoring import Scoring, score
from .search import Alone, Found, find_masks
from .selection import select
from .structures import NM, Blocks, LayerStructure, Rows, Structure, Weights
from .target import Target

__all__ = [
    'Allocation',
    'Alone',
    'Blocks',
    'ByGlob',
    'Criterion',
    'ERK',
    'FORCE',
    'Found',
    'Global',
    'GraSP',
    'IterSNIP',
    'LayerStructure',
    'Ledger',
    'Magnitude',
    'MaskKeeper',
    'Masks',
    'MetaGradient',
    'ModuleObjective',
    'NM',
    'NTKSAP',
    'Network',
    'Objective',
    'ProsPr',
    'Prunability',
    'Random',
    'Rows',
    'SDMPrune',
    'SNIP',
    'Schedule',
    'Scoring',
    'Sensitivity',
    'Step',
    'Structure',
    'SynFlow',
    'Target',
    'Uniform',
    'Weights',
    'check_hessian_product',
    'find_masks',
    'hessian_product',
    'masked',
    'meta_gradient',
    'prunable_parameters',
    'record_gradient',
    'score',
    'select',
    'weight_count',
]
