"""Heads of attention, which go as a whole."""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from torch import nn

from .groups import Groups, Member


class Attention(NamedTuple):
    """Attention of several heads.

    Attributes:
        values: Emits the values of all heads, those of one head beside each
            other; after their queries and keys, if it is packed.
        packed: Whether it is.
        steering: Other layers that tell each head where to look.
        reader: Reads the values of all heads.
        heads: How many there are.
        own: Parameters beside those layers, such as the bias of relative
            positions of each head.
    """

    values: nn.Linear
    packed: bool
    steering: list[nn.Linear]
    reader: nn.Linear
    heads: int
    own: list[nn.Parameter]


def attentions(model: nn.Module) -> list[Attention]:
    """All in a model that are built as is usual, see attention_of."""
    found = map(attention_of, model.modules())
    return [attention for attention in found if attention is not None]


def attention_of(module: nn.Module) -> Attention | None:
    """The heads of a module, if it is built as is usual.

    Usual is what timm, mmpretrain and mmdet have: linear layers ``qkv`` and
    ``proj``, and the attribute ``num_heads``; or, as in mmcv's deformable
    attention, ``value_proj``, ``sampling_offsets``, ``attention_weights``
    and ``output_proj``.
    """
    heads = getattr(module, 'num_heads', None)
    own = [*module.parameters(recurse=False)]
    packed = [getattr(module, n, None) for n in ('qkv', 'proj')]
    if _fit(packed, heads) and packed[0].out_features == 3 * (
        packed[1].in_features
    ):
        return Attention(packed[0], True, [], packed[1], heads, own)
    names = ('value_proj', 'output_proj')
    names += ('sampling_offsets', 'attention_weights')
    apart = [getattr(module, name, None) for name in names]
    if _fit(apart, heads) and apart[0].out_features == apart[1].in_features:
        return Attention(apart[0], False, apart[2:], apart[1], heads, own)
    return None


def _fit(layers: list[nn.Module | None], heads: int | None) -> bool:
    return isinstance(heads, int) and all(
        isinstance(layer, nn.Linear) and layer.out_features % heads == 0
        for layer in layers
    )


def values_apart(groups: Groups, model: nn.Module) -> Groups:
    """Say of each head that what it emits are its values.

    Its queries and keys go with it, but they only steer where it looks: they
    act on nothing any more once the values are zero, as a consumer's do.
    """
    layers = [a.values for a in attentions(model) if a.packed]
    packed = {id(param) for layer in layers for param in layer.parameters()}
    names = {n for n, p in model.named_parameters() if id(p) in packed}

    def parts(member: Member) -> Iterable[Member]:
        if member.role != 'producer' or member.name not in names:
            return (member,)
        first = member.index.shape[1] // 3 * 2
        return (
            replace(member, role='consumer', index=member.index[:, :first]),
            replace(member, index=member.index[:, first:]),
        )

    apart = (
        replace(g, members=tuple(p for m in g.members for p in parts(m)))
        for g in groups.values()
    )
    return Groups(apart, groups.whole, groups.attributes)
