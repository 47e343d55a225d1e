"""The hook in real runs of mmengine's runner."""

import copy
import json

import pytest
import torch
from mmengine.runner import Runner

from epsd_mm.datasets.drawn_voc import generate_voc
from epsd_mm.engine import EPSDHook
from epsd_mm.engine.saved_state import SavedState
from epsd_mm.pruning import Masks
from tests.helpers.runners import (
    CLASSES,
    EPSD,
    hook_of,
    prepared,
    runner_of,
    tiny_detector_cfg,
)


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp('drawn')
    return generate_voc(root, train=12, test=2, size=64, classes=CLASSES)


@pytest.fixture(scope='module')
def trained(data_root, tmp_path_factory):
    """A run of two epochs: its work dir and its runner."""
    work_dir = tmp_path_factory.mktemp('trained')
    runner = runner_of(tiny_detector_cfg(data_root, work_dir, epochs=2))
    runner.train()
    return work_dir, runner


def checkpoint_of(work_dir, epoch):
    return torch.load(work_dir / f'epoch_{epoch}.pth', weights_only=False)


def zeros_under(masks, state_dict):
    return all(
        not state_dict[name][~mask].any() for name, mask in masks.items()
    )


def test_keeps_exactly_the_asked_number_of_weights(trained):
    masks = hook_of(trained[1]).masks
    assert masks.kept == round(0.2 * masks.total)


def test_what_was_pruned_stays_pruned_and_the_rest_trains(trained):
    work_dir, runner = trained
    masks = hook_of(runner).masks
    first, last = (checkpoint_of(work_dir, e)['state_dict'] for e in (1, 2))
    assert zeros_under(masks, first) and zeros_under(masks, last)
    moved = sum(
        int((first[n] != last[n])[mask].sum()) for n, mask in masks.items()
    )
    assert moved > 0.5 * masks.kept


def test_checkpoint_carries_the_masks_as_packed_bits(trained):
    work_dir, runner = trained
    saved = checkpoint_of(work_dir, 2)['epsd']['masks']
    assert Masks.unpack(saved) == hook_of(runner).masks
    size = sum(entry['bits'].numel() for entry in saved.values())
    assert size <= hook_of(runner).masks.total / 8 + len(saved)


def test_names_in_the_checkpoint_are_those_of_the_plain_model(
    trained, data_root, tmp_path
):
    plain = runner_of(tiny_detector_cfg(data_root, tmp_path, epsd=None))
    saved = checkpoint_of(trained[0], 2)['state_dict']
    assert saved.keys() == plain.model.state_dict().keys()


def test_writes_report_masks_and_figure(trained):
    work_dir, runner = trained
    folder = work_dir / 'epsd'
    report = json.loads((folder / 'report.json').read_text())
    masks = hook_of(runner).masks
    assert report['kept'] == masks.kept
    assert report['total'] == masks.total
    params = runner.model.named_parameters()
    backbone = sum(p.numel() for n, p in params if n.startswith('backbone'))
    everything = sum(p.numel() for p in runner.model.parameters())
    removed = masks.total - masks.kept
    assert report['sparsity_all'] == pytest.approx(removed / everything)
    assert report['all_weights']['total'] == everything
    assert report['all_weights']['parts']['backbone']['total'] == backbone
    assert report['unpruned'] == []
    for name, layer in masks.layers().items():
        assert layer.items() <= report['layers'][name].items()
    shares = [layer['mass'] for layer in report['layers'].values()]
    assert sum(shares) == pytest.approx(1)
    assert len(report['steps'][0]['losses']) == 2
    assert report['seconds'] > 0 and report['peak_memory'] > 0
    saved = torch.load(folder / 'masks.pth', weights_only=True)
    assert Masks.unpack(saved) == masks
    assert (folder / 'density.png').read_bytes().startswith(b'\x89PNG')
    assert {p.name for p in work_dir.iterdir() if p.name[0] == '.'} == set()


