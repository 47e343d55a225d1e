"""What is known of the families of mm models: how their channels flow."""

from .coupled import channel_groups, example_call
from .window_attention import let_heads_go

__all__ = ['channel_groups', 'example_call', 'let_heads_go']
