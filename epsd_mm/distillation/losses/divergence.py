"""How far one prediction is from another."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..observation import at_least_float32


def softened_divergence(
    logits: Tensor,
    teacher_logits: Tensor,
    temperature: float,
    use_sigmoid: bool = False,
) -> Tensor:
    """``T² KL(sg σ(z' / T) ‖ σ(z / T))`` of each sample.

    The sum of the KL over classes, in float32 at least. The factor keeps
    the size of the gradient by ``z`` independent of the temperature (Hinton
    et al., *Distilling the Knowledge in a Neural Network*, 2015, section 2).

    Args:
        logits: ``z``, shape (n, C).
        teacher_logits: ``z'``, shape (n, C); receives no gradient.
        temperature: ``T``.
        use_sigmoid: σ is the logistic function of each class, and the KL a
            sum of those of ``C`` yes-or-no distributions.

    Returns:
        Shape (n,).
    """
    divergence = F.kl_div(
        log_outcomes(logits, temperature, use_sigmoid),
        log_outcomes(teacher_logits.detach(), temperature, use_sigmoid),
        reduction='none',
        log_target=True,
    )
    return temperature**2 * divergence.sum(dim=1)


def log_outcomes(
    logits: Tensor, temperature: float = 1.0, use_sigmoid: bool = False
) -> Tensor:
    """Logarithms of what :func:`outcomes` gives, in float32 at least."""
    z = at_least_float32(logits) / temperature
    if use_sigmoid:
        return torch.cat([F.logsigmoid(z), F.logsigmoid(-z)], dim=1)
    return F.log_softmax(z, dim=1)


def outcomes(probabilities: Tensor, use_sigmoid: bool = False) -> Tensor:
    """Probabilities of everything that may be the case.

    Args:
        probabilities: Of the classes, shape (n, C).
        use_sigmoid: They are independent: each class may be the case, or
            not.

    Returns:
        Shape (n, C), or (n, 2C): first of the classes, then of their
        contraries.
    """
    if not use_sigmoid:
        return probabilities
    return torch.cat([probabilities, 1 - probabilities], dim=1)


def weighted_sum(losses: Tensor, weights: Tensor | None) -> Tensor:
    """``Σ_i w_i l_i`` of ``n`` samples; ``1/n`` each without weights."""
    if weights is None:
        weights = losses.new_full((len(losses),), 1 / max(len(losses), 1))
    return (weights * losses).sum()