def test_logs_the_distillation_loss_and_the_sparsity(trained):
    (scalars,) = trained[0].glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in scalars.read_text().splitlines()]
    lines = [line for line in lines if 'loss' in line]
    assert all(line['loss_sd'] >= 0 for line in lines)
    assert any(line['loss_sd'] > 0 for line in lines)
    masks = hook_of(trained[1]).masks
    assert all(
        line['sparsity'] == pytest.approx(masks.sparsity, abs=1e-4)
        for line in lines
    )
    everything = sum(p.numel() for p in trained[1].model.parameters())
    of_all = (masks.total - masks.kept) / everything
    assert of_all < 0.99 * masks.sparsity
    assert all(
        line['sparsity_all'] == pytest.approx(of_all, abs=1e-4)
        for line in lines
    )


def test_tensorboard_gets_the_distillation_loss_and_the_sparsity(
    data_root, tmp_path
):
    accumulator = pytest.importorskip(
        'tensorboard.backend.event_processing.event_accumulator'
    )
    cfg = tiny_detector_cfg(data_root, tmp_path)
    cfg.visualizer.vis_backends = [dict(type='TensorboardVisBackend')]
    runner_of(cfg).train()
    (events,) = tmp_path.rglob('events.out.tfevents.*')
    reader = accumulator.EventAccumulator(str(events))
    reader.Reload()
    wanted = {'loss_sd', 'sparsity', 'sparsity_all'}
    assert wanted <= set(reader.Tags()['scalars'])


def test_resume_takes_the_masks_and_does_not_score(
    trained, data_root, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        'epsd_mm.engine.hooks.epsd_hook.score_runner',
        lambda *args: pytest.fail('scored on resume'),
    )
    cfg = tiny_detector_cfg(data_root, tmp_path, epochs=2)
    cfg.load_from = str(trained[0] / 'epoch_1.pth')
    cfg.resume = True
    runner = runner_of(cfg)
    runner.train()
    assert hook_of(runner).masks == hook_of(trained[1]).masks
    resumed = checkpoint_of(tmp_path, 2)
    assert zeros_under(hook_of(runner).masks, resumed['state_dict'])
    assert 'masks' in resumed['epsd']


def test_resumed_run_ends_as_the_uninterrupted_one(
    trained, data_root, tmp_path
):
    cfg = tiny_detector_cfg(data_root, tmp_path, epochs=2)
    cfg.load_from = str(trained[0] / 'epoch_1.pth')
    cfg.resume = True
    runner_of(cfg).train()
    ours = checkpoint_of(tmp_path, 2)['state_dict']
    theirs = checkpoint_of(trained[0], 2)['state_dict']
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_validation_leaves_no_trace_in_the_random_state(trained):
    hook, runner = hook_of(trained[1]), trained[1]
    before = torch.get_rng_state()
    hook.before_val_epoch(runner)
    torch.rand(7)
    hook.after_val_epoch(runner)
    assert torch.equal(torch.get_rng_state(), before)


def test_load_from_takes_weights_only_and_scores(trained, data_root, tmp_path):
    epsd = dict(
        type='EPSDHook',
        sparsity=0.5,
        criterion='Random',
        allow_empty_layers=True,
    )
    cfg = tiny_detector_cfg(data_root, tmp_path, epsd)
    cfg.load_from = str(trained[0] / 'epoch_2.pth')
    runner = runner_of(cfg)
    runner.train()
    report = json.loads((tmp_path / 'epsd' / 'report.json').read_text())
    assert report['criterion'] == 'Random'
    assert hook_of(runner).masks.kept == round(report['total'] / 2)


def test_scoring_leaves_no_trace(data_root, tmp_path):
    """A run that scores and keeps everything trains as a plain run."""
    runs = []
    for name, epsd in (
        ('plain', None),
        ('scored', dict(EPSD, sd_loss=None, criterion='SNIP')),
    ):
        cfg = tiny_detector_cfg(data_root, tmp_path / name, epsd=epsd)
        runner = runner_of(cfg)
        if epsd is not None:
            hook = hook_of(runner)
            hook._keep_all = _keep_all(hook)
        runner.train()
        runs.append(runner.model.state_dict())
    plain, scored = runs
    assert all(torch.equal(plain[name], scored[name]) for name in plain)


