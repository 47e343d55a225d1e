"""What a model predicts for the samples of one step."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True)
class Observation:
    """Predictions of ``n`` samples: images, or annotated objects.

    Attributes:
        logits: Shape (n, C).
        labels: Class of each sample, int64, shape (n,).
        weights: Share of each sample in the task's own classification loss,
            shape (n,): ``1/B`` for an image of a batch of ``B``. A term
            ``Σ w_i l_i`` then has the same scale in every task.
        images: Position of each sample's image in the batch, shape (n,).
        keys: What identifies each sample across epochs, where the data
            set tells; ``None`` where it does not.
    """

    logits: Tensor
    labels: Tensor
    weights: Tensor
    images: Tensor
    keys: Sequence[Hashable] | None = None

    def __len__(self) -> int:
        return len(self.logits)

    def detach(self) -> 'Observation':
        """The same predictions as constants."""
        return replace(self, logits=self.logits.detach())


def at_least_float32(logits: Tensor) -> Tensor:
    """Half precision, as autocast gives it, widened to float32."""
    return logits if logits.dtype.itemsize >= 4 else logits.float()
