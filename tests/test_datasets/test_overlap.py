"""Half of each batch is shared with the batch before, across epochs."""

import pytest
from mmdet.datasets import AspectRatioBatchSampler
from mmengine.dataset import DefaultSampler
from mmengine.registry import DATA_SAMPLERS, DefaultScope
from torch.utils.data import SequentialSampler

from epsd_mm.datasets.samplers import OverlapBatchSampler
from tests.helpers.datasets import classification_set, detection_set, objects


@pytest.fixture
def classified(tmp_path):
    return classification_set(tmp_path, [0, 1, 2, 0, 1, 0, 1, 0, 2, 1])


def epochs(sampler, count, start=0):
    """Batches of several epochs, as a training loop asks for them."""
    batches = []
    for epoch in range(start, start + count):
        sampler.sampler.set_epoch(epoch)
        batches += list(sampler)
    return batches


def fresh_halves(dataset, size, count, **options):
    """What a plain sampler gives, epoch after epoch."""
    sampler = DefaultSampler(dataset, seed=1, **options)
    halves = []
    for epoch in range(count):
        sampler.set_epoch(epoch)
        order = list(sampler)
        halves += [order[i : i + size] for i in range(0, len(order), size)]
    return halves


def test_batches_overlap_by_half_and_across_epochs(classified):
    sampler = OverlapBatchSampler(DefaultSampler(classified, seed=1), 4)
    halves = fresh_halves(classified, 2, 3)
    want = [halves[0]] + [new + old for old, new in zip(halves, halves[1:])]
    assert epochs(sampler, 3) == want
    assert len(sampler) == 5 and sampler.batch_size == 4


def test_each_image_is_seen_twice(classified):
    sampler = OverlapBatchSampler(DefaultSampler(classified, seed=1), 4)
    seen = [i for batch in epochs(sampler, 2) for i in batch]
    last = epochs(sampler, 2)[-1][:2]
    # The last fresh half is shared with the epoch that comes.
    assert all(seen.count(i) == 4 - last.count(i) for i in range(10))


def test_an_uneven_last_half_is_shared_as_it_is(classified):
    sampler = OverlapBatchSampler(DefaultSampler(classified, seed=1), 6)
    batches = epochs(sampler, 2)
    assert [len(b) for b in batches] == [3, 6, 6, 4, 4, 6, 6, 4]
    assert batches[4][3:] == batches[3][:1]


def test_the_last_half_may_be_dropped(classified):
    sampler = OverlapBatchSampler(
        DefaultSampler(classified, seed=1), 6, drop_last=True
    )
    batches = epochs(sampler, 2)
    assert [len(b) for b in batches] == [3, 6, 6, 6, 6, 6]
    assert batches[3][3:] == batches[2][:3]
    assert len(sampler) == 3 and sampler.drop_last


def test_a_resumed_run_goes_on_with_the_same_batches(classified):
    whole = epochs(
        OverlapBatchSampler(DefaultSampler(classified, seed=1), 4), 3
    )
    resumed = OverlapBatchSampler(DefaultSampler(classified, seed=1), 4)
    assert epochs(resumed, 1, start=2) == whole[10:]


def test_ranks_share_nothing_but_their_own(classified):
    batches = []
    for rank in range(2):
        sampler = DefaultSampler(classified, seed=1)
        sampler.rank, sampler.world_size = rank, 2
        sampler.num_samples, sampler.total_size = 5, 10
        batches.append(epochs(OverlapBatchSampler(sampler, 4), 1))
    for own in batches:
        for last, batch in zip(own, own[1:]):
            assert batch[len(batch) - 2 :] == last[:2]
    first, second = ({i for batch in own for i in batch} for own in batches)
    assert not first & second


def test_a_sampler_without_epochs_goes_on_too(classified):
    sampler = OverlapBatchSampler(SequentialSampler(classified), 4)
    first, second = list(sampler), list(sampler)
    assert len(first[0]) == 2 and second[0][2:] == first[-1][:2]


def test_it_wraps_the_sampler_that_groups_by_shape(tmp_path):
    dataset = detection_set(tmp_path, [objects(0)] * 10)
    with DefaultScope.overwrite_default_scope('mmdet'):
        sampler = DATA_SAMPLERS.build(
            dict(
                type='OverlapBatchSampler',
                base=dict(type='AspectRatioBatchSampler'),
            ),
            default_args=dict(
                sampler=DefaultSampler(dataset, seed=1), batch_size=4
            ),
        )
    assert isinstance(sampler.base, AspectRatioBatchSampler)
    batches = epochs(sampler, 2)
    assert [len(batch) for batch in batches] == [2] + 9 * [4]
    for last, batch in zip(batches, batches[1:]):
        assert batch[2:] == last[:2]


@pytest.mark.parametrize('size', [3, 0])
def test_an_odd_batch_has_no_halves(classified, size):
    with pytest.raises(ValueError, match=f'batch_size={size} must be even'):
        OverlapBatchSampler(SequentialSampler(classified), size)


def test_drop_last_beside_a_base_is_refused(classified):
    with pytest.raises(ValueError, match='drop_last=True beside base'):
        OverlapBatchSampler(
            SequentialSampler(classified),
            4,
            base=dict(type='BatchSampler'),
            drop_last=True,
        )