def _keep_all(hook):
    score = hook._score

    def keep_all(*args):
        masks, report = score(*args)
        return Masks.ones_like(masks), report

    hook._score = keep_all


def test_ema_weights_are_sparse(data_root, tmp_path):
    cfg = tiny_detector_cfg(data_root, tmp_path)
    cfg.custom_hooks = [dict(type='EMAHook', momentum=0.1)]
    runner = runner_of(cfg)
    runner.train()
    saved = checkpoint_of(tmp_path, 1)
    masks = hook_of(runner).masks
    assert zeros_under(masks, saved['state_dict'])
    ema = {k[7:]: v for k, v in saved['ema_state_dict'].items()}
    assert zeros_under(masks, ema)


def test_gradient_accumulation_and_clipping_keep_the_masks(
    data_root, tmp_path
):
    cfg = tiny_detector_cfg(data_root, tmp_path)
    cfg.optim_wrapper.accumulative_counts = 2
    cfg.optim_wrapper.clip_grad = dict(max_norm=10)
    runner = runner_of(cfg)
    runner.train()
    state = runner.model.state_dict()
    assert zeros_under(hook_of(runner).masks, state)


def test_plain_self_distillation_prunes_nothing(data_root, tmp_path):
    epsd = dict(type='EPSDHook', criterion=None, sd_loss=dict(type='CSKDLoss'))
    runner = runner_of(tiny_detector_cfg(data_root, tmp_path, epsd))
    runner.train()
    assert hook_of(runner).masks is None
    assert not (tmp_path / 'epsd').exists()
    assert 'masks' not in checkpoint_of(tmp_path, 1)['epsd']
    scalars = runner.message_hub.log_scalars
    assert 'train/loss_sd' in scalars and 'train/sparsity' not in scalars


@pytest.mark.parametrize('criterion', ['Random', 'Magnitude', 'SNIP'])
def test_other_criteria_prune_without_distillation(
    criterion, data_root, tmp_path
):
    epsd = dict(
        type='EPSDHook',
        sparsity=0.5,
        criterion=criterion,
        allow_empty_layers=True,
    )
    runner = runner_of(tiny_detector_cfg(data_root, tmp_path, epsd))
    runner.train()
    masks = hook_of(runner).masks
    assert masks.kept == round(masks.total / 2)
    assert zeros_under(masks, runner.model.state_dict())


def test_same_seed_same_masks_other_seed_other_masks(data_root, tmp_path):
    def masks_of(seed, name):
        cfg = tiny_detector_cfg(
            data_root, tmp_path / name, dict(EPSD, seed=seed)
        )
        runner = prepared(cfg)
        hook_of(runner).before_train(runner)
        return hook_of(runner).masks

    first = masks_of(3, 'first')
    assert masks_of(3, 'again') == first
    assert masks_of(4, 'other') != first


def test_overlap_with_the_plain_mask_is_reported_beside_its_noise(
    data_root, tmp_path
):
    cfg = tiny_detector_cfg(
        data_root, tmp_path, dict(EPSD, compare_plain=True)
    )
    runner = prepared(cfg)
    hook_of(runner).before_train(runner)
    report = json.loads((tmp_path / 'epsd' / 'report.json').read_text())
    assert 0.2 < report['overlap_with_plain'] <= 1
    assert 0.2 < report['overlap_noise_floor'] < 1


