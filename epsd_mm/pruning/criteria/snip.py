"""SNIP, and SNIP in rounds."""

from ..gradients import record_gradient
from ..schedule import Schedule
from .base import Sensitivity, masked


class SNIP(Sensitivity):
    """Connection sensitivity, ``s_p = |θ_p ∂L/∂θ_p|``.

    Lee et al., *SNIP: Single-shot Network Pruning based on Connection
    Sensitivity*, ICLR 2019, equation 5 without its normalisation. It scores
    the weights that will be trained, not a re-initialised copy.
    """

    def products(self, objective, params, masks, batches):
        weights = masked(params, masks)
        loss, gradient, _ = record_gradient(objective, weights, next(batches))
        objective.note(losses=[loss])
        return {
            name: weights[name] * gradient[name]
            for name in masks
            if name in gradient
        }


class IterSNIP(SNIP):
    """SNIP in rounds, ``s_p = |θ_p m_p ∂L(θ ⊙ m)/∂θ_p|``.

    What a round removes stays removed. De Jorge et al., *Progressive
    Skeletonization: Trimming more fat from a network at initialization*,
    ICLR 2021, where FORCE is the other form; Verdenius et al., *Pruning via
    Iterative Ranking of Sensitivity Statistics* (SNIP-it), 2020.

    Args:
        rounds: Number of rounds, each on batches of its own.
        schedule: ``'exponential'`` or ``'linear'`` way to the density.
    """

    def __init__(
        self, rounds: int = 60, schedule: str = 'exponential'
    ) -> None:
        self.schedule = Schedule(rounds, schedule)
