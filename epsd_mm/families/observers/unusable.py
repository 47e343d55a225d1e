"""What is said of a head whose predictions cannot be seen."""

from torch import nn


def unusable(head: nn.Module, why: str) -> TypeError:
    """The error that says why, and what goes without self-distillation.

    Args:
        head: That classifies.
        why: What it does or lacks, as the rest of a sentence.
    """
    return TypeError(
        f'{type(head).__name__} {why}: self-distillation cannot use this '
        'head; for pruning without self-distillation set sd_loss=None'
    )
