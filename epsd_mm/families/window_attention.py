"""Attention in windows, as Swin has it, with any number of heads."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def any_heads(model: nn.Module) -> Iterator[None]:
    """Window attention that can be without some of its heads, for a while.

    See :func:`let_heads_go`.
    """
    before = let_heads_go(model)
    try:
        yield
    finally:
        for module, kind in before.items():
            module.__class__ = kind


def let_heads_go(model: nn.Module) -> dict[nn.Module, type]:
    """Let the window attention of a model work with fewer heads, too.

    That of mmdet and mmpretrain takes the width of a head from the width of
    its input. With all heads, the results are the same.

    Args:
        model: Its window attention gets another class, of the same
            parameters.

    Returns:
        The classes that they had.
    """
    before = {}
    for module in model.modules():
        kind = type(module)
        if kind.__name__ == 'WindowMSA' and hasattr(module, 'softmax'):
            before[module] = kind
            name = f'{kind.__name__}OfAnyHeads'
            module.__class__ = type(name, (_AnyHeads, kind), {})
    return before


class _AnyHeads:
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend within each window.

        Args:
            x: Of shape (windows, positions, channels).
            mask: Added to the logits, of shape (windows of an image,
                positions, positions).
        """
        windows, positions, _ = x.shape
        qkv = self.qkv(x).reshape(windows, positions, 3, self.num_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        logits = self.scale * query @ key.transpose(-2, -1)
        bias = self.relative_position_bias_table[self.relative_position_index]
        logits = logits + bias.permute(2, 0, 1)
        if mask is not None:
            logits = logits.unflatten(0, (-1, len(mask))) + mask[:, None]
            logits = logits.flatten(0, 1)
        weights = self.attn_drop(self.softmax(logits))
        values = (weights @ value).transpose(1, 2).flatten(2)
        return self.proj_drop(self.proj(values))
