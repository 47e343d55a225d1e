"""What is known of the families of mm models: how their channels flow."""

from .coupled import channel_groups

__all__ = ['channel_groups']
