"""Batches that share half of their images with the batch before."""

from collections import deque
from collections.abc import Iterator

from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from .base import WrappingBatchSampler


@DATA_SAMPLERS.register_module()
class OverlapBatchSampler(WrappingBatchSampler):
    """``B/2`` fresh indices, then the ``B/2`` fresh ones of the last batch.

    The data set loads an image for each index, so that the shared half is
    augmented anew (DLB, Shen et al., CVPR 2022). It goes on across epochs:
    the first batch of an epoch shares those of the last batch of the epoch
    before, whatever their number, also after a resume. The very first batch
    has its fresh half only.

    ``batch_size`` stays the number of images that carry the task loss. Each
    image is seen twice an epoch, which has twice as many batches therefore.

    Args:
        sampler: The index sampler. Where it has ``epoch`` and
            ``set_epoch``, they tell the last batch of the epoch before.
        batch_size: ``B``, even.
        base: Config of the batch sampler that makes the fresh halves.
            Defaults to consecutive indices.
        drop_last: Drop a last half that is smaller; only without ``base``,
            which has its own.

    Raises:
        ValueError: ``batch_size`` is odd.
    """

    does = 'repeats half of each batch in the next one'

    def __init__(
        self,
        sampler: Sampler,
        batch_size: int,
        base: dict | None = None,
        drop_last: bool | None = None,
    ) -> None:
        if batch_size % 2 or batch_size < 2:
            raise ValueError(
                f'batch_size={batch_size} must be even: half of each batch '
                'is shared with the batch before'
            )
        super().__init__(sampler, batch_size, batch_size // 2, base, drop_last)
        self._last: list[int] = []
        self._ended: int | None = None  # the epoch whose end `_last` is

    def __iter__(self) -> Iterator[list[int]]:
        last = self._last_of_epoch_before()
        self._ended = None
        for fresh in self.base:
            yield fresh + last
            self._last = last = fresh
        self._ended = getattr(self.sampler, 'epoch', None)

    def _last_of_epoch_before(self) -> list[int]:
        epoch = getattr(self.sampler, 'epoch', None)
        if epoch is None or not hasattr(self.sampler, 'set_epoch'):
            return self._last
        if epoch == 0:
            return []
        if self._ended == epoch - 1:
            return self._last
        # A resumed run starts here: the epoch before is read once more.
        self.sampler.set_epoch(epoch - 1)
        try:
            batches = deque(self.base, maxlen=1)
        finally:
            self.sampler.set_epoch(epoch)
        return batches[0] if batches else []
