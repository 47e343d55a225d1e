"""What samplers of batches have in common."""

from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import BatchSampler, Sampler


def build_base(
    sampler: Sampler,
    batch_size: int,
    base: dict | None,
    drop_last: bool | None,
) -> BatchSampler:
    """The batch sampler that another one wraps.

    Args:
        sampler: The index sampler.
        batch_size: Indices of one batch.
        base: Its config; consecutive indices by default.
        drop_last: Drop a last batch that is smaller.

    Raises:
        ValueError: ``drop_last`` beside ``base``, which has its own.
    """
    if base is None:
        return BatchSampler(sampler, batch_size, bool(drop_last))
    if drop_last is not None:
        raise ValueError(
            f'drop_last={drop_last} beside base={base} has no effect: set '
            'it in base'
        )
    return DATA_SAMPLERS.build(
        base, default_args=dict(sampler=sampler, batch_size=batch_size)
    )
