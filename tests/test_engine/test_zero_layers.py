"""Runs whose networks have layers that nothing ranks."""

import json
import re

import pytest
import torch

import epsd_mm
from epsd_mm.engine.hooks import epsd_hook
from epsd_mm.engine.saved_state import SavedState
from epsd_mm.pruning import Masks, prunable_parameters
from tests.helpers.datasets import picture_folder
from tests.helpers.models import detection_batch
from tests.helpers.runners import (
    hook_of,
    prepared,
    runner_of,
    tiny_classifier_cfg,
)
from tests.helpers.stock import stock

EPSD = dict(
    type='EPSDHook',
    sparsity=0.5,
    criterion='SNIP',
    sd_loss=dict(type='CSKDLoss'),
    draws=2,
    allow_empty_layers=True,
    zero_layers='dense',
)
PAIRS = 'ClassPairBatchSampler'


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    return picture_folder(tmp_path_factory.mktemp('pictures') / 'set')


def config(pictures, work_dir, **changes):
    """Every block of its residual network starts cut off."""
    options = {**EPSD, **changes}
    sampler = PAIRS if options['sd_loss'] else None
    cfg = tiny_classifier_cfg(pictures, work_dir, options, 2, sampler)
    cfg.model.backbone.zero_init_residual = True
    return cfg


