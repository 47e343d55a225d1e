"""FORCE."""

from ..gradients import record_gradient
from ..schedule import Schedule
from .base import Sensitivity, masked


class FORCE(Sensitivity):
    """Foresight connection sensitivity, ``s_p = |θ_p ∂L(θ ⊙ m)/∂(θ m)_p|``.

    The gradient is that of the sparsified network, the weight the initial
    one: a removed weight scores too and may come back in a later round. De
    Jorge et al., *Progressive Skeletonization: Trimming more fat from a
    network at initialization*, ICLR 2021, equation 6.

    Args:
        rounds: Number of rounds, each on batches of its own.
        schedule: ``'exponential'`` or ``'linear'`` way to the density.
    """

    regrow = True

    def __init__(
        self, rounds: int = 60, schedule: str = 'exponential'
    ) -> None:
        self.schedule = Schedule(rounds, schedule)

    def products(self, objective, params, masks, batches):
        loss, gradient, _ = record_gradient(
            objective, masked(params, masks), next(batches)
        )
        objective.note(losses=[loss])
        return {
            name: params[name].detach() * gradient[name]
            for name in masks
            if name in gradient
        }
