"""Class-wise self-knowledge distillation."""

from torch import Tensor

from ..observation import Observation
from ..teachers import Partner
from .base import SelfDistillationLoss, positive
from .divergence import softened_divergence, weighted_sum


def cs_kd_loss(
    logits: Tensor,
    partner_logits: Tensor,
    weights: Tensor | None = None,
    temperature: float = 4.0,
    use_sigmoid: bool = False,
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
        use_sigmoid: The classes are independent; the KL is that of ``C``
            yes-or-no distributions: our choice, the paper has softmax.

    Returns:
        A scalar; exactly zero for ``n = 0``.

    Example:
        >>> import torch
        >>> from torch.nn.functional import cross_entropy
        >>> model = torch.nn.Linear(8, 4)
        >>> images, partners = torch.randn(2, 16, 8)  # of the same classes
        >>> labels = torch.randint(4, (16,))
        >>> logits = model(images)
        >>> with torch.no_grad():
        ...     partner_logits = model(partners)
        >>> loss = cross_entropy(logits, labels)
        >>> loss = loss + cs_kd_loss(logits, partner_logits)
        >>> loss.backward()
    """
    divergence = softened_divergence(
        logits, partner_logits, temperature, use_sigmoid
    )
    return weighted_sum(divergence, weights)


class CSKDLoss(SelfDistillationLoss):
    """:func:`cs_kd_loss` of images or objects, times ``loss_weight``.

    It needs partners in the batch: ``ClassPairBatchSampler``.

    Example:
        >>> import torch
        >>> from epsd_mm.distillation import Observation
        >>> loss = CSKDLoss(temperature=4.0)
        >>> partners = loss.build_teacher()
        >>> def observed(logits, labels):  # of as many images
        ...     images = torch.arange(len(logits))
        ...     weights = torch.full((len(logits),), 1 / len(logits))
        ...     return Observation(logits, labels, weights, images)
        >>> labels = torch.tensor([0, 1, 2, 3])
        >>> partners.remember(observed(torch.randn(4, 5), labels))
        >>> seen = observed(torch.randn(4, 5, requires_grad=True), labels)
        >>> term = loss(seen, *partners.recall(seen))

    Args:
        temperature: ``T``; the authors use 4.
        loss_weight: ``λ``; the authors use 1, and 3 on CUB-200-2011.
    """

    def __init__(
        self, temperature: float = 4.0, loss_weight: float = 1.0
    ) -> None:
        super().__init__(loss_weight)
        self.temperature = positive('temperature', temperature)

    def build_teacher(self) -> Partner:
        return Partner()

    def forward(
        self,
        observation: Observation,
        rows: Tensor,
        found: Tensor,
        progress: float = 1.0,
    ) -> Tensor:
        return self.loss_weight * cs_kd_loss(
            observation.logits[found],
            rows[found],
            observation.weights[found],
            self.temperature,
            observation.use_sigmoid,
        )
