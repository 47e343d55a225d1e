"""The one driver: rounds of scoring and selecting until the masks stand."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from .criteria import Criterion
from .ledger import Ledger
from .masks import Masks
from .objective import (
    Objective,
    Params,
    preserved_randomness,
    seed_everything,
)
from .scoring import (
    DrawBatches,
    OnEvaluation,
    Scoring,
    draw_seed,
    score,
    score_mass,
)
from .target import Target
from .zero_layers import check_choice, check_zero_layers, find_zero_layers


@dataclass(frozen=True)
class Found:
    """What :func:`find_masks` returns.

    Attributes:
        masks: Which weights are kept.
        draws: What the criterion noted in each draw, round after round.
        stability: Overlap of the masks of two halves of the draws, ``None``
            for a single draw.
        ranked: Number of weights whose score is not exactly zero.
        mass: Where the scores lie, see :func:`score_mass`. Like ``ranked``
            it is of the last round: a criterion with rounds scores nothing
            there that earlier rounds have removed, unless it regrows.
        left_dense: Layers that stay whole, and take no part in the masks,
            because their scores are all exactly zero; weights of each.
    """

    masks: Masks
    draws: list[dict]
    stability: float | None
    ranked: int
    mass: dict[str, dict[str, float]]
    left_dense: dict[str, int]


class Alone:
    """How one process makes the draws: all of them."""

    def own(self, draws: range) -> Iterable[int]:
        """Those of the draws that this process makes."""
        return draws

    def agree(self, value: Any) -> Any:
        """What the first process has, for all of them."""
        return value

    def collect(
        self,
        attempt: Callable[[Scoring, Iterable[int]], Scoring],
        draws: range,
        prunable: Masks,
        into: Scoring,
        after_draw: Callable[[], None],
    ) -> None:
        """Add the draws of all processes in their order.

        Args:
            attempt: Makes the draws that it is told, gives them to its
                first argument and returns that.
            draws: All draws.
            prunable: Names and shapes of what is scored.
            into: Takes the draws.
            after_draw: Called when ``into`` has taken draws.
        """
        for draw in draws:
            attempt(into, [draw])
            after_draw()


def find_masks(
    objective: Objective,
    criterion: Criterion,
    params: Params,
    prunable: Masks,
    batches: DrawBatches,
    target: Target,
    *,
    draws: int = 1,
    batches_per_step: int = 1,
    seed: int = 0,
    repetition: int = 0,
    allow_empty_layers: bool = False,
    zero_layers: str = 'error',
    team: Alone | None = None,
    on_evaluation: OnEvaluation | None = None,
    start: Ledger | None = None,
    keep: Callable[[Ledger], None] | None = None,
) -> Found:
    """Score, select, and again in as many rounds as the criterion has.

    Args:
        objective: The loss.
        criterion: Scores weights; its schedule tells the rounds.
        params: Every weight that requires a gradient, by name.
        prunable: The weights that may go, in the model's order.
        batches: ``batches(r)`` gives the batches of draw ``r``. Round ``k``
            makes the draws ``k * draws`` and following.
        target: What is asked of the masks.
        draws: Independent draws a round.
        batches_per_step: Batches whose losses are averaged into one step.
        seed: Seed of all draws.
        repetition: Other values make other draws from the same seed.
        allow_empty_layers: Accept masks that remove a whole layer.
        zero_layers: What is done with layers whose scores are all exactly
            zero at initialisation: ``'error'``, or ``'dense'`` to treat
            them from then on as if they were not prunable. The sparsity
            holds for the others, unless globs settle those of each.
        team: Divides the draws among processes.
        on_evaluation: Called with the draw and the loss after each
            evaluation of the objective.
        start: Where an earlier search with the same arguments was left.
            That of the first process counts.
        keep: Called with what the search has come to after each draw.

    Raises:
        ValueError: A layer cannot be ranked or would be emptied, or the
            sparsity cannot be reached.
        FloatingPointError: A loss, gradient or score is not finite.
    """
    check_choice(zero_layers)
    team = team or Alone()
    target.check()
    if zero_layers == 'error':  # or the layer may be one that stays whole
        check_room(target, allow_empty_layers)
    schedule, sparsity = criterion.schedule, target.sparsity
    before = repetition * schedule.rounds * draws
    if criterion.data_free and criterion.steps_per_draw:
        # They tell nothing but the shape of an image, whatever the round.
        with preserved_randomness():
            seed_everything(draw_seed(seed, before))
            first = list(islice(batches(before), batches_per_step))
        batches = partial(_same, first)
    keep = keep or _keep_nothing
    ledger = team.agree(start) or Ledger()
    if params:
        ledger.scoring.move_to(next(iter(params.values())).device)
    check_zero = partial(
        check_zero_layers,
        choice=zero_layers,
        params=params,
        count=len(prunable),
        trained=criterion.trained,
    )
    # Those that an earlier run has left whole.
    zero = [n for n in prunable if n not in (ledger.masks or prunable)]
    check_zero(zero)
    ranked, target = _without(prunable, zero), target.without(zero)
    for k in range(ledger.round, schedule.rounds + 1):
        masks = ledger.masks or ranked
        start_of_round = before + (k - 1) * draws
        made = len(ledger.scoring.draws)

        of_round = criterion.in_round(k, sparsity)

        def attempt(into, draws, masks=masks, criterion=of_round) -> Scoring:
            return score(
                objective,
                criterion,
                params,
                masks,
                batches,
                draws=draws,
                batches_per_step=batches_per_step,
                seed=seed,
                on_evaluation=on_evaluation,
                unreached_is_zero=zero_layers == 'dense',
                into=into,
            )

        scoring = ledger.scoring
        team.collect(
            attempt,
            range(start_of_round + made, start_of_round + draws),
            ranked,
            scoring,
            partial(keep, ledger),
        )
        zero = find_zero_layers(scoring.scores, masks)
        check_zero(zero, round=k, started=k == 1 and masks is not ranked)
        scoring.drop(zero)
        ranked, target = _without(ranked, zero), target.without(zero)
        notes = ledger.notes + scoring.draws
        within = None if criterion.regrow else ledger.masks
        last = k == schedule.rounds
        asked = target
        if not last:
            asked = target.at(partial(schedule.sparsity, k=k))
        masks = asked.select(scoring.scores, within)
        if last or not criterion.regrow:
            check_not_empty(masks, target.sparsity, allow_empty_layers)
        if not last:
            ledger = Ledger(k + 1, masks, notes)
    scores, stability = scoring.scores, None
    if draws > 1:
        even = asked.select(scoring.even, within)
        odd = asked.select(scoring.odd, within)
        stability = even.overlap(odd) if even.kept else None
    return Found(
        masks,
        notes,
        stability,
        ranked=sum(int(s.count_nonzero()) for s in scores.values()),
        mass=score_mass(scores, masks),
        left_dense={
            name: mask.numel()
            for name, mask in prunable.items()
            if name not in masks
        },
    )


def _without(masks: Masks, names: Collection[str]) -> Masks:
    if not names:
        return masks
    return Masks({n: mask for n, mask in masks.items() if n not in names})


def _keep_nothing(ledger: Ledger) -> None:
    """Where nobody asks for it."""


def _same(batches: list, draw: int) -> Iterable[Any]:
    return iter(batches)


def check_not_empty(
    masks: Masks, sparsity: float, allowed: bool, when: str = ''
) -> None:
    """Raise where masks remove a whole layer and that is not allowed.

    Args:
        masks: That are to hold.
        sparsity: That is asked for.
        allowed: Whether layers may be empty.
        when: Follows their number in the message.
    """
    empty = masks.empty_layers()
    if empty and not allowed:
        raise ValueError(_emptied(empty, len(masks), sparsity, when))


def check_room(target: Target, allowed: bool) -> None:
    """The same where that is certain before anything is scored.

    Args:
        target: One that can be reached.
        allowed: Whether layers may be empty.
    """
    empty = target.certainly_empty()
    if empty and not allowed:
        count = len(target.shapes)
        raise ValueError(_emptied(empty, count, target.sparsity))


def _emptied(
    names: Collection[str], count: int, sparsity: float, when: str = ''
) -> str:
    return (
        f'sparsity={sparsity:.6g} leaves nothing of {len(names)} of {count} '
        f'layers{when}: {", ".join(names)}. Lower the sparsity, exclude these '
        'layers, give every layer a floor (allocation=dict(type="global", '
        'min_density=0.01)), or set allow_empty_layers=True'
    )
