"""SDMPrune."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..gradients import record_gradient
from ..network import Network
from ..objective import Params
from ..schedule import FirstAndFinal
from .base import Sensitivity, masked
from .snip import SNIP

#: The authors' alpha and temperature, by the fraction of weights that goes.
OF_SPARSITY = {0.2: (0.4, 0.2), 0.3: (0.42, 0.5), 0.4: (0.1, 0.2)}


class SDMPrune(Sensitivity):
    """Neurons of MLPs by a loss that distils from the unpruned network.

    ::

        s_u = | Σ_p θ_p ∂L/∂θ_p |       p: all weights and biases of neuron u
        L   = (1 − α) L_task + α KL(softmax(z_T / t) ‖ softmax(z_S))

    z_T are the logits of the unpruned network, z_S those of what is left, in
    evaluation mode; KL is a mean over images. There are two rounds, and the
    first, which removes a few neurons, takes the task's loss alone: where
    z_S = z_T the KL says nothing of its own (at t = 1 its gradient is zero).
    The best are kept within each layer; what is left is fine-tuned with the
    task's loss. Made for trained weights. Zhu and Shen, *SDMPrune:
    Self-Distillation MLP Pruning for Efficient Large Language Models*, 2025.
    The authors' code takes the absolute value of each entry and each sample
    before their sum; here it comes last, as in the formula above.

    The sum is over all images of a step: set ``batches_per_step`` (the
    authors take 1,024 sequences of text).

    Args:
        alpha: α; by default the authors' for a sparsity of 0.2, 0.3 or 0.4.
        temperature: t, likewise. Give both or neither.
        first: Sparsity after the first round. The authors remove 2.5 % of
            their network's neurons, which are 1.6 % of its weights.
    """

    units_by = 'members'
    takes_outputs = True
    trained = True
    asks = dict(allocation='uniform', structure='neurons')

    def __init__(
        self,
        alpha: float | None = None,
        temperature: float | None = None,
        first: float = 0.016,
    ) -> None:
        if (alpha is None) != (temperature is None):
            raise ValueError(
                f'alpha={alpha!r} and temperature={temperature!r} belong '
                'together: give both, or neither for those of the authors'
            )
        if alpha is not None and not 0 < alpha <= 1:
            raise ValueError(f'alpha={alpha!r} must be in (0, 1]')
        if temperature is not None and not temperature > 0:
            raise ValueError(f'temperature={temperature!r} must be positive')
        self.alpha = alpha
        self.temperature = temperature
        self.first = first
        self.schedule = FirstAndFinal(first=first)

    def in_round(self, k, sparsity):
        if not self.first < sparsity:
            raise ValueError(
                f'first={self.first} removes in the first round what '
                f'sparsity={sparsity} asks for in all: give a smaller first'
            )
        alpha, temperature = self.alpha, self.temperature
        if alpha is None:
            given = [s for s in OF_SPARSITY if math.isclose(s, sparsity)]
            if not given:
                raise ValueError(
                    'the authors of SDMPrune give alpha and temperature for '
                    f'a sparsity of {", ".join(map(str, OF_SPARSITY))}, not '
                    f'for sparsity={sparsity}: give alpha and temperature'
                )
            alpha, temperature = OF_SPARSITY[given[0]]
        return SNIP() if k == 1 else SDMPrune(alpha, temperature, self.first)

    def products(self, objective, params, masks, batches):
        if all(mask.all() for mask in masks.values()):
            raise ValueError(
                f'first={self.first} removes no neuron in the first round, '
                'so that network and teacher are one: give a larger first, '
                "or a smaller multiple_of (structure=dict(type='neurons', "
                'multiple_of=1))'
            )
        weights, batch = masked(params, masks), next(batches)
        loss, task, _ = record_gradient(objective, weights, batch)
        # One after the other: their images are large once preprocessed.
        networks = map(objective.network, batch)
        kl, distilled, classes = _divergence(
            networks, len(batch), params, weights, self.temperature
        )
        objective.note(
            losses=[loss],
            loss_by_chance=math.log(classes),
            divergence=kl,
            alpha=self.alpha,
            temperature=self.temperature,
        )
        return {
            name: weights[name]
            * (
                (1 - self.alpha) * task.get(name, 0)
                + self.alpha * distilled.get(name, 0)
            )
            for name in masks
            if name in task or name in distilled
        }


def _divergence(
    networks: Iterable[Network],
    count: int,
    teacher: Params,
    student: Params,
    temperature: float,
) -> tuple[float, dict[str, Tensor], int]:
    """Mean KL over batches from one network to another, and its gradient.

    The number of classes comes last.
    """
    leaves = {n: p.detach().requires_grad_() for n, p in student.items()}
    fixed = {n: p.detach() for n, p in teacher.items()}
    value, total = 0.0, {}
    for network in networks:
        with torch.no_grad():
            target = network.outputs(fixed, network.images) / temperature
        logits = network.outputs(leaves, network.images)
        kl = F.kl_div(
            logits.log_softmax(dim=-1),
            target.softmax(dim=-1),
            reduction='batchmean',
        )
        kl = kl / count
        slopes = torch.autograd.grad(
            kl, list(leaves.values()), allow_unused=True
        )
        value += float(kl.detach())
        for name, slope in zip(leaves, slopes):
            if slope is not None:
                total[name] = total.get(name, 0) + slope
    return value, total, logits.shape[-1]
