"""SNIP."""

from ..gradients import record_gradient
from .base import Criterion


class SNIP(Criterion):
    """Connection sensitivity, ``s_p = |θ_p ∂L/∂θ_p|``.

    Lee et al., *SNIP: Single-shot Network Pruning based on Connection
    Sensitivity*, ICLR 2019, equation 5 without its normalisation. It scores
    the weights that will be trained, not a re-initialised copy.
    """

    def scores(self, objective, params, masks, batches):
        loss, gradient, _ = record_gradient(objective, params, next(batches))
        objective.note(losses=[loss])
        return {
            name: (params[name].detach() * gradient[name]).abs_()
            for name in masks
            if name in gradient
        }
