"""What losses need of their batches, and a loss with a need of its own."""

import pytest
import torch
from mmengine.structures import BaseDataElement

from epsd_mm.distillation import (
    KD,
    CSKDLoss,
    DLBLoss,
    Lesson,
    Need,
    Overlap,
    Pairs,
    Past,
    PSKDLoss,
    SelfDistillationLoss,
    Teacher,
)


def images(*paths):
    return [BaseDataElement(metainfo=dict(img_path=path)) for path in paths]


@pytest.mark.parametrize(
    'loss, kind',
    [(CSKDLoss, Pairs), (DLBLoss, Overlap), (PSKDLoss, Past), (KD, Lesson)],
)
def test_a_loss_declares_what_it_needs(loss, kind):
    assert type(loss().needs) is kind


def test_a_loss_whose_teacher_says_nothing_takes_any_batches():
    class Silent(Teacher):
        remember = recall = None

    class Plain(SelfDistillationLoss):
        forward = None

        def build_teacher(self):
            return Silent()

    needs = Plain().needs
    assert type(needs) is Need and needs.sampler is None
    batch = dict(inputs=[1, 2, 3], data_samples=[4, 5, 6])
    assert needs.split(batch) == (batch, None)
    assert needs.plain_size(7) == 7
    watch = needs.watch('Plain')
    watch.begin([]), watch.see([]), watch.end()


def test_pairs_halve_everything():
    data = dict(inputs=torch.arange(6), data_samples=list('abcdef'))
    main, partners = Pairs().split(data)
    assert main['inputs'].tolist() == [0, 1, 2]
    assert partners['data_samples'] == ['d', 'e', 'f']


def test_pairs_of_an_odd_number_are_refused():
    batch = dict(inputs=[1, 2, 3], data_samples=[1, 2, 3])
    with pytest.raises(ValueError, match='3 samples.*ClassPairBatchSampler'):
        Pairs().split(batch)


def test_batches_that_never_overlap_are_refused():
    watch = Overlap().watch('DLBLoss')
    watch.begin(images('a', 'b'))
    watch.see(images('c', 'd'))
    with pytest.raises(ValueError, match='1 batches.*DLBLoss compares noth'):
        watch.end()
    watch.see(images('e', 'f'))
    with pytest.raises(ValueError, match='3 batches.*OverlapBatchSampler'):
        watch.see(images('g', 'h'))


def test_one_shared_image_is_enough():
    watch = Overlap().watch('DLBLoss')
    watch.begin(images('a', 'b'))
    for paths in ('cd', 'de', 'fg', 'hi'):
        watch.see(images(*paths))
    watch.end()


def test_a_watch_that_saw_nothing_has_nothing_to_say():
    Overlap().watch('DLBLoss').end()


def test_half_of_overlapping_batches_is_new():
    assert Overlap().plain_size(64) == 32
    assert Pairs().plain_size(64) == 64
