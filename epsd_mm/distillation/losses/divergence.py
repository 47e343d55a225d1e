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

    Raises:
        ValueError: The shapes differ, or the temperature is not positive.
    """
    check_alike(logits, 'the logits to learn from', teacher_logits)
    if not temperature > 0:
        raise ValueError(f'temperature={temperature!r} must be positive')
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
    check_one_each(losses, 'weights', weights)
    return (weights * losses).sum()


# Torch would repeat a row, a column or a number for all samples.


def check_alike(logits: Tensor, name: str, rows: Tensor) -> None:
    """Raise unless there is a row of as many classes for each sample."""
    for what, value in (('logits', logits), (name, rows)):
        _check_tensor(what, value)
    if logits.dim() != 2 or rows.shape != logits.shape:
        raise ValueError(
            f'logits have the shape {tuple(logits.shape)} and {name} '
            f'{tuple(rows.shape)}: both must be (n, C), a row for each sample'
        )


def check_one_each(samples: Tensor, name: str, values: Tensor) -> None:
    """Raise unless there is one value for each sample."""
    _check_tensor(name, values)
    if values.shape != samples.shape[:1]:
        raise ValueError(
            f'{name} have the shape {tuple(values.shape)}, and there are '
            f'{len(samples)} samples: give one for each, ({len(samples)},)'
        )


def check_labels(logits: Tensor, labels: Tensor) -> None:
    """Raise unless there is a class, as int64, for each sample."""
    check_one_each(logits, 'labels', labels)
    if labels.dtype != torch.int64:
        raise ValueError(
            f'labels have the dtype {labels.dtype}: give classes as '
            'torch.int64, one for each sample'
        )


def check_alpha(alpha: float) -> None:
    """Raise unless it is a share."""
    if not 0 <= alpha <= 1:
        raise ValueError(f'alpha={alpha!r} must be in [0, 1]')


# Values are looked at where that waits for no device and breaks no graph of
# torch.compile; modules, which training calls, do without.


def _may_look(values: Tensor) -> bool:
    return values.device.type == 'cpu' and not torch.compiler.is_compiling()


def check_classes(labels: Tensor, count: int) -> None:
    """Raise unless labels are among so many classes."""
    if not _may_look(labels):
        return
    wrong = labels[(labels < 0) | (labels >= count)]
    if len(wrong):
        raise ValueError(
            f'labels have a class {int(wrong[0])}, and the logits have '
            f'{count} classes: give numbers from 0 to {count - 1}'
        )


def check_probabilities(name: str, values: Tensor) -> None:
    """Raise unless all are in [0, 1], but for rounding."""
    if not _may_look(values):
        return
    wrong = values[~((values > -1e-3) & (values < 1 + 1e-3))]
    if len(wrong):
        raise ValueError(
            f'{name} have a value {float(wrong[0]):.6g}, not in [0, 1]: give '
            'logits.softmax(dim=1), or of independent classes '
            'logits.sigmoid(), in place of logits'
        )


def _check_tensor(name: str, value: object) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(
            f'{name} must be a tensor with a row or a value for each sample, '
            f'got {value!r}: give settings such as temperature by name'
        )
