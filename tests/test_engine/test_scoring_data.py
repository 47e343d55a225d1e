"""The batches of scoring are those that the config would train on."""

from collections import Counter
from itertools import islice
from types import SimpleNamespace

import mmdet.datasets.samplers  # noqa: F401  (registers them)
import mmpretrain.datasets.samplers  # noqa: F401
import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, ConcatDataset
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch.testing._internal.distributed.fake_pg import FakeStore

import epsd_mm.datasets.samplers  # noqa: F401
from epsd_mm.engine.ranks import undistributed
from epsd_mm.engine.scoring_data import scoring_batches


class Numbers(BaseDataset):
    """Samples are their places; every third has class 1, one class 2."""

    METAINFO = dict(classes='abc')

    def __init__(self, count):
        self.count = count
        super().__init__(serialize_data=False)

    def load_data_list(self):
        return [
            dict(
                place=place,
                width=9 + place % 2,
                height=9,
                instances=[dict(bbox_label=self.get_cat_ids(place)[0])],
            )
            for place in range(self.count)
        ]

    def get_cat_ids(self, index):
        return [2 if index == 3 else int(index % 3 == 0)]

    def __getitem__(self, index):
        return dict(inputs=index)


class Joined(ConcatDataset):
    def __getitem__(self, index):
        return dict(inputs=index)


SOURCES = [8, 30]


def two_sources():
    return Joined([Numbers(count) for count in SOURCES])


def batches_of(dataset, loader, seed=5):
    """What scoring loads, by numbers, in a runner that has this config."""
    loader = dict(loader, num_workers=0, dataset=dataset)
    with DefaultScope.overwrite_default_scope('mmdet'):
        runner = SimpleNamespace(
            cfg=dict(train_dataloader=loader),
            train_dataloader=Runner.build_dataloader(loader, seed=0),
        )
        own = scoring_batches(runner, seed)

    def draw(number, count=4):
        with DefaultScope.overwrite_default_scope('mmdet'):
            batches = list(islice(own(number), count))
        return [[int(i) for i in batch['inputs']] for batch in batches]

    return draw


def loader(sampler, **options):
    return dict(batch_size=4, sampler=sampler, **options)


@pytest.mark.parametrize(
    'kind', ['MultiSourceSampler', 'GroupMultiSourceSampler']
)
def test_every_batch_has_its_share_of_each_source(kind):
    sampler = dict(type=kind, batch_size=4, source_ratio=[1, 3])
    draw = batches_of(two_sources(), loader(sampler))
    for number in range(3):
        for batch in draw(number, 6):
            sources = [index >= SOURCES[0] for index in batch]
            assert sources == [False, True, True, True]


def test_classes_are_as_balanced_as_in_training():
    draw = batches_of(
        Numbers(60), loader(dict(type='ClassAwareSampler'), drop_last=True)
    )
    seen = [index for batch in draw(0, 15) for index in batch]
    classes = Counter(Numbers(60).get_cat_ids(index)[0] for index in seen)
    assert classes == {0: 20, 1: 20, 2: 20}


INFINITE = dict(type='InfiniteSampler', shuffle=True)
DEFAULT = dict(type='DefaultSampler', shuffle=True)
ROUNDED = dict(type='DefaultSampler', shuffle=True, round_up=True)
REPEATED = dict(type='mmpretrain.RepeatAugSampler')
MULTI = dict(type='MultiSourceSampler', batch_size=4, source_ratio=[1, 1])
GROUPED = dict(MULTI, type='GroupMultiSourceSampler')
IN_ORDER = dict(type='mmpretrain.SequentialSampler')
SIZED = dict(type='CustomSampleSizeSampler', dataset_size=[4, 10])
SHARED = dict(type='MultiDataSampler', dataset_ratio=[1, 1])
SAMPLERS = [INFINITE, DEFAULT, ROUNDED, REPEATED, MULTI, GROUPED, SIZED]
SAMPLERS += [SHARED, IN_ORDER, dict(type='ClassAwareSampler')]
ASPECT = dict(batch_sampler=dict(type='AspectRatioBatchSampler'))
PAIRS = dict(
    batch_sampler=dict(
        type='ClassPairBatchSampler',
        base=dict(type='AspectRatioBatchSampler'),
    )
)


@pytest.fixture
def rank():
    """Be one process of several, which say nothing to each other."""

    def join(rank, world):
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        torch.distributed.init_process_group(
            'fake', store=FakeStore(), rank=rank, world_size=world
        )

    yield join
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def dataset_for(sampler):
    dataset = two_sources()
    if sampler['type'] == 'ClassAwareSampler':
        return Numbers(38)
    return dataset


@pytest.mark.parametrize('options', [{}, ASPECT, PAIRS])
@pytest.mark.parametrize('sampler', SAMPLERS, ids=lambda s: s['type'])
def test_a_draw_depends_on_seed_and_number_alone(sampler, options, rank):
    """Not on earlier draws, ones left half way, or the rank."""
    config = loader(dict(sampler), **options)

    def draws(seed=5):
        # As scoring seeds them, for samplers that ask numpy.
        draw = batches_of(dataset_for(sampler), config, seed)
        found = []
        for number in (0, 1, 0):
            torch.manual_seed(number)
            np.random.seed(number)
            found.append(draw(number, 5))
        return found

    first, second, again = draws()
    assert first == again != second
    assert draws(6)[0] != first
    for own in (0, 2):
        rank(own, 3)
        assert draws() == [first, second, first]
        assert torch.distributed.get_rank() == own


def test_a_seed_or_an_order_in_the_config_does_not_repeat_a_draw():
    fixed = dict(type='DefaultSampler', shuffle=False, seed=3)
    draw = batches_of(Numbers(40), loader(fixed))
    assert draw(0) != draw(1)
    assert draw(0) != [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_files_in_order_are_all_drawn_once_and_mixed():
    """Their order is often that of their classes."""
    draw = batches_of(Numbers(40), loader(IN_ORDER))
    images = [index for batch in draw(0, 10) for index in batch]
    assert sorted(images) == [*range(40)] != images


def test_a_draw_in_default_order_is_the_permutation_of_its_seed():
    """Masks that were found with earlier versions are found again."""
    draw = batches_of(Numbers(40), loader(DEFAULT), seed=0)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(7))
    assert sum(draw(7, 10), []) == order.tolist()


def test_the_last_small_batch_is_left_out_where_the_config_says_so():
    for drop_last, last in [(True, 4), (False, 2)]:
        config = loader(DEFAULT, drop_last=drop_last)
        assert len(batches_of(Numbers(10), config)(0, 99)[-1]) == last


def test_a_sampler_that_is_no_config_is_refused():
    sampler = torch.utils.data.SequentialSampler(Numbers(8))
    with pytest.raises(TypeError, match=r'sampler of .*sampler=dict\(type='):
        batches_of(Numbers(8), loader(sampler))


def test_the_group_is_there_again_after_an_error(rank):
    rank(1, 3)
    with pytest.raises(RuntimeError), undistributed():
        assert not torch.distributed.is_initialized()
        raise RuntimeError
    assert torch.distributed.get_world_size() == 3
