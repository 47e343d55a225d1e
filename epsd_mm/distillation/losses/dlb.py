"""Self-distillation from the last mini-batch."""

from torch import Tensor

from ..observation import Observation
from ..teachers import Previous
from .base import SelfDistillationLoss, positive
from .divergence import softened_divergence, weighted_sum


def dlb_loss(
    logits: Tensor,
    previous_logits: Tensor,
    weights: Tensor | None = None,
    temperature: float = 3.0,
    use_sigmoid: bool = False,
) -> Tensor:
    """Divergence from the prediction one step ago of the same samples.

    ``T² Σ_i w_i KL(sg σ(z_i^{t-1} / T) ‖ σ(z_i^t / T))``, the sum of the KL
    over classes, computed in float32 at least. Shen et al.,
    *Self-Distillation from the Last Mini-Batch for Consistency
    Regularization*, CVPR 2022.

    Args:
        logits: ``z^t``, shape (n, C), of the samples that this step shares
            with the one before, augmented anew.
        previous_logits: ``z^{t-1}``, shape (n, C); receives no gradient.
        weights: ``w``, shape (n,); ``1/n`` each by default.
        temperature: ``T``.
        use_sigmoid: The classes are independent; the KL is that of ``C``
            yes-or-no distributions: our choice, the paper has softmax.

    Returns:
        A scalar; exactly zero for ``n = 0``.

    Example:
        >>> import torch
        >>> from torch.nn.functional import cross_entropy
        >>> model, labels = torch.nn.Linear(8, 4), torch.randint(4, (16,))
        >>> logits = model(torch.randn(16, 8))
        >>> before = torch.randn(8, 4)  # of the first half, one step ago
        >>> loss = cross_entropy(logits, labels)
        >>> loss = loss + dlb_loss(logits[:8], before)
        >>> loss.backward()
    """
    divergence = softened_divergence(
        logits, previous_logits, temperature, use_sigmoid
    )
    return weighted_sum(divergence, weights)


class DLBLoss(SelfDistillationLoss):
    """:func:`dlb_loss`, the mean over the shared samples.

    The samples seen one step ago stand for all of this step: their weights
    are scaled up to the sum of all weights, so that the term of a
    half-shared batch is the mean over that half, as the authors have it.
    It needs batches that overlap: ``OverlapBatchSampler``.

    Example:
        >>> import torch
        >>> from epsd_mm.distillation import Observation
        >>> loss = DLBLoss(temperature=3.0)
        >>> before = loss.build_teacher()
        >>> def observed(logits, keys):  # what identifies each image
        ...     images = torch.arange(len(keys))
        ...     weights = torch.full((len(keys),), 1 / len(keys))
        ...     return Observation(logits, images, weights, images, keys)
        >>> terms = []
        >>> for keys in (['a', 'b'], ['b', 'c'], ['c', 'd']):
        ...     seen = observed(torch.randn(2, 4, requires_grad=True), keys)
        ...     terms.append(loss(seen, *before.recall(seen)))
        ...     before.remember(seen.detach())
        >>> [bool(term > 0) for term in terms]
        [False, True, True]

    Args:
        temperature: ``T``. The authors' code has no default; 3 is ours.
        loss_weight: ``α``. The authors' code has no default; 1 is ours.
    """

    def __init__(
        self, temperature: float = 3.0, loss_weight: float = 1.0
    ) -> None:
        super().__init__(loss_weight)
        self.temperature = positive('temperature', temperature)

    def build_teacher(self) -> Previous:
        return Previous()

    def forward(
        self,
        observation: Observation,
        rows: Tensor,
        found: Tensor,
        progress: float = 1.0,
    ) -> Tensor:
        weights = observation.weights[found]
        if len(weights):
            weights = weights * (observation.weights.sum() / weights.sum())
        return self.loss_weight * dlb_loss(
            observation.logits[found],
            rows[found],
            weights,
            self.temperature,
            observation.use_sigmoid,
        )
