"""Units of structure: channels, neurons and heads that go together."""

from .budget import Budget
from .channels import Channels
from .graph import find_groups
from .groups import Group, Groups, Member, Width
from .scores import UnitScores
from .units import Units
from .widths import widths
from .wiring import traceable

__all__ = [
    'Budget',
    'Channels',
    'Group',
    'Groups',
    'Member',
    'UnitScores',
    'Units',
    'Width',
    'find_groups',
    'traceable',
    'widths',
]
