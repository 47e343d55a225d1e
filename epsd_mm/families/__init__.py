"""What is known of mm's models by the names of their classes.

How their predictions are seen (``observers``), operators that have a second
derivative (``twice_differentiable``), what a model is (``kinds``), and how its
channels flow.
"""

from .coupled import channel_groups, example_call
from .window_attention import let_heads_go

__all__ = ['channel_groups', 'example_call', 'let_heads_go']
