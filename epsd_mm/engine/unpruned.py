"""Says which weights stay whole although nobody asked for it."""

from logging import Logger

from torch import nn

from epsd_mm.pruning import Found, Prunability, weight_count
from epsd_mm.pruning.names import summary

from .settings import Settings


def warn_of_unpruned(
    model: nn.Module, settings: Settings, logger: Logger
) -> list[dict]:
    """Log what is neither prunable nor excluded, and what was not checked.

    Args:
        model: The network.
        settings: Their ``include`` and ``exclude`` count.
        logger: Takes the warnings; one of each kind, if any.

    Returns:
        What is not prunable, by class of layer, in plain values.
    """
    prunability = Prunability(model, settings.include, settings.exclude)
    found = prunability.unpruned()
    if found:
        weights = sum(entry.weights for entry in found)
        lines = [
            f'{weights:,} weights, {weights / weight_count(model):.2%} of '
            'all, are kernels or matrices that are not prunable and stay '
            'whole; exclude can name those that are meant to:'
        ]
        for entry in found:
            names = summary(entry.names, dict(model.named_parameters()))
            lines.append(
                f'  {entry.layer}: {", ".join(names)} '
                f'({entry.weights:,}, {entry.share:.2%} of all)'
            )
        logger.warning('\n'.join(lines))
    if unchecked := prunability.unchecked():
        name, reason = next(iter(unchecked.items()))
        logger.warning(
            'it is taken on trust that these layers multiply by their '
            'weights as they are stored, because they cannot be called by '
            f'themselves: {", ".join(summary(unchecked, unchecked))} '
            f'({name}: {reason}); exclude those that change them first'
        )
    return [vars(entry) for entry in found]


def warn_left_dense(
    found: Found, logger: Logger, what: str = 'weights'
) -> None:
    """Name the layers that stay whole because nothing ranks them."""
    if found.left_dense:
        logger.warning(
            f'zero_layers="dense" leaves {len(found.left_dense)} layers with '
            f'{sum(found.left_dense.values()):,} {what} whole, because all '
            'their scores are exactly zero at initialisation: '
            f'{", ".join(found.left_dense)}. Of the other '
            f'{found.masks.total:,} prunable {what} '
            f'{found.masks.sparsity:.2%} are removed'
        )
