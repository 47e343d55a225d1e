"""Scores of units, from any criterion."""

from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from typing import Literal

import torch
from torch import Tensor

from epsd_mm.pruning import Criterion, Masks, Random, Sensitivity
from epsd_mm.pruning.criteria.base import check_tensors

from .groups import Group, Groups, Member

#: How the score of a unit comes about, see :class:`UnitScores`.
By = Literal['gate', 'mean', 'members']


class UnitScores(Criterion):
    """Lets a criterion score units in place of single weights.

    It takes part in scoring as any criterion does, with masks that have one
    entry a unit in place of one a weight.

    ``'gate'``: one mask entry m_u multiplies all that unit u emits, and the
    score is the derivative by it, as that of a weight is the derivative by
    its own entry. By the chain rule, with ``v`` what the criterion
    multiplies its weights by (of EPSD and ProsPr the meta-gradient, second
    order included)::

        s_u = | ∂L(θ_i)/∂m_u | = | Σ_p θ_p v_p |

    The sum is over what the gate multiplies: the scale and the shift of the
    normalisation after a layer, or its weight and bias where none follows;
    of all layers that emit the unit together. The weights before a
    normalisation have no part in it: what they are multiplied by changes
    nothing, so that their sum is zero. The absolute value comes last, and
    not where the criterion's own scores have a sign.

    ``'mean'``: the mean of the scores of the single weights that emit the
    unit [a choice of this project].

    ``'members'``: the same sum as of the gate, over all weights, biases,
    scales and shifts that belong to the unit, those that read it too.

    A criterion that looks at no weight (``Random``) scores a unit as it
    scores a weight.

    Args:
        criterion: Scores weights.
        groups: The units of the network.
        by: ``'gate'``, ``'mean'``, ``'members'``, or None for what the
            criterion says; else the first where it has derivatives, and the
            second where it has none.

    Raises:
        ValueError: ``by`` is neither, or asks for what the criterion does
            not have.
    """

    def __init__(
        self, criterion: Criterion, groups: Groups, by: By | None = None
    ) -> None:
        self.criterion = criterion
        self.groups = groups
        self.by = chosen(criterion, by)
        self.steps_per_draw = criterion.steps_per_draw
        self.evaluations = criterion.evaluations
        self.data_free = criterion.data_free
        self.signed = criterion.signed
        self.regrow = criterion.regrow
        self.schedule = criterion.schedule
        self.cost_only = criterion.cost_only
        self.trained = criterion.trained

    def in_round(self, k, sparsity):
        same = copy(self)
        same.criterion = self.criterion.in_round(k, sparsity)
        return same

    def scores(self, objective, params, masks, batches):
        if isinstance(self.criterion, Random):
            return self.criterion.scores(objective, params, masks, batches)
        weights = gate_masks(self.groups, masks, params)
        if self.by == 'mean':
            scores = self.criterion.scores(objective, params, weights, batches)
            check_tensors(scores, self.criterion, 'scores')
            return dict(self._means(scores, masks))
        products = self.criterion.products(objective, params, weights, batches)
        check_tensors(products, self.criterion, 'products')
        return {
            name: total if self.signed else total.abs()
            for name, total in self._sums(products, masks)
        }

    def _sums(
        self, products: Mapping[str, Tensor], names: Iterable[str]
    ) -> Iterator[tuple[str, Tensor]]:
        for name in names:
            group = self.groups[name]
            whole = self.by == 'members'
            members = group.members if whole else gated_members(group)
            found = [m for m in members if m.name in products]
            if found:
                yield name, sum(by_unit(m, products[m.name]) for m in found)

    def _means(
        self, scores: Mapping[str, Tensor], names: Iterable[str]
    ) -> Iterator[tuple[str, Tensor]]:
        for name in names:
            emitting = [
                member
                for member in self.groups[name].members
                if member.role == 'producer'
                and member.name in scores
                and scores[member.name].dim() > 1  # no bias
            ]
            if emitting:
                total = sum(by_unit(m, scores[m.name]) for m in emitting)
                yield (
                    name,
                    total / sum(_size(m, scores[m.name]) for m in emitting),
                )


def chosen(criterion: Criterion, by: By | None) -> By:
    """How a criterion scores units, where nothing or something is said.

    Raises:
        ValueError: It is unknown, or the criterion cannot do it.
    """
    if by not in ('gate', 'mean', 'members', None):
        raise ValueError(f"scores={by!r} must be 'gate', 'mean' or 'members'")
    own = criterion.units_by
    if own and by not in (own, None):
        raise ValueError(
            f'scores={by!r} is not how {type(criterion).__name__} scores '
            f'units, which is {own!r}: remove it'
        )
    if own:
        return own
    derives = isinstance(criterion, Sensitivity)
    if by is not None and isinstance(criterion, Random):
        raise ValueError(
            f'scores={by!r} has no effect: Random looks at no weight, and '
            'draws a score for each unit; remove it'
        )
    if by in ('gate', 'members') and not derives:
        raise ValueError(
            f'scores={by!r} is a derivative, and {type(criterion).__name__} '
            "has none: say scores='mean', or let the criterion be a "
            'Sensitivity, which offers products'
        )
    return by or ('gate' if derives else 'mean')


def gated_members(group: Group) -> list[Member]:
    """What a gate on all that a unit emits multiplies."""
    return [
        member
        for member in group.members
        if member.role == 'norm'
        or (member.role == 'producer' and not member.normalised)
    ]


def gate_masks(
    groups: Groups, channels: Masks, params: Mapping[str, Tensor]
) -> Masks:
    """What of a network takes part where gates are closed.

    Of the parameters that belong to units, removed is what the gates
    multiply, and no more: the rest acts on zeros, and a gate that is opened
    again finds it as it was.

    Args:
        groups: Of the network.
        channels: Which gates are open, by name of the group; all of those
            that are left out.
        params: By name; those that are in a group get a mask.
    """
    members = {m.name for g in groups.values() for m in g.members}
    masks = {
        name: torch.ones(param.shape, dtype=torch.bool)
        for name, param in params.items()
        if name in members
    }
    for name, open_gates in channels.items():
        for member in gated_members(groups[name]):
            if member.name in masks:
                gone = member.index[~open_gates].flatten()
                masks[member.name].index_fill_(member.axis, gone, False)
    return Masks(masks)


def by_unit(member: Member, tensor: Tensor) -> Tensor:
    """Sums over the entries of each unit, of shape (units,).

    Args:
        member: Says where they are.
        tensor: In the shape of its parameter.
    """
    rows = tensor.movedim(member.axis, 0)
    positions = rows.reshape(len(rows), -1).sum(dim=1)
    return positions[member.index.to(positions.device)].sum(dim=1)


def _size(member: Member, tensor: Tensor) -> int:
    """Number of entries of a unit."""
    others = tensor.numel() // tensor.shape[member.axis]
    return others * member.index.shape[1]
