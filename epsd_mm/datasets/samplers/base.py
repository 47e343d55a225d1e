"""What samplers of batches have in common."""

from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import BatchSampler, Sampler


class WrappingBatchSampler(BatchSampler):
    """Makes its batches from those of another batch sampler, its ``base``.

    Args:
        sampler: The index sampler.
        batch_size: Number of images that carry the task loss.
        fresh: Indices in each batch of the base.
        base: Config of the base; consecutive indices by default.
        drop_last: Drop a last batch that is smaller; only without ``base``,
            which has its own.

    Raises:
        ValueError: ``drop_last`` beside ``base``.

    Attributes:
        does: What it does to the batches, for messages.
    """

    does: str = 'makes batches for a self-distillation loss'

    def __init__(
        self,
        sampler: Sampler,
        batch_size: int,
        fresh: int,
        base: dict | None,
        drop_last: bool | None,
    ) -> None:
        if base is None:
            self.base = BatchSampler(sampler, fresh, bool(drop_last))
        elif drop_last is None:
            self.base = DATA_SAMPLERS.build(
                base, default_args=dict(sampler=sampler, batch_size=fresh)
            )
        else:
            raise ValueError(
                f'drop_last={drop_last} beside base={base} has no effect: '
                'set it in base'
            )
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = getattr(self.base, 'drop_last', False)

    def __len__(self) -> int:
        return len(self.base)
