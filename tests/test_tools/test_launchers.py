"""The shell launchers pass every argument on as it was given."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

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
