"""Whether a self-distillation term is large enough to matter."""

import math
from collections.abc import Mapping, Sequence

from mmengine.logging import MMLogger
from torch import Tensor

from epsd_mm.distillation import SelfDistillationLoss

from .settings import Settings

#: Share of the task's losses that a term has to reach, once.
ALIVE = 1e-3
#: Steps that it has for this.
STEPS = 50


class Pulse:
    """Says once where a term has not come alive in training.

    Alive is a term that has reached ``ALIVE`` of the task's losses in one of
    ``STEPS`` steps. Only those count in which there was another prediction
    to compare with. Both figures are ours.

    Args:
        loss: What the term is of.
    """

    def __init__(self, loss: SelfDistillationLoss) -> None:
        self._loss = loss
        self._shares: list[float] = []
        self._settled = False

    @property
    def settled(self) -> bool:
        """Whether it needs to see no more."""
        return self._settled

    def see(self, term: Tensor, task: Tensor, found: Tensor) -> None:
        """One more step.

        Args:
            term: What the term comes to, as large as it ever counts.
            task: Sum of the other losses.
            found: Where there was another prediction, bool, shape (n,).
        """
        if self._settled or not bool(found.any()):
            return
        self._shares.append(share_of(float(term), float(task)))
        # What is not a number is no sign of death, and told elsewhere.
        alive = not self._shares[-1] < ALIVE
        self._settled = alive or len(self._shares) == STEPS
        if self._settled and not alive:
            MMLogger.get_current_instance().warning(self._obituary())

    def _obituary(self) -> str:
        most, weight = max(self._shares), self._loss.loss_weight
        remedy = 'look whether the predictions can differ at all'
        if most > 0:
            remedy = (
                f'raise its loss_weight={weight:g} (to '
                f'{weight * ALIVE / most:.2g}, as things are), or start from '
                'weights that tell the classes apart'
            )
        return (
            f'{type(self._loss).__name__} is dead so far: in {STEPS} steps '
            'that had another prediction to compare with, it came to '
            f'{most:.1e} of the other losses at most, and {ALIVE:g} is what '
            'we call alive. The run trains as if there were no '
            'self-distillation. Look at loss_sd in the log; if it does not '
            f'grow, {remedy}'
        )


def faint(
    terms: Sequence[Mapping[str, float]], settings: Settings
) -> str | None:
    """What to say where a term hardly had a part in what was scored.

    Args:
        terms: ``task`` and ``sd`` of each step, without their weights.
        settings: Of the scoring.
    """
    shares = [
        share_of(settings.sd * step['sd'], settings.task * step['task'])
        for step in terms
        if 'sd' in step
    ]
    if not shares or not max(shares) < ALIVE:
        return None
    return (
        f'{type(settings.sd_loss).__name__} came to {max(shares):.1e} of the '
        'other losses at most while scoring: the masks may be those of the '
        'plain loss. compare_plain=True tells, and score_weights or '
        'loss_weight give it more weight'
    )


def share_of(term: float, task: float) -> float:
    """Size of a term beside that of the task; infinite beside nothing."""
    return abs(term) / abs(task) if task else math.inf
