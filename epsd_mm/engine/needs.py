"""Which batches the teachers of self-distillation losses need."""

from dataclasses import dataclass

from epsd_mm.datasets.samplers import (
    ClassPairBatchSampler,
    OverlapBatchSampler,
)


@dataclass(frozen=True)
class Need:
    """What a kind of teacher needs of the batches.

    Attributes:
        attribute: A teacher's attribute that says so.
        sampler: The batch sampler that gives it.
        why: What the loss does with it.
        what_it_does: What the batch sampler does.
    """

    attribute: str
    sampler: type
    why: str
    what_it_does: str


NEEDS = (
    Need(
        'needs_pairs',
        ClassPairBatchSampler,
        'compares each image with a partner of its class',
        'appends a partner to each image',
    ),
    Need(
        'needs_overlap',
        OverlapBatchSampler,
        'compares each image with its prediction one step ago',
        'repeats half of each batch in the next one',
    ),
)
