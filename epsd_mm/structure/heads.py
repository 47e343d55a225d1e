"""Heads of attention that projects queries, keys and values as one."""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from torch import nn

from .groups import Groups, Member


class Attention(NamedTuple):
    """Self-attention of several heads.

    Attributes:
        qkv: Projects to all queries, then keys, then values, those of one
            head beside each other.
        proj: Reads the values of all heads.
        heads: How many there are.
        own: Parameters beside those layers, such as the bias of relative
            positions of each head.
    """

    qkv: nn.Linear
    proj: nn.Linear
    heads: int
    own: list[nn.Parameter]


def attentions(model: nn.Module) -> list[Attention]:
    """All in a model that are built as is usual.

    Usual is what timm, mmpretrain and mmdet have: linear layers ``qkv`` and
    ``proj``, and the attribute ``num_heads``.
    """
    return [
        Attention(
            module.qkv,
            module.proj,
            module.num_heads,
            [*module.parameters(recurse=False)],
        )
        for module in model.modules()
        if is_attention(module)
    ]


def is_attention(module: nn.Module) -> bool:
    """Whether its heads can be told apart, see :func:`attentions`."""
    qkv, proj = getattr(module, 'qkv', None), getattr(module, 'proj', None)
    heads = getattr(module, 'num_heads', None)
    return (
        isinstance(qkv, nn.Linear)
        and isinstance(proj, nn.Linear)
        and isinstance(heads, int)
        and qkv.out_features == 3 * proj.in_features
        and proj.in_features % heads == 0
    )


def values_apart(groups: Groups, model: nn.Module) -> Groups:
    """Say of each head that what it emits are its values.

    Its queries and keys go with it, but they only steer where it looks: they
    act on nothing any more once the values are zero, as a consumer's do.
    """
    packed = {id(p) for a in attentions(model) for p in a.qkv.parameters()}
    names = {n for n, p in model.named_parameters() if id(p) in packed}

    def parts(member: Member) -> Iterable[Member]:
        if member.name not in names or member.role != 'producer':
            return (member,)
        steering = member.index.shape[1] // 3 * 2
        return (
            replace(member, role='consumer', index=member.index[:, :steering]),
            replace(member, index=member.index[:, steering:]),
        )

    apart = (
        replace(g, members=tuple(p for m in g.members for p in parts(m)))
        for g in groups.values()
    )
    return Groups(apart, groups.whole, groups.attributes)
