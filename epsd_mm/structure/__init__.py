"""Units of structure: channels, neurons and heads that go together."""

from .groups import Group, Groups, Member

__all__ = ['Group', 'Groups', 'Member']
