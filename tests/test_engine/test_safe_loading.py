"""Nothing that comes in a checkpoint is run."""

import os

import mmdet.engine.schedulers  # noqa: F401
import mmpretrain.engine.schedulers  # noqa: F401
import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import CheckpointLoader

from epsd_mm.engine.safe_loading import (
    CheckpointError,
    check_checkpoint,
    code_refused,
    load_values,
)
from tests.helpers.small_runs import small_runner
from tests.helpers.unsafe import MakesFolder, as_config, through_getattr


@pytest.fixture(params=['plain', 'through getattr'])
def unsafe(request, tmp_path):
    path, marker = tmp_path / 'unsafe.pth', tmp_path / 'executed'
    if request.param == 'plain':
        torch.save(dict(state_dict={}, meta=MakesFolder(marker)), path)
    else:
        through_getattr(path, marker)
    yield path
    assert not marker.exists()


def mm_load(path):
    return CheckpointLoader.load_checkpoint(str(path), map_location='cpu')


def test_the_file_and_the_option_are_named(unsafe):
    with pytest.raises(
        CheckpointError, match=r'unsafe\.pth holds.*--trust-checkpoint'
    ):
        load_values(unsafe)


def test_mmengine_loads_no_code_in_the_block(unsafe):
    with code_refused(), pytest.raises(CheckpointError, match='unsafe.pth'):
        mm_load(unsafe)


def test_looking_at_a_file_runs_nothing(unsafe):
    check_checkpoint(unsafe)


def test_after_the_block_all_is_as_before(tmp_path):
    """Also torch.load of what a block would not load."""
    path = tmp_path / 'a.pth'
    torch.save(MakesFolder(tmp_path / 'made'), path)
    with code_refused():
        pass
    torch.load(path, weights_only=False)
    assert (tmp_path / 'made').is_dir()
    assert 'TORCH_FORCE_WEIGHTS_ONLY_LOAD' not in os.environ
    assert CheckpointLoader._schemes[''].__module__.startswith('mmengine.')


@pytest.mark.parametrize('flexible', [False, True], ids=['plain', 'flexible'])
def test_a_config_that_comes_in_a_checkpoint_is_not_run(flexible, tmp_path):
    run, marker = tmp_path / 'run', tmp_path / 'executed'
    small_runner(run, 1, flexible=flexible).train()
    path = run / 'epoch_1.pth'
    checkpoint = torch.load(path, weights_only=False)
    torch.save(as_config(checkpoint, marker), path)
    runner = small_runner(run, 2, flexible=flexible, resume=True)
    with code_refused():
        runner.train()
    assert runner.epoch == 2
    assert not marker.exists()


def test_torch_told_to_load_anything_loads_values_only(
    unsafe, tmp_path, monkeypatch
):
    name = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'
    monkeypatch.setenv(name, '1')
    torch.save(dict(state_dict=dict(a=torch.ones(1))), tmp_path / 'a.pth')
    with code_refused():
        check_checkpoint(tmp_path / 'a.pth')
        assert mm_load(tmp_path / 'a.pth')['state_dict']['a'] == 1
        with pytest.raises(CheckpointError, match='--trust-checkpoint'):
            mm_load(unsafe)
    assert os.environ[name] == '1'
    assert 'TORCH_FORCE_WEIGHTS_ONLY_LOAD' not in os.environ


def test_what_is_trusted_is_loaded(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save(MakesFolder(tmp_path / 'made'), path)
    with code_refused(unless=True):
        mm_load(path)
    assert (tmp_path / 'made').is_dir()


def test_all_that_mmengine_saves_is_loaded(tmp_path):
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    content = dict(
        message_hub=dict(log_scalars={'loss': history}),
        scalars=[np.float64(1), np.float32(2), np.int64(3), np.bool_(True)],
        arrays=[np.arange(3), np.zeros((2, 2), np.uint8)],
    )
    torch.save(content, tmp_path / 'a.pth')
    found = load_values(tmp_path / 'a.pth')
    assert found['message_hub']['log_scalars']['loss'].mean() == 1.5
    assert found['scalars'] == content['scalars']
    assert all(map(np.array_equal, found['arrays'], content['arrays']))


class Claims:
    """Is pickled as an array that numpy makes before it has content."""

    def __init__(self, *args):
        self.args = args

    def __reduce__(self):
        return np.zeros(1).__reduce__()[0], self.args


@pytest.mark.parametrize(
    'args', [(np.ndarray, (10**9,), b'b'), (np.ndarray, (0, 2), b'b')]
)
def test_an_array_without_content_takes_no_memory(args, tmp_path):
    torch.save(dict(a=Claims(*args)), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='a.pth cannot be read.*shape'):
        load_values(tmp_path / 'a.pth')


@pytest.mark.parametrize('content', [b'', b'<html>', b'PK\x03\x04'])
@pytest.mark.parametrize('read', [load_values, check_checkpoint])
def test_a_damaged_file_is_named_with_the_way_out(read, content, tmp_path):
    path = tmp_path / 'a.pth'
    path.write_bytes(content)
    told = r'a\.pth is (empty|damaged).*; take another checkpoint$'
    with pytest.raises(CheckpointError, match=told):
        read(path)


SCHEDULERS = [
    dict(type='OneCycleLR', eta_max=1.0, total_steps=9),
    dict(
        type='OneCycleLR', eta_max=1.0, total_steps=9, anneal_strategy='linear'
    ),
    dict(type='ReduceOnPlateauLR', monitor='acc', rule='greater'),
    dict(type='MultiStepLR', milestones=[2, 5]),
    dict(type='CosineAnnealingMomentum', T_max=9),
    dict(type='PolyLR', power=0.9),
    dict(
        type='CosineRestartLR',
        periods=[3, 6],
        restart_weights=[1, 0.5],
        eta_min=0,
    ),
    dict(type='mmdet.QuadraticWarmupLR', end=5),
    dict(type='mmpretrain.CosineAnnealingWeightDecay', T_max=9),
]


@pytest.mark.parametrize('cfg', SCHEDULERS, ids=lambda cfg: cfg['type'])
def test_states_of_all_kinds_of_schedulers_are_loaded(cfg, tmp_path):
    optimizer = torch.optim.SGD(
        [torch.ones(1, requires_grad=True)], lr=0.1, momentum=0.9
    )
    built = PARAM_SCHEDULERS.build(dict(cfg, optimizer=optimizer))
    torch.save(dict(param_schedulers=[built.state_dict()]), tmp_path / 'a.pth')
    (found,) = load_values(tmp_path / 'a.pth')['param_schedulers']
    assert found.keys() == built.state_dict().keys()
    built.load_state_dict(found)


@pytest.mark.parametrize('content', [b'', bytes(500), b'PK\x03\x04' * 100])
def test_damage_is_one_sentence(content, tmp_path):
    path = tmp_path / 'a.pth'
    path.write_bytes(content)
    for read in (load_values, check_checkpoint):
        with pytest.raises(CheckpointError, match='a.pth'):
            read(path)


def test_files_from_the_network_are_looked_at_too(unsafe, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: unsafe.parent / 'hub')

    def download(url, to):
        assert url == 'https://example.org/models/unsafe.pth?v=1'
        with open(to, 'wb') as file:
            file.write(unsafe.read_bytes())

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    with code_refused(), pytest.raises(CheckpointError, match='unsafe.pth'):
        mm_load('https://example.org/models/unsafe.pth?v=1')


def test_a_missing_file_is_a_missing_file(tmp_path):
    with code_refused(), pytest.raises(FileNotFoundError, match='nowhere'):
        mm_load(tmp_path / 'nowhere.pth')