def test_simple_combination_scores_the_plain_loss(data_root, tmp_path):
    weights = dict(task=1, sd=0)
    simple = prepared(
        tiny_detector_cfg(
            data_root, tmp_path / 'a', dict(EPSD, score_weights=weights)
        )
    )
    compared = prepared(
        tiny_detector_cfg(
            data_root, tmp_path / 'b', dict(EPSD, compare_plain=True)
        )
    )
    for runner in (simple, compared):
        hook_of(runner).before_train(runner)
    report = json.loads((tmp_path / 'b' / 'epsd' / 'report.json').read_text())
    overlap = hook_of(compared).masks.overlap(hook_of(simple).masks)
    assert overlap == pytest.approx(report['overlap_with_plain'])


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(sparsity=1.0), 'sparsity=1.0'),
        (dict(sparsity=-0.1), 'sparsity=-0.1'),
        (dict(sparsity='0.9'), "sparsity='0.9'"),
        (dict(), 'removes nothing'),
        (dict(sparsity=0.9, criterion='Snap'), "unknown criterion 'Snap'"),
        (dict(sparsity=0.9, sd_loss='SD'), "unknown sd_loss 'SD'"),
        (
            dict(sparsity=0.9, criterion=dict(type='ProsPr', stepz=3)),
            'no option stepz',
        ),
        (
            dict(sparsity=0.9, sd_loss=dict(type='CSKDLoss', T=4)),
            'no option T',
        ),
        (dict(sparsity=0.9, criterion=None, sd_loss='CSKDLoss'), 'sparsity'),
        (dict(criterion=None), 'nothing to do'),
        (dict(sparsity=0.9, draws=0), 'draws=0'),
        (dict(sparsity=0.9, criterion='Random', draws=2), 'draws=2'),
        (
            dict(sparsity=0.9, score_weights=dict(task=1, sd=1)),
            'no sd_loss',
        ),
        (
            dict(
                sparsity=0.9,
                sd_loss='CSKDLoss',
                score_weights=dict(task=1, kd=1),
            ),
            'score_weights',
        ),
        (dict(sparsity=0.9, compare_plain=True), 'compare_plain'),
    ],
)
def test_refuses_wrong_options_when_it_is_built(options, words):
    with pytest.raises(ValueError) as e:
        EPSDHook(**options)
    assert words in str(e.value)


def test_an_option_that_there_is_not_is_told_those_there_are():
    with pytest.raises(TypeError, match='no option sparcity; .*sparsity'):
        EPSDHook(sparcity=0.9)


@pytest.mark.parametrize(
    'change, error, words',
    [
        (dict(include=['bakbone.*']), ValueError, 'bakbone'),
        (dict(exclude=['*']), ValueError, 'nothing is prunable'),
        (
            dict(score_weights=dict(task=0, sd=1)),
            ValueError,
            'rpn_head.rpn_conv.weight',
        ),
        (dict(batches_per_step=50), ValueError, 'data ended'),
        (
            dict(criterion=dict(type='ProsPr', steps=1, lr=1e30)),
            FloatingPointError,
            'inner step 1',
        ),
        (
            dict(sparsity=0.9999, allow_empty_layers=False),
            ValueError,
            'allow_empty_layers',
        ),
    ],
)
def test_refuses_before_training_and_writes_nothing(
    change, error, words, data_root, tmp_path
):
    runner = prepared(
        tiny_detector_cfg(data_root, tmp_path, dict(EPSD, **change))
    )
    before = copy.deepcopy(runner.model.state_dict())
    with pytest.raises(error) as e:
        hook_of(runner).before_train(runner)
    assert words in str(e.value)
    assert not list(tmp_path.glob('*epsd*'))
    after = runner.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_zero_init_residual_is_an_error_that_says_so(data_root, tmp_path):
    epsd = dict(type='EPSDHook', sparsity=0.5, criterion='SNIP', draws=1)
    cfg = tiny_detector_cfg(data_root, tmp_path, epsd)
    cfg.model.backbone.zero_init_residual = True
    runner = prepared(cfg)
    with pytest.raises(ValueError, match='zero_init_residual=False') as e:
        hook_of(runner).before_train(runner)
    assert 'backbone.layer1.0.conv1.weight' in str(e.value)


