"""SynFlow."""

import torch

from ..schedule import Schedule
from .base import Sensitivity, masked


class SynFlow(Sensitivity):
    """Synaptic flow, ``s_p = |θ_p ∂R/∂θ_p|`` with ``R = 1ᵀ f(1; |θ|)``.

    R is the sum of the outputs for an image of ones, in evaluation mode,
    with all weights at their absolute values. Data-free, in rounds on an
    exponential schedule. Tanaka et al., *Pruning neural networks without
    any data by iteratively conserving synaptic flow*, NeurIPS 2020,
    algorithm 1. Computed in float64: in float32 R overflows on deep nets.

    Only the shape of the images is taken from the data. Networks whose
    outputs are not one tensor, such as detectors, are refused.

    Args:
        rounds: Number of rounds.
        schedule: ``'exponential'`` or ``'linear'`` way to the density.
    """

    data_free = True
    takes_outputs = True

    def __init__(
        self, rounds: int = 100, schedule: str = 'exponential'
    ) -> None:
        self.schedule = Schedule(rounds, schedule)

    def products(self, objective, params, masks, batches):
        weights = {
            name: weight.double().abs().requires_grad_()
            for name, weight in masked(params, masks).items()
        }
        outputs = objective.outputs(weights, next(batches)[0])
        gradient = torch.autograd.grad(
            outputs.sum(), list(weights.values()), allow_unused=True
        )
        return {
            name: weight.detach() * flow
            for (name, weight), flow in zip(weights.items(), gradient)
            if name in masks and flow is not None
        }
