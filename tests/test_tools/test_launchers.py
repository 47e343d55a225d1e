"""The shell launchers pass every argument on as it was given."""

import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from epsd_mm.engine.launch import join_without_accelerator
from tests.helpers.datasets import picture_folder
from tests.helpers.processes import free_port
from tests.helpers.runners import tiny_classifier_cfg

EPSD = dict(
    type='EPSDHook',
    sparsity=0.5,
    criterion='SNIP',
    draws=2,
    allow_empty_layers=True,
)
TOOLS = Path(__file__).parents[2] / 'tools'
ODD = ['--cfg-options', 'a.b=[(1, 2)]', 'c=$HOME *', '--work-dir', 'a b']

pytestmark = pytest.mark.skipif(shutil.which('bash') is None, reason='no bash')


@pytest.fixture
def launch(tmp_path):
    """Run a launcher with python and srun replaced by an echo."""
    for name in ('python', 'srun'):
        fake = tmp_path / name
        fake.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$0" "$@"\n')
        fake.chmod(0o755)

    def run(script, *args, **env):
        path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
        # make exports PYTHON, which the launchers obey.
        inherited = {k: v for k, v in os.environ.items() if k != 'PYTHON'}
        return subprocess.run(
            ['bash', TOOLS / script, *args],
            env=dict(inherited, PATH=path, **env),
            capture_output=True,
            text=True,
        )

    return run


def test_dist_train(launch):
    lines = launch('dist_train.sh', 'my config.py', '4', *ODD, PORT='29511')
    lines = lines.stdout.splitlines()
    assert lines[1:3] == ['-m', 'torch.distributed.run']
    assert '--nproc_per_node=4' in lines and '--master_port=29511' in lines
    start = lines.index(f'{TOOLS}/train.py')
    assert lines[start + 1 :] == [
        'my config.py',
        '--launcher',
        'pytorch',
        *ODD,
    ]


def test_dist_test(launch):
    lines = launch('dist_test.sh', 'c.py', 'a b.pth', '2', *ODD).stdout
    lines = lines.splitlines()
    start = lines.index(f'{TOOLS}/test.py')
    assert lines[start + 1 :] == [
        'c.py',
        'a b.pth',
        '--launcher',
        'pytorch',
        *ODD,
    ]


def test_slurm_train(launch):
    lines = launch(
        'slurm_train.sh',
        'part',
        'my job',
        'c.py',
        'work dir',
        *ODD,
        GPUS='16',
        SRUN_ARGS='--qos=high --mem=8G',
    ).stdout.splitlines()
    assert lines[1:4] == ['-p', 'part', '--job-name=my job']
    assert {'--ntasks=16', '--qos=high', '--mem=8G'} <= set(lines)
    start = lines.index(f'{TOOLS}/train.py')
    assert lines[start + 1 :] == [
        'c.py',
        '--work-dir',
        'work dir',
        '--launcher',
        'slurm',
        *ODD,
    ]


def test_slurm_test(launch):
    lines = launch('slurm_test.sh', 'p', 'j', 'c.py', 'a b.pth', *ODD).stdout
    lines = lines.splitlines()
    start = lines.index(f'{TOOLS}/test.py')
    assert lines[start + 1 :] == [
        'c.py',
        'a b.pth',
        '--launcher',
        'slurm',
        *ODD,
    ]


@pytest.mark.parametrize(
    'script',
    ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh'],
)
def test_without_arguments_they_say_how(launch, script):
    done = launch(script)
    assert done.returncode != 0 and not done.stdout
    assert f'usage: tools/{script} ' in done.stderr


def test_two_processes_without_a_gpu(tmp_path):
    """They meet over gloo though the config says nccl, and say so once."""
    pictures = picture_folder(tmp_path / 'pictures')
    cfg = tiny_classifier_cfg(pictures, tmp_path / 'run', EPSD)
    cfg.env_cfg = dict(dist_cfg=dict(backend='nccl', timeout=600))
    cfg.dump(tmp_path / 'config.py')
    inherited = {k: v for k, v in os.environ.items() if k != 'PYTHON'}
    done = subprocess.run(
        ['bash', TOOLS / 'dist_train.sh', tmp_path / 'config.py', '2'],
        env=dict(
            inherited,
            PYTHON=sys.executable,
            PORT=str(free_port()),
            CUDA_VISIBLE_DEVICES='',
            OMP_NUM_THREADS='1',
        ),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count('meet over gloo') == 1
    assert (tmp_path / 'run' / 'epsd' / 'masks.pth').exists()
    # 24 pictures, 4 for each process and step.
    (log,) = (tmp_path / 'run').glob('*/*.log')
    assert '[1][3/3]' in log.read_text()


PLACES = dict(
    slurm=dict(SLURM_PROCID='3', SLURM_NTASKS='4', SLURM_LOCALID='1'),
    mpi=dict(
        OMPI_COMM_WORLD_RANK='3',
        OMPI_COMM_WORLD_SIZE='4',
        OMPI_COMM_WORLD_LOCAL_RANK='1',
    ),
)


@pytest.fixture
def on_the_cpu(monkeypatch):
    """A machine without accelerator; the calls that would start a group."""
    started = []
    monkeypatch.setattr('epsd_mm.engine.launch.get_device', lambda: 'cpu')
    monkeypatch.setattr(
        torch.distributed,
        'init_process_group',
        lambda *args, **kwargs: started.append((*args, kwargs)),
    )
    monkeypatch.setattr(torch.distributed, 'get_world_size', lambda: 4)
    # It changes the environment, as mmengine does.
    monkeypatch.setattr(os, 'environ', dict(os.environ))
    return started


@pytest.mark.parametrize('launcher', PLACES)
def test_other_launchers_without_a_gpu(launcher, on_the_cpu):
    os.environ.update(PLACES[launcher], MASTER_ADDR='host')
    dist_cfg = dict(backend='nccl', timeout=600)
    cfg = Config(dict(launcher=launcher, env_cfg=dict(dist_cfg=dist_cfg)))
    join_without_accelerator(cfg)
    assert on_the_cpu == [('gloo', dict(timeout=timedelta(minutes=10)))]
    assert cfg.env_cfg.dist_cfg.backend == 'gloo'
    assert cfg.model_wrapper_cfg.device_ids is None
    places = [
        os.environ[name] for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK')
    ]
    assert places == ['3', '4', '1']


def test_a_wrapper_of_the_config_is_kept(on_the_cpu):
    os.environ.update(PLACES['slurm'], MASTER_ADDR='host')
    wrapper = dict(type='Mine', broadcast_buffers=True)
    cfg = Config(dict(launcher='slurm', model_wrapper_cfg=wrapper))
    join_without_accelerator(cfg)
    assert cfg.model_wrapper_cfg == dict(wrapper, device_ids=None)


def test_a_launcher_that_has_started_nothing(on_the_cpu):
    with pytest.raises(ValueError, match='SLURM_PROCID is not set'):
        join_without_accelerator(Config(dict(launcher='slurm')))


@pytest.mark.parametrize(
    'launcher, device', [('none', 'cpu'), ('pytorch', 'cuda')]
)
def test_other_jobs_are_left_alone(launcher, device, monkeypatch):
    monkeypatch.setattr('epsd_mm.engine.launch.get_device', lambda: device)
    cfg = Config(dict(launcher=launcher))
    join_without_accelerator(cfg)
    assert cfg.to_dict() == dict(launcher=launcher)
