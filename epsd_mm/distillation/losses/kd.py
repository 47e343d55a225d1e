"""Knowledge distillation from a network that was trained before."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from ..observation import Observation
from ..teachers import Trained
from .base import SelfDistillationLoss, positive
from .divergence import (
    check_alpha,
    check_classes,
    check_labels,
    log_outcomes,
    softened_divergence,
    weighted_sum,
)


def kd_loss(
    logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor,
    weights: Tensor | None = None,
    temperature: float = 4.0,
    alpha: float = 0.9,
) -> Tensor:
    """What a teacher changes in the cross-entropy of its student.

    ``α Σ_i w_i (T² KL(sg σ(z'_i / T) ‖ σ(z_i / T)) - CE(z_i, y_i))``: added
    to the plain cross-entropy it gives ``(1-α) CE + α T² KL``, the loss of
    Hinton et al., *Distilling the Knowledge in a Neural Network*, 2015,
    section 2, as Park and No weigh its terms (*Prune Your Model Before
    Distill It*, ECCV 2022). It may be negative. Computed in float32 at least.

    Args:
        logits: ``z``, shape (n, C).
        labels: ``y`` as classes, int64, shape (n,).
        teacher_logits: ``z'``, shape (n, C); receives no gradient.
        weights: ``w``, shape (n,); ``1/n`` each by default.
        temperature: ``T``.
        alpha: ``α``, in [0, 1].

    Returns:
        A scalar; exactly zero for ``n = 0``.

    Raises:
        TypeError: Something is no tensor.
        ValueError: Shapes differ, labels are no classes of the logits, or a
            setting is out of its range.

    Example:
        >>> import torch
        >>> from torch.nn.functional import cross_entropy
        >>> teacher, student = torch.nn.Linear(8, 4), torch.nn.Linear(8, 4)
        >>> teacher = teacher.eval().requires_grad_(False)
        >>> images, labels = torch.randn(16, 8), torch.randint(4, (16,))
        >>> logits = student(images)
        >>> loss = cross_entropy(logits, labels)
        >>> loss = loss + kd_loss(logits, labels, teacher(images))
        >>> loss.backward()
    """
    divergence = kd_divergence(
        logits, teacher_logits, weights, temperature, alpha
    )
    check_labels(logits, labels)
    check_classes(labels, logits.shape[1])
    return divergence - alpha * _cross_entropy(logits, labels, weights)


def kd_divergence(
    logits: Tensor,
    teacher_logits: Tensor,
    weights: Tensor | None = None,
    temperature: float = 4.0,
    alpha: float = 0.9,
    use_sigmoid: bool = False,
) -> Tensor:
    """``α T² Σ_i w_i KL(sg σ(z'_i / T) ‖ σ(z_i / T))``, the teacher's part.

    Beside losses other than a plain cross-entropy (focal, smoothed,
    independent classes) it is all of the term, and the task keeps its full
    weight: our choice, the papers have no such case.

    Args:
        logits: ``z``, shape (n, C).
        teacher_logits: ``z'``, shape (n, C); receives no gradient.
        weights: ``w``, shape (n,); ``1/n`` each by default.
        temperature: ``T``.
        alpha: ``α``, in (0, 1].
        use_sigmoid: The classes are independent; the KL is that of ``C``
            yes-or-no distributions.

    Returns:
        A scalar, at least 0.

    Example:
        >>> import torch
        >>> from torch.nn.functional import multilabel_soft_margin_loss
        >>> teacher, student = torch.nn.Linear(8, 4), torch.nn.Linear(8, 4)
        >>> images, labels = torch.randn(16, 8), torch.rand(16, 4).round()
        >>> logits = student(images)
        >>> loss = multilabel_soft_margin_loss(logits, labels)
        >>> loss = loss + kd_divergence(
        ...     logits, teacher(images), use_sigmoid=True)
        >>> loss.backward()
    """
    check_alpha(alpha)
    divergence = softened_divergence(
        logits, teacher_logits, temperature, use_sigmoid
    )
    return alpha * weighted_sum(divergence, weights)


class KD(SelfDistillationLoss):
    """:func:`kd_loss` of images or objects, from a network trained before.

    No self-distillation: it is what that is compared with. Where the task's
    classification loss is no plain cross-entropy, :func:`kd_divergence`
    takes its place.

    Example:
        >>> import torch
        >>> from epsd_mm.distillation import Observation
        >>> loss = KD(temperature=4.0, alpha=0.9)
        >>> lesson = loss.build_teacher()
        >>> def observed(logits, labels):  # of as many images
        ...     images = torch.arange(len(logits))
        ...     weights = torch.full((len(logits),), 1 / len(logits))
        ...     return Observation(
        ...         logits, labels, weights, images, cross_entropy=1.0)
        >>> labels = torch.tensor([0, 1, 2, 3])
        >>> lesson.remember(observed(torch.randn(4, 5), labels))  # a teacher's
        >>> seen = observed(torch.randn(4, 5, requires_grad=True), labels)
        >>> loss(seen, *lesson.recall(seen)).backward()

    Args:
        teacher: ``dict(config=PATH, checkpoint=PATH)`` of the trained
            network, or such a network. Without one the loss can be built,
            and neither scored nor trained with.
        temperature: ``T``; 4 is ours. Park and No use 10.
        alpha: ``α``, in (0, 1]; 0.9 is ours. Park and No use 0.95.
        loss_weight: Factor of the divergence alone; other than 1 is no
            longer the paper's loss.
    """

    def __init__(
        self,
        teacher: Mapping[str, Any] | Callable | None = None,
        temperature: float = 4.0,
        alpha: float = 0.9,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(loss_weight)
        self.temperature = positive('temperature', temperature)
        if positive('alpha', alpha) > 1:
            raise ValueError(f'alpha={alpha!r} must be in (0, 1]')
        self.alpha = alpha
        # No part of this module, whose weights it would otherwise share.
        self.__dict__['teacher'] = _checked(teacher)

    def build_teacher(self) -> Trained:
        return Trained()

    def forward(
        self,
        observation: Observation,
        rows: Tensor,
        found: Tensor,
        progress: float = 1.0,
    ) -> Tensor:
        logits = observation.logits[found]
        weights = observation.weights[found]
        divergence = self.loss_weight * kd_divergence(
            logits,
            rows[found],
            weights,
            self.temperature,
            self.alpha,
            observation.use_sigmoid,
        )
        if not observation.cross_entropy:
            return divergence
        labels = observation.labels[found]
        taken = self.alpha * _cross_entropy(logits, labels, weights)
        return observation.cross_entropy * (divergence - taken)


def _cross_entropy(
    logits: Tensor, labels: Tensor, weights: Tensor | None
) -> Tensor:
    check_labels(logits, labels)
    chosen = log_outcomes(logits).gather(1, labels[:, None])[:, 0]
    return weighted_sum(-chosen, weights)


def _checked(teacher: Any) -> Any:
    """A teacher, if it can be one.

    Raises:
        ValueError: It cannot.
    """
    if teacher is None or callable(teacher):
        return teacher
    right = isinstance(teacher, Mapping) and all(
        isinstance(value, str) and value for value in teacher.values()
    )
    if not right or set(teacher) != {'config', 'checkpoint'}:
        raise ValueError(
            f'teacher={teacher!r} must be dict(config=PATH, checkpoint=PATH) '
            'of a trained network, or such a network'
        )
    return dict(teacher)
