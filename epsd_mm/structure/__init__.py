"""Units of structure: channels, neurons and heads that go together."""

from .budget import Budget
from .channels import Channels
from .graph import find_groups
from .groups import Group, Groups, Member, Width
from .neurons import Neurons
from .scores import UnitScores
from .student import student_channels
from .units import Units
from .widths import widths
from .wiring import traceable

__all__ = [
    'Budget',
    'Channels',
    'Group',
    'Groups',
    'Member',
    'Neurons',
    'UnitScores',
    'Units',
    'Width',
    'find_groups',
    'student_channels',
    'traceable',
    'widths',
]
