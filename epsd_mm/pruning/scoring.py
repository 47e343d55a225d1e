"""The one driver that turns a criterion and an objective into scores."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from .criteria import Criterion
from .criteria.base import check_tensors
from .finite import is_finite
from .masks import Masks
from .objective import (
    Objective,
    Params,
    preserved_randomness,
    seed_everything,
)

DrawBatches = Callable[[int], Iterable[Any]]
OnEvaluation = Callable[[int, float], None]


class Scoring:
    """Sums the scores of independent draws, in place.

    Each draw's scores are divided by the sum of their sizes first, or one
    exploding draw would decide. Even and odd draws are summed apart: how
    far the masks of the two halves agree tells how much is noise.

    Attributes:
        even: Sums over the even draws, by parameter name.
        odd: Sums over the odd draws; empty where there are none.
        draws: What each draw was told by its criterion, such as ``losses``
            of the inner steps and ``growth`` of the meta-gradient.
    """

    def __init__(self) -> None:
        self.even: dict[str, Tensor] = {}
        self.odd: dict[str, Tensor] = {}
        self.draws: list[dict] = []

    @property
    def scores(self) -> dict[str, Tensor]:
        """Sums over all draws."""
        if not (self.even and self.odd):
            return self.even or self.odd
        return {name: s + self.odd[name] for name, s in self.even.items()}

    def add(
        self, draw: int, scores: Mapping[str, Tensor], notes: dict
    ) -> None:
        """Add a draw."""
        size = sum(
            float(s.abs().sum(dtype=torch.float64)) for s in scores.values()
        )
        share = {
            name: _at_least_float32(s.detach()) / (size or 1.0)
            for name, s in scores.items()
        }
        self.take(draw, share, notes)

    def take(self, draw: int, share: dict[str, Tensor], notes: dict) -> None:
        """Add scores that are divided already."""
        half = self.odd if draw % 2 else self.even
        for name, tensor in share.items():
            if name in half:
                half[name].add_(tensor)
            else:
                half[name] = tensor.contiguous()
        self.draws.append(notes)

    def move_to(self, device: torch.device) -> None:
        """Bring the sums to a device."""
        for half in (self.even, self.odd):
            for name, tensor in half.items():
                half[name] = tensor.to(device)

    def drop(self, names: Iterable[str]) -> None:
        """Forget the scores of layers that take no part any more."""
        for name in names:
            self.even.pop(name, None)
            self.odd.pop(name, None)


def _at_least_float32(scores: Tensor) -> Tensor:
    return scores if scores.dtype.itemsize >= 4 else scores.float()


def score(
    objective: Objective,
    criterion: Criterion,
    params: Params,
    masks: Masks,
    batches: DrawBatches,
    *,
    draws: Iterable[int] = (0,),
    batches_per_step: int = 1,
    seed: int = 0,
    on_evaluation: OnEvaluation | None = None,
    unreached_is_zero: bool = False,
    into: Scoring | None = None,
) -> Scoring:
    """Score weights over independent draws of the data.

    Draw ``r`` depends on ``(seed, r)`` alone, so draws may be divided among
    processes. The random state is left as it was.

    Args:
        objective: The loss.
        criterion: What to compute from it.
        params: Every weight that requires a gradient, by name.
        masks: The prunable weights, and which of them are left.
        batches: ``batches(r)`` gives the batches of draw ``r``.
        draws: Which draws to make.
        batches_per_step: Batches whose losses are averaged into one step.
        seed: Seed of all draws.
        on_evaluation: Called with the draw and the loss after each
            evaluation of the objective.
        unreached_is_zero: A weight that the objective does not reach
            scores zero; otherwise it is an error.
        into: Takes the draws; a new one by default.

    Returns:
        The summed scores.

    Raises:
        FloatingPointError: A loss, gradient or score is not finite; names
            the layer, the draw and the step.
        TypeError: The criterion returns no tensors by name.
        ValueError: The data end before the criterion has its batches, or
            prunable weights cannot be reached by the objective.
    """
    result = Scoring() if into is None else into
    with preserved_randomness(), torch.enable_grad():
        for draw in draws:
            seed_everything(draw_seed(seed, draw))
            monitored = _Monitored(objective, draw, on_evaluation)
            grouped = _grouped(
                iter(batches(draw)), batches_per_step, criterion, draw
            )
            try:
                scores = criterion.scores(monitored, params, masks, grouped)
            except FloatingPointError as e:
                raise FloatingPointError(f'draw {draw}: {e}') from e
            check_tensors(scores, criterion, 'scores')
            if unreached_is_zero:
                like = next(iter(params.values()))
                zeros = {
                    name: like.new_zeros(mask.shape)
                    for name, mask in masks.items()
                    if name not in scores
                }
                scores = {**scores, **zeros}
            _check_scores(scores, masks, draw, criterion.signed)
            result.add(
                draw, {name: scores[name] for name in masks}, monitored.notes
            )
    return result


def draw_seed(seed: int, draw: int) -> int:
    """The seed of one draw: distinct for distinct ``(seed, draw)``."""
    return (seed * 1_000_003 + draw) % 2**31


def score_mass(
    scores: Mapping[str, Tensor], masks: Masks
) -> dict[str, dict[str, float]]:
    """Where the scores lie: what each layer has of the sum of their sizes.

    Args:
        scores: Scores by parameter name, not all of them zero.
        masks: Which weights are kept.

    Returns:
        By layer, ``mass`` and ``mass_kept``: the shares of its weights and
        of its kept weights in the sum over the weights of all layers.
    """
    masses = {}
    for name, tensor in scores.items():
        size = tensor.abs()
        kept = size[masks[name].to(size.device)]
        masses[name] = [
            float(x.sum(dtype=torch.float64)) for x in (size, kept)
        ]
    total = sum(mass for mass, _ in masses.values())
    return {
        name: dict(mass=mass / total, mass_kept=kept / total)
        for name, (mass, kept) in masses.items()
    }


def _grouped(
    batches: Iterator[Any], size: int, criterion: Criterion, draw: int
) -> Iterator[list]:
    needed = criterion.steps_per_draw * size
    taken = 0
    while True:
        group = list(islice(batches, size))
        taken += len(group)
        if len(group) < size:
            steps = _counted(criterion.steps_per_draw, 'step')
            raise ValueError(
                f'draw {draw} needs {_counted(needed, "batch", "batches")} '
                f'({steps} of {size}), but the '
                f'data ended after {taken}: give more of them (a loader or a '
                'list begins anew between draws, a generator does not, and '
                'with drop_last=True a batch that is not full is none), or '
                'use fewer steps or draws, a smaller batches_per_step or '
                'smaller batches'
            )
        yield group


def _counted(number: int, one: str, many: str | None = None) -> str:
    return f'{number} {one if number == 1 else many or one + "s"}'


def _check_scores(
    scores: Mapping[str, Tensor], masks: Masks, draw: int, signed: bool
) -> None:
    unreached = [name for name in masks if name not in scores]
    if unreached and len(unreached) == len(masks):
        raise ValueError(
            f'the objective does not reach any of the {len(masks)} prunable '
            'layers: its loss does not depend on their weights. It must call '
            'the model that it is given, as in loss=lambda model, batch: '
            'cross_entropy(model(batch[0]), batch[1]), not another one or a '
            'copy, and not under torch.no_grad()'
        )
    if unreached:
        raise ValueError(
            f'the objective does not reach {len(unreached)} of {len(masks)} '
            f'prunable layers: {", ".join(unreached)}. They cannot be '
            'ranked: leave them dense with zero_layers="dense", or by name '
            'with exclude=[...], or score an objective that reaches them (of '
            'an OpenMMLab model, with task > 0 in score_weights)'
        )
    for name, tensor in scores.items():
        if name not in masks or tensor.shape != masks[name].shape:
            expected = tuple(masks[name].shape) if name in masks else 'none'
            raise ValueError(
                f'the criterion scored {name!r} with shape '
                f'{tuple(tensor.shape)}, but the prunable weight has '
                f'{expected}: score the names of masks, in their shapes'
            )
        if not signed and (tensor < 0).any():
            raise ValueError(
                f'draw {draw}: {name!r} has scores below zero (lowest '
                f'{float(tensor.min()):.6g}): take the absolute value, or '
                'say signed = True in the criterion'
            )
        if not is_finite(tensor):
            raise FloatingPointError(
                f'draw {draw}: {int((~tensor.isfinite()).sum()):,} scores of '
                f'{name!r} are not finite: look for numbers too large for '
                'float32 in the criterion, or for weights and batches that '
                'are not finite'
            )


class _Monitored(Objective):
    """Passes everything on; tells each evaluation and keeps the notes."""

    def __init__(
        self,
        objective: Objective,
        draw: int,
        on_evaluation: OnEvaluation | None,
    ) -> None:
        self.objective = objective
        self.draw = draw
        self.on_evaluation = on_evaluation or (lambda draw, loss: None)
        self.notes: dict = {}

    def record(self, params, batch):
        loss, step = self.objective.record(params, batch)
        if step.terms:
            self.notes.setdefault('terms', []).append(step.terms)
        self.on_evaluation(self.draw, step.loss)
        return loss, step

    def __call__(self, params, step):
        loss = self.objective(params, step)
        self.on_evaluation(self.draw, float(loss.detach()))
        return loss

    def network(self, batch):
        return replace(
            self.objective.network(batch),
            tell=lambda value: self.on_evaluation(self.draw, value),
            count=self._count,
        )

    def _count(self, images: int, passes: int) -> None:
        so_far = self.notes.setdefault('outputs', dict(images=0, passes=0))
        so_far['images'] += images
        so_far['passes'] += passes

    def outputs(self, params, batch):
        outputs = self.objective.outputs(params, batch)
        self.on_evaluation(self.draw, float(outputs.detach().sum()))
        return outputs

    def note(self, **values):
        self.notes.update(values)
