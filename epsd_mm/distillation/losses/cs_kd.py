"""Class-wise self-knowledge distillation."""

import torch.nn.functional as F
from torch import Tensor

from ..observation import Observation, at_least_float32
from ..teachers import Partner
from .base import SelfDistillationLoss


def cs_kd_loss(
    logits: Tensor,
    partner_logits: Tensor,
    weights: Tensor | None = None,
    temperature: float = 4.0,
) -> Tensor:
    """Divergence from the prediction of another sample of the same class.

    ``T² Σ_i w_i KL(sg σ(z'_i / T) ‖ σ(z_i / T))``, the sum of the KL over
    classes, computed in float32 at least. Yun et al., *Regularizing
    Class-wise Predictions via Self-knowledge Distillation*, CVPR 2020,
    equations 1 and 2.

    Args:
        logits: ``z``, shape (n, C).
        partner_logits: ``z'``, shape (n, C); receives no gradient.
        weights: ``w``, shape (n,); ``1/n`` each by default.
        temperature: ``T``.

    Returns:
        A scalar; exactly zero for ``n = 0``.

    Example:
        >>> import torch
        >>> z = torch.tensor([[2.0, 0.0]])
        >>> float(cs_kd_loss(z, z))
        0.0
    """
    if weights is None:
        weights = logits.new_full((len(logits),), 1 / max(len(logits), 1))
    student = _log_softmax(logits, temperature)
    teacher = _log_softmax(partner_logits.detach(), temperature)
    divergence = F.kl_div(
        student, teacher, reduction='none', log_target=True
    ).sum(dim=1)
    return temperature**2 * (weights * divergence).sum()


def _log_softmax(logits: Tensor, temperature: float) -> Tensor:
    return F.log_softmax(at_least_float32(logits) / temperature, dim=1)


class CSKDLoss(SelfDistillationLoss):
    """:func:`cs_kd_loss` of images or objects, times ``loss_weight``.

    It needs partners in the batch: ``ClassPairBatchSampler``.

    Args:
        temperature: ``T``; the authors use 4.
        loss_weight: ``λ``; the authors use 1, and 3 on CUB-200-2011.
    """

    def __init__(
        self, temperature: float = 4.0, loss_weight: float = 1.0
    ) -> None:
        super().__init__(temperature, loss_weight)

    def build_teacher(self) -> Partner:
        return Partner()

    def forward(
        self, observation: Observation, rows: Tensor, found: Tensor
    ) -> Tensor:
        return self.loss_weight * cs_kd_loss(
            observation.logits[found],
            rows[found],
            observation.weights[found],
            self.temperature,
        )
