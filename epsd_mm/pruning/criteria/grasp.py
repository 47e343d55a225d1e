"""GraSP."""

from ..gradients import hessian_product, record_gradient
from .base import Sensitivity, masked


class GraSP(Sensitivity):
    """Gradient signal preservation, ``s_p = θ_p (H g)_p``, with its sign.

    ``g`` is the gradient of the loss by the prunable weights and ``H`` its
    Hessian on the same batches. Removing a weight changes ``gᵀg`` by
    ``−θ_p (H g)_p`` to first order, up to a factor; the paper removes the
    weights with the highest of these, so the lowest ``θ_p (H g)_p`` go
    here. Wang et al., *Picking Winning Tickets Before Training by
    Preserving Gradient Flow*, ICLR 2020, equation 8. The authors' code
    divides the logits by 200 first; here the loss is the one that trains.
    """

    evaluations = 2
    hessian_products = replays = 1
    signed = True

    def products(self, objective, params, masks, batches):
        weights = masked(params, masks)
        loss, gradient, steps = record_gradient(
            objective, weights, next(batches)
        )
        objective.note(losses=[loss])
        vector = {n: g for n, g in gradient.items() if n in masks}
        product = hessian_product(objective, weights, steps, vector)
        return {n: weights[n] * product[n] for n in masks if n in product}
