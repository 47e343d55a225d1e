"""Random pruning."""

import torch

from .base import Criterion


class Random(Criterion):
    """Independent uniform scores, ``s_p ~ U(0, 1)``.

    Strong below 90 % sparsity, and so the baseline that no study may leave
    out (Frankle et al., *Pruning Neural Networks at Initialization: Why Are
    We Missing the Mark?*, ICLR 2021). Scores come from the CPU's generator:
    one seed gives one mask on every device.
    """

    steps_per_draw = 0
    evaluations = 0
    data_free = True

    def scores(self, objective, params, masks, batches):
        return {name: torch.rand(masks[name].shape) for name in masks}
