"""What detectors with queries show of their objects, beside the rest."""

import pytest
import torch

from epsd_mm.families.observers import build_observer
from tests.helpers.detectors import KIN, pictures
from tests.helpers.queries import (
    tiny_ddq,
    tiny_deformable_detr,
    tiny_detr,
    tiny_dino,
    tiny_queryinst,
    tiny_sparse,
)


def observation_of(model, batch):
    observer = build_observer(model)
    data = model.data_preprocessor(batch, True)
    observer.start()
    losses = model(**data, mode='loss')
    observer.stop()
    assert torch.isfinite(model.parse_losses(losses)[0])
    return observer.observe(data['data_samples'])


@pytest.mark.parametrize(
    'build, stages',
    [
        (tiny_detr, 2),
        (tiny_dino, 3),
        (tiny_ddq, 3),
        (tiny_deformable_detr, 2),
        (tiny_sparse, 2),
    ],
)
def test_an_object_has_a_row_for_each_layer_that_is_told_classes(
    build, stages
):
    """Two of a decoder, and the encoder of DINO and DDQ."""
    observation = observation_of(build(), pictures(build, ('0.jpg',)))
    want = {('0.jpg', n, s) for n in (7, 2, 5) for s in range(stages)}
    assert set(observation.keys) == want
    assert len(observation) == len(want)


@pytest.mark.parametrize('build', [tiny_dino, tiny_detr, tiny_sparse])
def test_of_more_objects_than_queries_some_are_absent(build):
    model = build()
    batch = pictures(build, ('0.jpg', '1.jpg'))
    for sample in batch['data_samples']:
        truth = sample.gt_instances
        sample.gt_instances = truth.cat([truth] * 3)
        sample.gt_instances.object_ids = torch.arange(9)
    observation = observation_of(model, batch)
    layers = observation.stages.unique(return_counts=True)[1]
    assert set(layers.tolist()) == {2 * 6}
    assert len(set(observation.keys)) == len(observation)


def test_noise_for_more_objects_than_there_are_groups_is_left_out():
    model = tiny_dino()
    noisy = []
    model.bbox_head.register_forward_hook(
        lambda module, args, out: noisy.append(out[0].shape[2] > 6)
    )
    observation = observation_of(model, pictures(tiny_dino))
    assert noisy == [True]
    assert len(observation) == 3 * 9


def test_queryinst_is_seen_with_its_masks():
    from mmdet.structures.mask import BitmapMasks

    batch = pictures(tiny_queryinst, ('0.jpg',))
    (sample,) = batch['data_samples']
    sample.gt_instances.masks = BitmapMasks.random(3, 64, 64)
    observation = observation_of(tiny_queryinst(), batch)
    assert observation.use_sigmoid and len(observation) == 2 * 3


@pytest.mark.parametrize('build', [tiny_dino, tiny_sparse, *KIN])
def test_an_observer_leaves_head_and_assigner_as_they_were(build):
    model = build()
    parts = [*model.modules()]
    head = getattr(model, 'bbox_head', None)
    parts += [] if head is None else [head.assigner]
    before = [set(vars(part)) for part in parts]
    hooks = [len(getattr(p, '_forward_pre_hooks', ())) for p in parts]
    observation_of(model, pictures(build, ('0.jpg',)))
    assert [set(vars(part)) for part in parts] == before
    assert hooks == [len(getattr(p, '_forward_pre_hooks', ())) for p in parts]