@pytest.fixture(scope='module')
def trained(pictures, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('trained') / 'run'
    runner = runner_of(config(pictures, work_dir, compare_plain=True))
    runner.train()
    return work_dir, runner


def checkpoint_of(work_dir, epoch=1):
    return torch.load(work_dir / f'epoch_{epoch}.pth', weights_only=False)


def branches(runner):
    """The layers of branches that a norm of zero ends."""
    names = prunable_parameters(runner.model)
    return [n for n in names if '.layer' in n and 'downsample' not in n]


def test_the_others_get_the_sparsity_exactly(trained):
    _, runner = trained
    masks = hook_of(runner).masks
    left = set(branches(runner))
    assert len(left) == 8
    assert set(masks) == prunable_parameters(runner.model).keys() - left
    assert masks.kept == round(0.5 * masks.total)
    weights = dict(runner.model.named_parameters())
    assert all((weights[name] != 0).all() for name in left)


def test_they_are_named_once_and_counted(trained):
    work_dir, runner = trained
    weights = prunable_parameters(runner.model)
    left = {name: weights[name].numel() for name in branches(runner)}
    report = json.loads((work_dir / 'epsd' / 'report.json').read_text())
    assert report['left_dense'] == left
    assert not left.keys() & report['layers'].keys()
    (log,) = work_dir.glob('*/*.log')
    text = log.read_text()
    assert text.count('leaves 8 layers') == 1
    assert text.count(f'8 layers with {sum(left.values()):,} weights') == 2
    assert 'backbone.layer2.1.conv2.weight' in text


def test_the_masks_of_the_plain_loss_are_compared(trained):
    work_dir, _ = trained
    report = json.loads((work_dir / 'epsd' / 'report.json').read_text())
    assert 0.2 < report['overlap_with_plain'] <= 1
    assert 0.2 < report['overlap_noise_floor'] <= 1


def resumed(trained, pictures, work_dir, change=None, **options):
    checkpoint = checkpoint_of(trained[0])
    if change is not None:
        change(checkpoint['epsd'])
    cfg = config(pictures, work_dir, **options)
    torch.save(checkpoint, work_dir / 'start.pth')
    cfg.load_from, cfg.resume = str(work_dir / 'start.pth'), True
    return runner_of(cfg)


def test_a_run_resumes_with_fewer_masks_than_prunable_weights(
    trained, pictures, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        epsd_hook, 'score_runner', lambda *unused: pytest.fail('scored')
    )
    runner = resumed(trained, pictures, tmp_path)
    runner.train()
    assert hook_of(runner).masks == hook_of(trained[1]).masks
    first, last = checkpoint_of(trained[0], 2), checkpoint_of(tmp_path, 2)
    assert last['epsd']['left_dense'] == branches(runner)
    for name, weight in first['state_dict'].items():
        assert torch.equal(last['state_dict'][name], weight)


def test_it_accepts_no_fewer(trained, pictures, tmp_path):
    def cut(saved):
        masks = dict(Masks.unpack(saved['masks']))
        del masks['head.fc.weight']
        left = saved['left_dense']
        saved.clear()
        saved.update(SavedState(masks=Masks(masks), left_dense=left).pack())

    runner = resumed(trained, pictures, tmp_path, cut)
    with pytest.raises(ValueError, match='head.fc.weight: no mask'):
        runner.train()


def test_it_accepts_no_other_choice(trained, pictures, tmp_path):
    runner = resumed(trained, pictures, tmp_path, zero_layers='error')
    with pytest.raises(ValueError, match='zero_layers="dense".*layer1.0'):
        runner.train()


def test_where_every_layer_is_ranked_the_choice_may_change(pictures, tmp_path):
    """It has changed nothing."""
    runs = []
    for choice in ('error', 'dense'):
        cfg = config(pictures, tmp_path / 'run', zero_layers=choice)
        cfg.model.backbone.zero_init_residual = False
        cfg.resume = choice == 'dense'
        cfg.train_cfg.max_epochs = 1 + cfg.resume
        runs.append(runner_of(cfg))
        runs[-1].train()
    assert hook_of(runs[0]).masks == hook_of(runs[1]).masks


def test_the_error_offers_the_option(pictures, tmp_path):
    runner = prepared(config(pictures, tmp_path, zero_layers='error'))
    with pytest.raises(ValueError, match='in 8 of 11 layers') as error:
        hook_of(runner).before_train(runner)
    assert 'zero_layers="dense"' in str(error.value)
    assert 'zero_init_residual=False' in str(error.value)


def test_masks_of_another_run_hold_beside_them(pictures, tmp_path):
    runner = prepared(config(pictures, tmp_path / 'a', sparsity=0.3))
    hook_of(runner).before_train(runner)
    masks = hook_of(runner).masks
    assert {'backbone.conv1.weight', 'head.fc.weight'} <= set(masks)
    given = Masks({'head.fc.weight': masks['head.fc.weight']})
    given.save(tmp_path / 'head.pth')
    runner = prepared(
        config(pictures, tmp_path / 'b', masks=str(tmp_path / 'head.pth'))
    )
    hook_of(runner).before_train(runner)
    both = hook_of(runner).masks
    assert list(both) == list(masks)
    assert torch.equal(both['head.fc.weight'], given['head.fc.weight'])


def test_it_has_no_effect_without_a_criterion():
    with pytest.raises(ValueError, match="zero_layers='dense'"):
        epsd_hook.EPSDHook(
            criterion=None, sd_loss='CSKDLoss', zero_layers='dense'
        )


ADAPTED = 'bbox_head.feature_adaption_{}.conv_offset.weight'
STARTS_AT_ZERO = {
    'DDOD': [
        'bbox_head.cls_convs.0.conv.conv_offset.weight',
        'bbox_head.reg_convs.0.conv.conv_offset.weight',
    ],
    'GA-RetinaNet': [ADAPTED.format('cls'), ADAPTED.format('reg')],
    'Libra R-CNN': ['neck.1.refine.conv_out.conv.weight'],
}
NO_GRADIENT = {
    'RTMDet': ['bbox_head.rtm_reg.1.weight', 'bbox_head.rtm_reg.2.weight'],
    'Libra R-CNN': [
        'neck.1.refine.g.conv.weight',
        'neck.1.refine.theta.conv.weight',
        'neck.1.refine.phi.conv.weight',
    ],
}


@pytest.mark.parametrize('name', STARTS_AT_ZERO | NO_GRADIENT)
def test_stock_detectors_are_refused_with_the_cause_or_pruned(name):
    """Offsets, a refinement that starts at zero, levels without objects."""

    def prune(zero_layers):
        model = stock(name)
        batch = detection_batch(2, 96, seed=0, labels=(0, 1, 2))
        masks = epsd_mm.prune(
            model,
            [batch],
            sparsity=0.8,
            criterion='SNIP',
            draws=1,
            allow_empty_layers=True,
            zero_layers=zero_layers,
        )
        return masks, prunable_parameters(model)

    weights = STARTS_AT_ZERO.get(name, [])
    gradients = NO_GRADIENT.get(name, [])
    with pytest.raises(ValueError, match='exactly zero in [24] of') as error:
        prune('error')
    for cause, names in (('weights', weights), ('gradient', gradients)):
        told = re.search(
            rf'The {cause} of ([^ ]+(, [^ ]+)*) (is|are)', str(error.value)
        )
        assert set(told[1].split(', ') if told else []) == set(names)
    masks, prunable = prune('dense')
    assert prunable.keys() - masks.keys() == {*weights, *gradients}
    assert masks.kept == round(0.2 * masks.total)
