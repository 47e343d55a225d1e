"""Progressive self-knowledge distillation."""

import torch
from torch import Tensor

from ..observation import Observation
from ..teachers import History
from .base import SelfDistillationLoss, positive
from .divergence import (
    check_alike,
    check_alpha,
    check_classes,
    check_labels,
    check_probabilities,
    log_outcomes,
    outcomes,
    weighted_sum,
)


def ps_kd_loss(
    logits: Tensor,
    labels: Tensor,
    past: Tensor,
    weights: Tensor | None = None,
    alpha: float = 0.8,
) -> Tensor:
    """What a target softened by the past prediction adds to cross-entropy.

    ``Σ_i w_i (CE(z_i, (1-α) y_i + α P_i) - CE(z_i, y_i))``, which is
    ``α Σ_i w_i (CE(z_i, P_i) - CE(z_i, y_i))``: added to the plain
    cross-entropy it gives the loss of Kim et al., *Self-Knowledge
    Distillation with Progressive Refinement of Targets*, ICCV 2021. It may
    be negative. Computed in float32 at least.

    Args:
        logits: ``z``, shape (n, C).
        labels: ``y`` as classes, int64, shape (n,).
        past: ``P``, probabilities, shape (n, C); receive no gradient.
        weights: ``w``, shape (n,); ``1/n`` each by default.
        alpha: ``α``, in [0, 1].

    Returns:
        A scalar; exactly zero for ``n = 0``.

    Raises:
        TypeError: Something is no tensor.
        ValueError: Shapes differ, labels are no classes of the logits,
            ``past`` are no probabilities, or ``α`` is out of its range.

    Example:
        >>> import torch
        >>> from torch.nn.functional import cross_entropy
        >>> model, labels = torch.nn.Linear(8, 4), torch.randint(4, (16,))
        >>> logits = model(torch.randn(16, 8))
        >>> past = torch.rand(16, 4).softmax(dim=1)  # when last seen
        >>> loss = cross_entropy(logits, labels)
        >>> loss = loss + ps_kd_loss(logits, labels, past, alpha=0.8)
        >>> loss.backward()
    """
    check_alike(logits, 'past probabilities', past)
    check_labels(logits, labels)
    check_classes(labels, logits.shape[1])
    check_probabilities('past probabilities', past)
    return _loss(logits, labels, past, weights, alpha)


def _loss(
    logits: Tensor,
    labels: Tensor,
    past: Tensor,
    weights: Tensor | None,
    alpha: float,
) -> Tensor:
    check_alpha(alpha)
    check_alike(logits, 'past probabilities', past)
    check_labels(logits, labels)
    log_p = log_outcomes(logits)
    true = log_p.gather(1, labels[:, None])[:, 0]
    difference = true - (past.detach() * log_p).sum(dim=1)
    return alpha * weighted_sum(difference, weights)


def ps_kd_divergence(
    logits: Tensor,
    past: Tensor,
    weights: Tensor | None = None,
    alpha: float = 0.8,
    use_sigmoid: bool = False,
) -> Tensor:
    """``α Σ_i w_i KL(P_i ‖ σ(z_i))``, for other classification losses.

    The term of :func:`ps_kd_loss` is linear in ``z``, so that only a plain
    cross-entropy of the same weight keeps it from running to minus infinity.
    Beside focal, smoothed or class-weighted losses this one, which is never
    negative, takes its place: our choice, the paper has no such case.

    Args:
        logits: ``z``, shape (n, C).
        past: ``P``, probabilities, shape (n, C); receive no gradient.
        weights: ``w``, shape (n,); ``1/n`` each by default.
        alpha: ``α``, in [0, 1].
        use_sigmoid: The classes are independent; the KL is that of ``C``
            yes-or-no distributions.

    Returns:
        A scalar, at least 0.

    Example:
        >>> import torch
        >>> from torch.nn.functional import multilabel_soft_margin_loss
        >>> model = torch.nn.Linear(8, 4)
        >>> labels = torch.randint(2, (16, 4)).float()
        >>> logits, past = model(torch.randn(16, 8)), torch.rand(16, 4)
        >>> loss = multilabel_soft_margin_loss(logits, labels)
        >>> loss = loss + ps_kd_divergence(logits, past, use_sigmoid=True)
        >>> loss.backward()
    """
    check_alike(logits, 'past probabilities', past)
    check_probabilities('past probabilities', past)
    return _divergence(logits, past, weights, alpha, use_sigmoid)


def _divergence(
    logits: Tensor,
    past: Tensor,
    weights: Tensor | None,
    alpha: float,
    use_sigmoid: bool,
) -> Tensor:
    check_alpha(alpha)
    check_alike(logits, 'past probabilities', past)
    past = outcomes(past.detach(), use_sigmoid)
    log_p = log_outcomes(logits, use_sigmoid=use_sigmoid)
    divergence = torch.xlogy(past, past) - past * log_p
    return alpha * weighted_sum(divergence.sum(dim=1), weights)


class PSKDLoss(SelfDistillationLoss):
    """:func:`ps_kd_loss` with ``α`` growing linearly, times ``loss_weight``.

    ``α_t = α_T (t + 1) / T`` in epoch ``t`` of ``T``, and ``α_T`` while
    scoring. Samples that were never seen before, all of them in the first
    epoch, add nothing. Where the task's classification loss is no plain
    cross-entropy, :func:`ps_kd_divergence` takes its place.

    Example:
        >>> import torch
        >>> from epsd_mm.distillation import Observation
        >>> loss, keys = PSKDLoss(alpha=0.8), ['a', 'b']  # of two images
        >>> history, images = loss.build_teacher(), torch.arange(2)
        >>> terms = []
        >>> for epoch in range(2):
        ...     logits = torch.randn(2, 4, requires_grad=True)
        ...     seen = Observation(
        ...         logits, torch.tensor([3, 1]), torch.full((2,), 0.5),
        ...         images, keys, cross_entropy=1.0)
        ...     rows, found = history.recall(seen)
        ...     terms.append(loss(seen, rows, found, (epoch + 1) / 2))
        ...     history.remember(seen.detach())
        >>> [bool(term != 0) for term in terms]  # nothing was seen before
        [False, True]

    Args:
        alpha: ``α_T``, in (0, 1]; the authors use 0.8.
        top_k: Classes whose probability is remembered of each sample, see
            :class:`~epsd_mm.distillation.History`; all by default.
        loss_weight: Factor of the term; other than 1 is no longer the
            paper's loss.
    """

    def __init__(
        self,
        alpha: float = 0.8,
        top_k: int | None = None,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(loss_weight)
        if positive('alpha', alpha) > 1:
            raise ValueError(f'alpha={alpha!r} must be in (0, 1]')
        self.alpha = alpha
        self.top_k = top_k
        self.build_teacher()  # refuses a wrong top_k

    def build_teacher(self) -> History:
        return History(self.top_k)

    def forward(
        self,
        observation: Observation,
        rows: Tensor,
        found: Tensor,
        progress: float = 1.0,
    ) -> Tensor:
        logits = observation.logits[found]
        weights = observation.weights[found]
        alpha = self.alpha * progress
        if not observation.cross_entropy:
            term = _divergence(
                logits, rows[found], weights, alpha, observation.use_sigmoid
            )
            return self.loss_weight * term
        labels = observation.labels[found]
        term = _loss(logits, labels, rows[found], weights, alpha)
        return self.loss_weight * observation.cross_entropy * term