def test_missing_partners_are_an_error_with_the_line_to_add(
    data_root, tmp_path
):
    cfg = tiny_detector_cfg(data_root, tmp_path)
    cfg.train_dataloader.batch_sampler = dict(type='AspectRatioBatchSampler')
    runner = prepared(cfg)
    with pytest.raises(ValueError, match='ClassPairBatchSampler') as e:
        hook_of(runner).before_train(runner)
    assert "base={'type': 'AspectRatioBatchSampler'}" in str(e.value)


def resumed(trained, data_root, work_dir, change):
    """A runner that resumes from a changed copy of a checkpoint."""
    checkpoint = checkpoint_of(trained[0], 1)
    change(checkpoint)
    work_dir.mkdir(exist_ok=True)
    torch.save(checkpoint, work_dir / 'changed.pth')
    cfg = tiny_detector_cfg(data_root, work_dir, epochs=2)
    cfg.load_from = str(work_dir / 'changed.pth')
    cfg.resume = True
    return runner_of(cfg)


def test_resume_without_masks_is_an_error(trained, data_root, tmp_path):
    runner = resumed(trained, data_root, tmp_path, lambda c: c.pop('epsd'))
    with pytest.raises(ValueError, match='holds no masks'):
        runner.train()


def test_resume_with_masks_that_do_not_fit_is_an_error(
    trained, data_root, tmp_path
):
    def cut(checkpoint):
        masks = dict(Masks.unpack(checkpoint['epsd']['masks']))
        stem = masks['backbone.conv1.weight']
        masks['backbone.conv1.weight'] = stem.permute(3, 2, 1, 0)
        masks.pop('backbone.layer1.0.conv1.weight')
        checkpoint['epsd'] = SavedState(masks=Masks(masks)).pack()

    runner = resumed(trained, data_root, tmp_path, cut)
    with pytest.raises(ValueError) as e:
        runner.train()
    assert 'backbone.conv1.weight: mask (7, 7, 3, 4)' in str(e.value)
    assert 'backbone.layer1.0.conv1.weight: no mask' in str(e.value)


def test_resume_with_another_sparsity_is_an_error(
    trained, data_root, tmp_path
):
    cfg = tiny_detector_cfg(
        data_root, tmp_path, dict(EPSD, sparsity=0.5), epochs=2
    )
    cfg.load_from = str(trained[0] / 'epoch_1.pth')
    cfg.resume = True
    with pytest.raises(ValueError, match='sparsity=0.8, this config says 0.5'):
        runner_of(cfg).train()


def test_an_interrupted_report_leaves_whole_masks_and_no_drafts(
    data_root, tmp_path, monkeypatch
):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(
        'epsd_mm.analysis.scoring_report.density_figure', interrupt
    )
    runner = prepared(tiny_detector_cfg(data_root, tmp_path))
    with pytest.raises(KeyboardInterrupt):
        hook_of(runner).before_train(runner)
    left = sorted(path.name for path in (tmp_path / 'epsd').iterdir())
    assert left == ['masks.pth', 'report.json']
    assert Masks.load(tmp_path / 'epsd' / 'masks.pth').sparsity > 0.79


@pytest.mark.parametrize(
    'name', ['FSDPStrategy', 'DeepSpeedStrategy', 'ColossalAIStrategy']
)
def test_refuses_strategies_that_shard_the_weights(name, data_root, tmp_path):
    runner = prepared(tiny_detector_cfg(data_root, tmp_path))
    runner.strategy = type(name, (), {})()
    with pytest.raises(RuntimeError, match=name):
        hook_of(runner).before_train(runner)


def test_cfg_options_reach_the_hook(data_root, tmp_path):
    cfg = tiny_detector_cfg(data_root, tmp_path)
    cfg.merge_from_dict({'default_hooks.epsd.sparsity': 0.95})
    assert hook_of(Runner.from_cfg(cfg)).settings.sparsity == 0.95
