"""Units of structure: channels, neurons and heads that go together."""

from .budget import Budget
from .channels import Channels
from .groups import Group, Groups, Member
from .scores import UnitScores
from .units import Units

__all__ = [
    'Budget',
    'Channels',
    'Group',
    'Groups',
    'Member',
    'UnitScores',
    'Units',
]
