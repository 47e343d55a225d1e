"""Magnitude pruning."""

from .base import Criterion


class Magnitude(Criterion):
    """The size of the weights, ``s_p = |θ_p|``.

    At initialisation it compares little else than the layers' initial
    scales, and so empties wide layers at high sparsity.
    """

    steps_per_draw = 0
    evaluations = 0
    data_free = True

    def scores(self, objective, params, masks, batches):
        return {name: params[name].detach().abs() for name in masks}
