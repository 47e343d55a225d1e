"""How far one prediction is from another."""

import torch.nn.functional as F
from torch import Tensor

from ..observation import at_least_float32


def softened_divergence(
    logits: Tensor, teacher_logits: Tensor, temperature: float
) -> Tensor:
    """``T² KL(sg σ(z' / T) ‖ σ(z / T))`` of each sample.

    The sum of the KL over classes, in float32 at least. The factor keeps
    the size of the gradient by ``z`` independent of the temperature (Hinton
    et al., *Distilling the Knowledge in a Neural Network*, 2015, section 2).

    Args:
        logits: ``z``, shape (n, C).
        teacher_logits: ``z'``, shape (n, C); receives no gradient.
        temperature: ``T``.

    Returns:
        Shape (n,).
    """
    divergence = F.kl_div(
        log_softmax(logits, temperature),
        log_softmax(teacher_logits.detach(), temperature),
        reduction='none',
        log_target=True,
    )
    return temperature**2 * divergence.sum(dim=1)


def log_softmax(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """``log σ(z / T)`` over classes, in float32 at least."""
    return F.log_softmax(at_least_float32(logits) / temperature, dim=1)


def weighted_sum(losses: Tensor, weights: Tensor | None) -> Tensor:
    """``Σ_i w_i l_i`` of ``n`` samples; ``1/n`` each without weights."""
    if weights is None:
        weights = losses.new_full((len(losses),), 1 / max(len(losses), 1))
    return (weights * losses).sum()
