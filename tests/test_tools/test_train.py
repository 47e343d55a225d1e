"""tools/train.py: mmdet's arguments, and errors before any work is lost."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

import epsd_mm
from epsd_mm.datasets.drawn_voc import generate_voc
from epsd_mm.registry import build_sd_loss
from epsd_mm.training import check
from tests.helpers.datasets import picture_folder
from tests.helpers.processes import training_in
from tests.helpers.runners import tiny_classifier_cfg

DEMO = epsd_mm.config_path('demo_faster_rcnn')
VOC = epsd_mm.config_path('voc_faster_rcnn_epsd')


def configure(tool, *argv):
    train = tool('train')
    return train.configure(train.parse_args([*map(str, argv)]))


def test_resume_from_the_latest_or_from_a_path(tool):
    assert configure(tool, DEMO).resume is False
    latest = configure(tool, DEMO, '--resume')
    assert latest.resume is True and latest.load_from is None
    given = configure(tool, DEMO, '--resume', 'a.pth')
    assert given.resume is True and given.load_from == 'a.pth'


def test_amp_turns_the_wrapper_into_its_amp_twin(tool, monkeypatch):
    train = tool('train')
    monkeypatch.setattr(train, 'get_device', lambda: 'cuda')
    cfg = train.configure(train.parse_args([DEMO, '--amp']))
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.loss_scale == 'dynamic'


def test_amp_without_accelerator_is_one_sentence(run, monkeypatch, tool):
    monkeypatch.setattr('mmengine.device.get_device', lambda: 'cpu')
    with pytest.raises(SystemExit, match='error: --amp needs an accelerator'):
        run('train', DEMO, '--amp')


def test_auto_scale_lr_needs_a_base_batch_size(tool, tmp_path):
    assert configure(tool, VOC, '--auto-scale-lr').auto_scale_lr.enable
    plain = tmp_path / 'plain.py'
    plain.write_text("default_scope = 'mmdet'\n")
    with pytest.raises(ValueError, match='auto_scale_lr.base_batch_size=N'):
        configure(tool, plain, '--auto-scale-lr')


def test_a_variant_takes_a_folder_of_its_own(tool):
    cfg = configure(tool, VOC, '--variant', 'sd-only')
    assert cfg.work_dir.endswith('voc_faster_rcnn_epsd_sd-only')
    assert cfg.default_hooks.epsd.criterion is None
    assert configure(tool, VOC).default_hooks.epsd.sparsity == 0.9


def test_options_that_a_variant_removes_are_refused(tool):
    option = ('--cfg-options', 'default_hooks.epsd.sparsity=0.95')
    with pytest.raises(ValueError, match='sparsity=0.95 has no effect beside'):
        configure(tool, VOC, '--variant', 'sd-only', *option)
    kept = configure(tool, VOC, '--variant', 'prune-only', *option)
    assert kept.default_hooks.epsd.sparsity == 0.95


def test_a_config_without_the_hook_has_no_variants(run):
    with pytest.raises(SystemExit, match='error: .* no EPSDHook'):
        run('train', DEMO, '--variant', 'dense')


def test_absent_data_says_which_command_fills_it(run, tmp_path):
    with pytest.raises(SystemExit) as error:
        run(
            'train',
            VOC,
            '--work-dir',
            tmp_path / 'work',
            '--cfg-options',
            'train_dataloader.dataset.dataset.datasets.0.data_root='
            f'{tmp_path}/data/VOCdevkit/',
        )
    assert 'python tools/prepare_data.py voc --source' in str(error.value)
    assert not (tmp_path / 'work').exists()


def test_a_wrong_option_of_the_hook_stops_before_training(
    run, tmp_path, demo_options
):
    with pytest.raises(ValueError, match='sparsity=1.5'):
        run(
            'train',
            epsd_mm.config_path('demo_faster_rcnn_epsd'),
            '--work-dir',
            tmp_path,
            *demo_options,
            'default_hooks.epsd.sparsity=1.5',
        )
    assert not list(tmp_path.rglob('*.pth'))


def test_a_missing_file_of_masks_is_named_before_anything_else(
    run, tool, tmp_path
):
    options = [
        *('--work-dir', tmp_path / 'work', '--cfg-options'),
        f'default_hooks.epsd.masks={tmp_path}/gone.pth',
    ]
    with pytest.raises(SystemExit, match='error: masks=.*gone.pth.*not exist'):
        run('train', VOC, *options)
    assert not (tmp_path / 'work').exists()
    # A run that resumes makes no use of it, and looks for its data next.
    with pytest.raises(OSError, match='prepare_data.py voc'):
        check(configure(tool, VOC, '--resume', *options))


def test_it_trains_and_resumes(run, tmp_path, demo_options):
    run('train', DEMO, '--work-dir', tmp_path, *demo_options)
    first = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)
    assert first['meta']['epoch'] == 1
    # Nothing is left to do: a resumed run ends where the first one did.
    options = [o.replace('=test_it', '=again_test_it') for o in demo_options]
    run('train', DEMO, '--work-dir', tmp_path, '--resume', *options)
    logs = [p.read_text() for p in Path(tmp_path).rglob('*.log')]
    assert any('resumed epoch: 1' in log for log in logs)


def test_a_second_training_leaves_the_folder_of_the_first_alone(
    run, tmp_path, demo_options
):
    work_dir = tmp_path / 'work'
    work_dir.mkdir()
    dump = work_dir / Path(DEMO).name
    dump.write_text("# the first one's\n")
    process = training_in(work_dir)
    try:
        before = sorted(work_dir.rglob('*'))
        with pytest.raises(SystemExit, match='choose another work_dir'):
            run('train', DEMO, '--work-dir', work_dir, *demo_options)
        assert sorted(work_dir.rglob('*')) == before
        assert dump.read_text() == "# the first one's\n"
    finally:
        process.kill()
        process.wait()


def test_a_training_that_fails_lets_others_have_its_folder(
    run, tmp_path, demo_options
):
    options = [*demo_options, 'default_hooks.logger.no_option=1']
    with pytest.raises(TypeError, match='no_option'):
        run('train', DEMO, '--work-dir', tmp_path, *options)
    assert not (tmp_path / '.training.lock').exists()


def test_configs_stay_short_and_are_found_by_name():
    for name in ('voc_faster_rcnn_epsd', 'demo_faster_rcnn_epsd'):
        path = Path(epsd_mm.config_path(name))
        assert len(path.read_text().splitlines()) <= 40
        cfg = Config.fromfile(path)
        assert cfg.default_hooks.epsd.type == 'EPSDHook'
        sampler = cfg.train_dataloader.batch_sampler
        assert sampler.type == 'ClassPairBatchSampler'
        assert sampler.base.type == 'AspectRatioBatchSampler'
        # The hooks of the base are still there.
        assert 'checkpoint' in cfg.default_hooks


def test_another_loss_takes_a_folder_of_its_own(tool):
    cfg = configure(tool, VOC, '--sd-loss', 'DLBLoss')
    assert cfg.work_dir.endswith('voc_faster_rcnn_epsd_DLBLoss')
    assert cfg.default_hooks.epsd.sd_loss.type == 'DLBLoss'
    sampler = cfg.train_dataloader.batch_sampler
    assert sampler.type == 'OverlapBatchSampler'
    dense = configure(tool, VOC, '--sd-loss', 'DLBLoss', '--variant', 'dense')
    assert dense.work_dir.endswith('voc_faster_rcnn_epsd_DLBLoss_dense')
    assert dense.train_dataloader.batch_size == 1
    assert dense.auto_scale_lr.base_batch_size == 8


@pytest.mark.parametrize(
    'options',
    [
        ('--sd-loss', 'CSKDLoss'),
        ('--sd-loss', 'PSKDLoss', '--variant', 'prune-only'),
    ],
    ids=['of the config', 'of a plain run'],
)
def test_a_loss_that_changes_nothing_is_refused(tool, options):
    with pytest.raises(ValueError, match='changes nothing of this run'):
        configure(tool, VOC, *options)


def test_a_trained_teacher_is_named_on_the_command_line(tool):
    option = 'default_hooks.epsd.sd_loss.teacher.'
    options = (f'{option}config=t.py', f'{option}checkpoint=t.pth')
    cfg = configure(tool, VOC, '--sd-loss', 'KD', '--cfg-options', *options)
    hook = cfg.default_hooks.epsd
    assert hook.sd_loss == dict(
        type='KD', teacher=dict(config='t.py', checkpoint='t.pth')
    )
    sampler = cfg.train_dataloader.batch_sampler.type
    assert sampler == 'AspectRatioBatchSampler'
    assert build_sd_loss(hook.sd_loss).teacher['config'] == 't.py'


def test_settings_of_another_loss_are_reached_by_options(tool):
    option = 'default_hooks.epsd.sd_loss.temperature=2.0'
    cfg = configure(tool, VOC, '--sd-loss', 'DLBLoss', '--cfg-options', option)
    assert cfg.default_hooks.epsd.sd_loss == dict(
        type='DLBLoss', temperature=2.0
    )


@pytest.mark.parametrize('part', ['task=3.0', 'sd=10.0'])
def test_weights_that_a_variant_overwrites_are_refused(tool, part):
    option = ('--cfg-options', f'default_hooks.epsd.score_weights.{part}')
    with pytest.raises(ValueError, match=f'score_weights.{part} has no eff'):
        configure(tool, VOC, '--variant', 'simple-combination', *option)


def test_a_batch_size_that_a_variant_halves_has_an_effect(tool):
    option = ('--cfg-options', 'train_dataloader.batch_size=8')
    cfg = configure(
        tool, VOC, '--sd-loss', 'DLBLoss', '--variant', 'dense', *option
    )
    assert cfg.train_dataloader.batch_size == 4


def test_a_bad_annotation_stops_before_anything_is_built(
    run, tmp_path, demo_options
):
    root = generate_voc(tmp_path, train=4, test=2, size=64)
    path = root / 'VOC2007' / 'Annotations' / '000001.xml'
    text = re.sub('<xmax>.*?</xmax>', '<xmax>-9</xmax>', path.read_text())
    path.write_text(text)
    work_dir = tmp_path / 'work'
    option = f'train_dataloader.dataset.data_root={root}/'
    with pytest.raises(SystemExit, match='error: .*bad annotations') as error:
        run('train', DEMO, '--work-dir', work_dir, *demo_options, option)
    assert f'{path.name}, object 1 of' in str(error.value)
    assert not work_dir.exists()


@pytest.mark.parametrize(
    'classes, sentence',
    [
        ('cat', r"classes='cat', a string.*classes=\('cat',\)"),
        ('clases.txt', r"'clases\.txt' of train_dataloader: no such file"),
    ],
)
def test_classes_of_a_classifier_that_are_a_string_are_one_sentence(
    run, tmp_path, classes, sentence
):
    cfg = tiny_classifier_cfg(
        picture_folder(tmp_path / 'pictures', 4), tmp_path / 'run', None
    )
    cfg.train_dataloader.dataset.metainfo = dict(classes=classes)
    cfg.dump(tmp_path / 'config.py')
    with pytest.raises(SystemExit, match=f'error: .*{sentence}'):
        run('train', tmp_path / 'config.py')
    assert not [*tmp_path.glob('run/*')]
