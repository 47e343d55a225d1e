"""No job is told of a GPU that is not there."""

import subprocess
from types import SimpleNamespace

import pytest

from epsd_mm.benchmark.executors import LocalExecutor
from epsd_mm.benchmark.gpus import told_by


@pytest.fixture
def two(monkeypatch):
    """Two GPUs, of which one has the UUID ``GPU-here``."""

    def count(command, env, **unused):
        found = env['CUDA_VISIBLE_DEVICES'] == 'GPU-here'
        return SimpleNamespace(stdout=f'{int(found)}\n')

    monkeypatch.setattr('torch.cuda.device_count', lambda: 2)
    monkeypatch.setattr(subprocess, 'run', count)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)


@pytest.mark.parametrize(
    'gpus, said',
    [
        (7, r'gpus=\[7\]: there is no GPU 7: torch sees 2 .* index 0 to 1'),
        ([0, 2], 'there is no GPU 2'),
        (-1, 'there is no GPU -1'),
        ('GPU-gone', r"gpus=\['GPU-gone'\]: there is no GPU GPU-gone"),
        ('abc', r"gpus=\['abc'\]: 'abc' is neither the index .* nor its UUID"),
        ('', "'' is neither"),
        (0.5, '0.5 is neither'),
        (True, 'True is neither'),
        (None, 'None is neither'),
        ([[0]], r'\[0\] is neither'),
    ],
)
def test_a_gpu_that_is_not_there_is_refused(gpus, said, two):
    with pytest.raises(ValueError, match=said):
        LocalExecutor(gpus=gpus)


@pytest.mark.parametrize('gpu', [0, 'GPU-here'])
def test_where_there_is_none_each_is_refused(gpu, monkeypatch):
    monkeypatch.setattr('torch.cuda.device_count', lambda: 0)
    with pytest.raises(ValueError, match='sees none here; leave gpus out'):
        LocalExecutor(gpus=[gpu])


def test_a_name_is_one_gpu(two):
    with LocalExecutor(gpus='GPU-here') as executor:
        assert executor.workers == 1


@pytest.mark.parametrize(
    'limited, told', [(None, ['1', '0']), ('5,GPU-x', ['GPU-x', '5'])]
)
def test_indices_count_what_this_process_sees(limited, told, two, monkeypatch):
    if limited:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', limited)
    assert told_by([1, 0]) == told
