"""What a model predicts for the samples of one step."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True)
class Observation:
    """Predictions of ``n`` samples: images, or annotated objects.

    Attributes:
        logits: Shape (n, C).
        labels: Class of each sample, int64, shape (n,); −1 where a sample
            has any number of them.
        weights: Share of each sample in the task's own classification loss,
            shape (n,): ``1/B`` for an image of a batch of ``B``. A term
            ``Σ w_i l_i`` then has the same scale in every task.
        images: Position of each sample's image in the batch, shape (n,).
        keys: What identifies each sample across epochs, where the data
            set tells; ``None`` where it does not. Strings, integers, or
            tuples of them.
        stages: Stage of a cascade that each prediction belongs to, shape
            (n,): predictions of one stage alone are compared. ``None``
            where there are no stages.
        use_sigmoid: The classes are ``C`` independent probabilities instead
            of one distribution.
        cross_entropy: ``c`` where the task's losses contain
            ``c Σ_i w_i CE(z_i, y_i)`` of these very logits and labels, a
            softmax cross-entropy without smoothing or weights of classes; 0
            where the task has another classification loss.
        objects: Position of each sample's object in its image, shape (n,);
            ``None`` where the samples are images.
    """

    logits: Tensor
    labels: Tensor
    weights: Tensor
    images: Tensor
    keys: Sequence[Hashable] | None = None
    stages: Tensor | None = None
    use_sigmoid: bool = False
    cross_entropy: float = 0.0
    objects: Tensor | None = None

    def __len__(self) -> int:
        return len(self.logits)

    def detach(self) -> 'Observation':
        """The same predictions as constants."""
        return replace(self, logits=self.logits.detach())

    def probabilities(self) -> Tensor:
        """Of each class, in float32 at least, shape (n, C)."""
        logits = at_least_float32(self.logits)
        return logits.sigmoid() if self.use_sigmoid else logits.softmax(dim=1)


def at_least_float32(logits: Tensor) -> Tensor:
    """Half precision, as autocast gives it, widened to float32."""
    return logits if logits.dtype.itemsize >= 4 else logits.float()


def image_key(
    sample: object, path_parts: int | None = None
) -> Hashable | None:
    """What identifies an image across epochs: its path, else its number.

    Args:
        sample: Anything whose ``get`` finds ``img_path`` or ``sample_idx``:
            a data sample, or what a data set knows of it.
        path_parts: So many parts at the end of the path are enough, and do
            not depend on where the data set lies; the whole path by default.
    """
    path = sample.get('img_path')
    if path is not None:
        path = str(path)
        if path_parts is None:
            return path
        return '/'.join(path.rsplit('/', path_parts)[-path_parts:])
    index = sample.get('sample_idx')
    return None if index is None else int(index)
