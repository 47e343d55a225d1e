"""A backbone that was pruned and trained in a classifier, put to other use."""

import pytest
import torch

from epsd_mm.datasets.drawn_voc import generate_voc
from epsd_mm.pruning import Masks
from tests.helpers.datasets import picture_folder
from tests.helpers.runners import (
    CLASSES,
    hook_of,
    prepared,
    runner_of,
    tiny_classifier_cfg,
    tiny_detector_cfg,
)

BACKBONE = dict(
    type='ResNet',
    depth=18,
    stem_channels=4,
    base_channels=4,
    zero_init_residual=False,
)
DISTILLED = dict(type='EPSDHook', sd_loss=dict(type='PSKDLoss'))


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """Work dir of a classifier that EPSD has pruned and trained."""
    root = tmp_path_factory.mktemp('source')
    hook = dict(
        DISTILLED,
        sparsity=0.5,
        criterion=dict(type='ProsPr', steps=1, lr=0.01),
        draws=1,
        allow_empty_layers=True,
    )
    cfg = classifier_cfg(picture_folder(root / 'pictures'), root / 'run', hook)
    runner_of(cfg).train()
    return root / 'run'


def classifier_cfg(pictures, work_dir, hook, classes=4):
    cfg = tiny_classifier_cfg(pictures, work_dir, hook, epochs=2)
    cfg.model.backbone = dict(BACKBONE)
    cfg.model.head.update(in_channels=32, num_classes=classes)
    return cfg


def from_source(cfg, source):
    cfg.model.backbone.init_cfg = dict(
        type='Pretrained',
        checkpoint=str(source / 'epoch_2.pth'),
        prefix='backbone.',
    )
    return cfg


def given(source, **options):
    masks = str(source / 'epsd' / 'masks.pth')
    hook = dict(type='EPSDHook', masks=masks, prefix='backbone')
    return dict(hook, allow_empty_layers=True, **options) if options else hook


def state_of(work_dir):
    checkpoint = torch.load(work_dir / 'epoch_2.pth', weights_only=False)
    return checkpoint['state_dict']


def check_backbone(runner, source):
    """Its weights and mask are those of the source."""
    state = runner.model.state_dict()
    trained = state_of(source)
    masks = Masks.load(source / 'epsd' / 'masks.pth').part('backbone')
    for name, mask in masks.items():
        assert torch.equal(state[name], trained[name])
        assert not state[name][~mask].any()
        assert torch.equal(hook_of(runner).masks[name], mask)
    assert 0.2 < masks.sparsity < 0.8
    return masks


def detector_runner(source, tmp_path, hook):
    data = generate_voc(tmp_path, train=8, test=2, size=64, classes=CLASSES)
    cfg = tiny_detector_cfg(data, tmp_path / 'run', hook)
    runner = prepared(from_source(cfg, source))
    hook_of(runner).before_train(runner)
    return runner


def test_it_becomes_the_backbone_of_a_detector_that_is_dense(source, tmp_path):
    runner = detector_runner(source, tmp_path, given(source))
    masks = check_backbone(runner, source)
    assert hook_of(runner).masks == masks


def test_it_becomes_the_backbone_of_a_detector_that_is_scored(
    source, tmp_path
):
    hook = given(
        source,
        sparsity=0.6,
        criterion=dict(type='ProsPr', steps=1, lr=1e-3),
        sd_loss=dict(type='CSKDLoss'),
        draws=1,
    )
    runner = detector_runner(source, tmp_path, hook)
    masks = check_backbone(runner, source)
    fresh = hook_of(runner).masks
    others = {n: m for n, m in fresh.items() if n not in masks}
    assert any(name.startswith('roi_head.') for name in others)
    assert Masks(others).sparsity == pytest.approx(0.6, abs=1e-3)


def test_it_becomes_the_backbone_of_another_classifier(source, tmp_path):
    pictures = picture_folder(tmp_path / 'pictures', classes=3)
    hook = given(source) | dict(sd_loss=dict(type='PSKDLoss'))
    cfg = classifier_cfg(pictures, tmp_path / 'run', hook, classes=3)
    runner = prepared(from_source(cfg, source))
    hook_of(runner).before_train(runner)
    masks = check_backbone(runner, source)
    hook_of(runner).after_train(runner)
    runner_of(cfg).train()
    trained = state_of(tmp_path / 'run')
    for name, mask in masks.items():
        assert not trained[name][~mask].any()
    assert trained['head.fc.weight'].all()


def test_masks_without_their_weights_are_told_of(source, tmp_path, caplog):
    pictures = picture_folder(tmp_path / 'pictures')
    for name, build in (('plain', lambda c: c), ('loaded', from_source)):
        cfg = classifier_cfg(pictures, tmp_path / name, given(source))
        cfg = build(cfg, source) if name == 'loaded' else cfg
        cfg.experiment_name = cfg.visualizer.name = f'weights-{name}'
        runner = prepared(cfg)
        hook_of(runner).before_train(runner)
        log = '\n'.join(
            path.read_text() for path in (tmp_path / name).rglob('*.log')
        )
        assert ('were not trained under the masks' in log) == (name == 'plain')
