"""No tool runs what comes in a checkpoint, unless it is told to."""

import os

import pytest
import torch

import epsd_mm
from tests.helpers.unsafe import MakesFolder, through_getattr

DEMO = epsd_mm.config_path('demo_faster_rcnn')
PRUNED = epsd_mm.config_path('demo_faster_rcnn_epsd')
OTHERS = 'analysis_tools/get_flops', 'analysis_tools/compare_detections'


@pytest.fixture(params=['plain', 'through getattr'])
def unsafe(request, tmp_path):
    path, marker = tmp_path / 'unsafe.pth', tmp_path / 'executed'
    if request.param == 'plain':
        torch.save(dict(state_dict=MakesFolder(marker)), path)
    else:
        through_getattr(path, marker)
    yield path
    assert not marker.exists(), 'the code in the checkpoint was run'


def refused(run, tool, *arguments):
    with pytest.raises(SystemExit) as e:
        run(tool, *arguments)
    message = str(e.value)
    assert 'unsafe.pth' in message and '\n' not in message
    assert '--trust-checkpoint' in message


@pytest.mark.parametrize('how', ['resume', 'load_from', 'init_cfg'])
def test_train_refuses(how, unsafe, run, tmp_path, demo_options):
    options = {
        'resume': ['--resume', unsafe, *demo_options],
        'load_from': [*demo_options, f'load_from={unsafe}'],
        'init_cfg': [
            *demo_options,
            'model.init_cfg.type=Pretrained',
            f'model.init_cfg.checkpoint={unsafe}',
        ],
    }[how]
    work_dir = tmp_path / 'work'
    refused(run, 'train', PRUNED, '--work-dir', work_dir, *options)
    assert not (work_dir / 'epsd').exists()


def test_test_refuses(unsafe, run, tmp_path, demo_options):
    work_dir = ['--work-dir', tmp_path / 'work']
    refused(run, 'test', DEMO, unsafe, *work_dir, *demo_options)


def test_the_tools_of_analysis_refuse(unsafe, run, tmp_path, demo_options):
    flops, compare = OTHERS
    refused(run, flops, DEMO, '--checkpoint', unsafe, '--shape', 64)
    models = [DEMO, unsafe, DEMO, unsafe]
    refused(run, compare, *models, '--out', tmp_path / 'out', *demo_options)


def test_so_does_the_one_that_initialises_a_model(unsafe, run, demo_options):
    options = [
        *demo_options,
        'model.init_cfg.type=Pretrained',
        f'model.init_cfg.checkpoint={unsafe}',
    ]
    refused(run, 'analysis_tools/mask_overlap', PRUNED, *options)


def test_who_trusts_it_may_load_it(run, tmp_path):
    path, marker = tmp_path / 'unsafe.pth', tmp_path / 'executed'
    torch.save(dict(state_dict={}, meta=MakesFolder(marker)), path)
    options = ['--checkpoint', path, '--shape', 64, '--trust-checkpoint']
    with pytest.raises(SystemExit, match='has no'):  # it has no weights
        run('analysis_tools/get_flops', DEMO, *options)
    assert marker.is_dir()
    assert 'TORCH_FORCE_WEIGHTS_ONLY_LOAD' not in os.environ


def taught_by(path):
    teacher = 'default_hooks.epsd.sd_loss.teacher'
    return [f'{teacher}.config={DEMO}', f'{teacher}.checkpoint={path}']


def test_train_refuses_a_teacher(unsafe, run, tmp_path, demo_options):
    work_dir = ['--work-dir', tmp_path / 'work', '--sd-loss', 'KD']
    options = [*demo_options, *taught_by(unsafe)]
    refused(run, 'train', PRUNED, *work_dir, *options)


def test_a_teacher_is_loaded_where_it_is_trusted(run, tmp_path, demo_options):
    path, marker = tmp_path / 'unsafe.pth', tmp_path / 'executed'
    torch.save(dict(state_dict={}, meta=MakesFolder(marker)), path)
    options = ['--work-dir', tmp_path / 'work', '--sd-loss', 'KD']
    options += ['--trust-checkpoint', *demo_options, *taught_by(path)]
    said = 'unsafe.pth is not of the network'  # it has no weights
    with pytest.raises(SystemExit, match=said):
        run('train', PRUNED, *options)
    assert marker.is_dir()
