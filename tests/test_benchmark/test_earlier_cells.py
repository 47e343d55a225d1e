"""Cells that go on from what others have trained have just that."""

import json
import shutil
import sys
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from epsd_mm.benchmark import cell as module
from epsd_mm.benchmark.driver import Driver
from epsd_mm.benchmark.earlier_cells import taken
from epsd_mm.benchmark.executors import Executor
from epsd_mm.benchmark.export import read_json
from epsd_mm.benchmark.result_file import read_result_file
from epsd_mm.benchmark.rewind_hook import forget_later
from epsd_mm.benchmark.suite import Suite
from epsd_mm.benchmark.suite_folder import SuiteError
from epsd_mm.engine.safe_loading import load_values
from epsd_mm.pruning import Masks
from epsd_mm.run_files import last_checkpoint
from epsd_mm.training import StartError
from tests.helpers.cells import one_thread

TOOLS = Path(__file__).parents[2] / 'tools' / 'analysis_tools'
sys.path.insert(0, str(TOOLS))

from damage.tiny_suite import write_tiny_suite  # noqa: E402

METHODS = """
methods = {
    'dense': dict(variant='dense'),
    'IMP': dict(variant='prune-only', rounds=dict(share=0.3, rewind=1)),
    'lottery': dict(variant='prune-only', rounds=dict(share=0.3)),
    'after': dict(
        variant='prune-only', criterion='Magnitude', weights_of='dense'
    ),
    'EPSD': dict(),
    'taught': dict(sd_loss='KD', masks_of='EPSD', teacher='dense'),
    'student': dict(student_of='IMP'),
}
for __method in methods.values():
    __method['options'] = dict(custom_hooks=[dict(type='StartHook')])
"""
SPARSITY = 0.5  # after rounds at 0.3 and, with what is left, 0.5


@HOOKS.register_module(force=True)
class StartHook(Hook):
    """Keeps the weights of the first step."""

    priority = 'LOWEST'

    def before_train(self, runner):
        path = Path(runner.work_dir, 'start.pt')
        if not path.exists() and 'lender' not in runner.work_dir:
            torch.save(runner.model.state_dict(), path)


class Here(Executor):
    """Runs cells in this process."""

    def __init__(self):
        self.ran = []

    def submit(self, job):
        folder = Path(job.command[-1])
        self.ran.append(json.loads((folder / 'cell.json').read_text())['name'])
        future = Future()
        try:
            module.run(folder)
            future.set_result(None)
        except Exception as error:  # noqa: BLE001
            future.set_exception(error)
        return future

    def close(self):
        pass


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """A driver whose cells have run, and their names in order."""
    folder = tmp_path_factory.mktemp('chain')
    path = write_tiny_suite(folder, 1, 3, [])
    with open(path, 'a') as text:
        text.write(METHODS)
    driver, here = Driver(Suite.load(path), folder / 'work'), Here()
    with one_thread():
        driver.run(here, jobs=1)
    return driver, here.ran


def folder_of(finished, name):
    driver, _ = finished
    (cell,) = (c for c in driver.suite.cells if c.name == f'pictures/{name}')
    return driver.work_dir(cell.key)


def weights(path):
    return load_values(path)['state_dict']


def smallest_removed(state, before, sparsity):
    """Masks by a global ranking of |w|, in float64, of what is left."""
    scores = {
        name: np.where(kept, np.abs(state[name].double().numpy()), -1.0)
        for name, kept in before.items()
    }
    flat = np.concatenate([each.ravel() for each in scores.values()])
    count = round((1 - sparsity) * flat.size)
    threshold = np.sort(flat)[::-1][count - 1]
    return {name: each >= threshold for name, each in scores.items()}


def masks_in(folder):
    return {
        n: m.numpy() for n, m in Masks.load(folder / 'epsd/masks.pth').items()
    }


def test_all_of_them_finish_each_after_its_predecessors(finished):
    driver, ran = finished
    states = {
        e.name: (e.state, e.error) for e in driver.store.entries().values()
    }
    assert {state for state, _ in states.values()} == {'finished'}, states
    assert ran[0] == 'pictures/dense/seed 0'  # and it is trained once
    assert len(ran) == len(set(ran)) == 1 + 2 + 2 + 1 + 2 + 1
    assert ran.index('pictures/IMP/0.3/seed 0') < ran.index(
        'pictures/IMP/0.5/seed 0'
    )


@pytest.mark.parametrize('method', ['IMP', 'lottery'])
def test_rounds_remove_the_smallest_of_the_trained_weights(finished, method):
    """Against a ranking in numpy of what is in the checkpoints."""
    before, origin = None, folder_of(finished, 'dense/seed 0')
    for sparsity in (0.3, SPARSITY):
        folder = folder_of(finished, f'{method}/{sparsity}/seed 0')
        found = masks_in(folder)
        if before is None:
            before = {n: np.ones_like(m) for n, m in found.items()}
        wanted = smallest_removed(
            weights(last_checkpoint(origin)), before, sparsity
        )
        for name, mask in found.items():
            assert (mask == wanted[name]).all(), name
            assert not (mask & ~before[name]).any()
        before, origin = found, folder


@pytest.mark.parametrize('method', ['IMP', 'lottery'])
@pytest.mark.parametrize('sparsity', [0.3, SPARSITY])
def test_rounds_go_back_to_the_weights_of_round_0(finished, method, sparsity):
    """Bit for bit, buffers too, but for what is removed."""
    dense = folder_of(finished, 'dense/seed 0')
    if method == 'IMP':
        wanted = weights(dense / 'rewind' / 'epoch_1.pth')
    else:
        wanted = torch.load(dense / 'start.pt')
    folder = folder_of(finished, f'{method}/{sparsity}/seed 0')
    masks, start = masks_in(folder), torch.load(folder / 'start.pt')
    assert start.keys() == wanted.keys()
    for name, value in start.items():
        expected = wanted[name]
        if name in masks:
            expected = expected * torch.from_numpy(masks[name])
        assert torch.equal(value, expected), name


def test_what_is_pruned_after_its_training_goes_on_from_there(finished):
    dense = weights(last_checkpoint(folder_of(finished, 'dense/seed 0')))
    folder = folder_of(finished, f'after/{SPARSITY}/seed 0')
    start, masks = torch.load(folder / 'start.pt'), masks_in(folder)
    ones = {name: np.ones_like(mask) for name, mask in masks.items()}
    wanted = smallest_removed(dense, ones, SPARSITY)
    for name, value in start.items():
        mask = torch.from_numpy(wanted[name]) if name in masks else 1
        assert torch.equal(value, dense[name] * mask), name


def test_a_student_has_the_masks_of_epsd_and_learns_from_the_dense(finished):
    """The dense cell of its own seed, trained once."""
    dense = folder_of(finished, 'dense/seed 0')
    student = folder_of(finished, f'taught/{SPARSITY}/seed 0')
    own = masks_in(folder_of(finished, f'EPSD/{SPARSITY}/seed 0'))
    found = masks_in(student)
    assert all((found[name] == own[name]).all() for name in own)
    (config,) = student.glob('*.py')
    loss = Config.fromfile(config).default_hooks.epsd.sd_loss
    assert loss.type == 'KD'
    assert loss.teacher.checkpoint == str(last_checkpoint(dense))
    assert Path(loss.teacher.config).parent == dense


def test_what_was_removed_is_zero_at_the_end(finished):
    folder = folder_of(finished, f'IMP/{SPARSITY}/seed 0')
    state = weights(last_checkpoint(folder))
    for name, mask in masks_in(folder).items():
        assert not state[name].numpy()[~mask].any()


class TestWhatOthersGoOnFrom:
    """It must be there before anything runs."""

    @pytest.fixture
    def driver(self, finished, tmp_path):
        """A folder whose dense cell alone has finished."""
        old, _ = finished
        driver = Driver(old.suite, tmp_path / 'work')
        dense = old.suite.cells[0]
        shutil.copytree(old.work_dir(dense.key), driver.work_dir(dense.key))
        return driver

    def test_a_step_that_was_not_saved_is_told_at_once(self, driver):
        folder = driver.work_dir(driver.suite.cells[0].key)
        (folder / 'rewind' / 'epoch_1.pth').unlink()
        here = Here()
        with pytest.raises(
            SuiteError, match='its weights after epoch 1, from'
        ):
            driver.run(here, jobs=1)
        assert here.ran == []

    def test_a_checkpoint_that_was_removed_is_told_at_once(self, driver):
        folder = driver.work_dir(driver.suite.cells[0].key)
        (folder / 'epoch_3.pth').unlink()
        with pytest.raises(SuiteError, match='its last checkpoint, from'):
            driver.run(Here(), jobs=1)
        assert driver.store.entries()[folder.name].state == 'finished'

    def test_a_config_that_was_removed_is_told_at_once(self, driver):
        """A teacher is built by it."""
        folder = driver.work_dir(driver.suite.cells[0].key)
        for path in folder.glob('*.py'):
            path.unlink()
        here = Here()
        with pytest.raises(SuiteError, match='its config, from which'):
            driver.run(here, jobs=1)
        assert here.ran == []

    def test_masks_that_were_removed_are_told_at_once(self, driver, finished):
        """The next round starts from them."""
        theirs = folder_of(finished, 'IMP/0.3/seed 0')
        folder = driver.work_dir(theirs.name)
        shutil.copytree(theirs, folder)
        (folder / 'epsd' / 'masks.pth').unlink()
        here = Here()
        with pytest.raises(SuiteError, match='its masks, from which') as error:
            driver.run(here, jobs=1)
        assert str(folder) in str(error.value)
        assert here.ran == []

    def test_masks_that_a_config_names_itself_are_of_no_cell(self, tmp_path):
        start = str(tmp_path / 'own.pth')
        epsd = dict(type='EPSDHook', start=start)
        cfg = Config(dict(default_hooks=dict(epsd=epsd)))
        cfg.weights_of = dict(run='key')
        assert [file.place for file in taken(cfg, tmp_path)] == ['load_from']

    def test_it_is_made_again_when_told(self, driver, monkeypatch, capsys):
        key = driver.suite.cells[0].key
        saved = driver.work_dir(key) / 'rewind' / 'epoch_1.pth'
        before = weights(saved)
        saved.unlink()
        monkeypatch.setattr(driver, '_others_go_on', lambda: False)
        after = {k: ['never'] if k != key else [] for k in driver._after}
        monkeypatch.setattr(driver, '_after', after)
        here = Here()
        driver.run(here, jobs=1, retry=True)
        assert here.ran == ['pictures/dense/seed 0']
        again = weights(saved)
        assert all(torch.equal(again[name], before[name]) for name in before)
        (aside,) = driver.folder.glob('aside_*')
        results = read_json(aside / 'results.json')
        assert 'metric/accuracy/top1' in results[key].metrics
        assert (aside / key / 'epoch_3.pth').is_file()
        assert (
            'gone of them: pictures/dense/seed 0;' in capsys.readouterr().out
        )

    def test_a_run_that_has_passed_the_step_begins_again(self, driver):
        """It was killed before anybody wanted to go back to its step."""
        folder = driver.work_dir(driver.suite.cells[0].key)
        (folder / 'epoch_2.pth').write_bytes(b'')
        (folder / 'last_checkpoint').write_text(str(folder / 'epoch_2.pth'))
        forget_later(folder, 'epoch', [1])
        assert (folder / 'epoch_2.pth').is_file()
        (folder / 'rewind' / 'epoch_1.pth').unlink()
        forget_later(folder, 'epoch', [1])
        assert not list(folder.glob('*.pth'))

    def test_a_cell_that_finds_nothing_says_whose_it_is(self, driver):
        cell = driver.suite.cells[1]
        folder = driver.work_dir(cell.key)
        folder.mkdir()
        spec = dict(cell.spec(), key=cell.key, name=cell.name)
        (folder / 'cell.json').write_text(json.dumps(spec))
        dense = driver.work_dir(driver.suite.cells[0].key)
        (dense / 'last_checkpoint').unlink()
        with pytest.raises(StartError, match=f'after that of {dense}'):
            module.run(folder)


def places(name):
    """How often an entry of a weight multiplies, of an image of 12x12."""
    if name.startswith('head'):
        return 1
    return 6 * 6 if 'layer2' in name else 12 * 12


def test_a_student_is_as_large_as_what_its_teacher_keeps(finished):
    folder = folder_of(finished, f'student/{SPARSITY}/seed 0')
    kept = masks_in(folder_of(finished, f'IMP/{SPARSITY}/seed 0'))
    state = weights(last_checkpoint(folder))
    left = sum(state[name].numel() for name in kept)
    assert left == pytest.approx(sum(m.sum() for m in kept.values()), rel=0.2)
    whole = weights(last_checkpoint(folder_of(finished, 'dense/seed 0')))
    sizes = [
        sum(v.numel() for v in of.values() if v.dim() > 1)
        for of in (state, whole)
    ]
    found, _ = read_result_file(folder)
    share, _ = found['saved/sparsity']
    assert share == pytest.approx(1 - sizes[0] / sizes[1])
    work = [
        sum(v.numel() * places(n) for n, v in of.items() if v.dim() > 1)
        for of in (state, whole)
    ]
    assert found['saved/multiply_adds'][0] == work[0]
    assert found['saved/dense_multiply_adds'][0] == work[1]
    gone = sum((~mask).sum() * places(name) for name, mask in kept.items())
    taught, _ = found['teacher/sparse_share']
    assert taught == pytest.approx(1 - gone / work[1])


def test_a_student_learns_from_its_teacher(finished):
    path = folder_of(finished, f'student/{SPARSITY}/seed 0')
    (log,) = path.glob('*/vis_data/scalars.json')
    steps = [json.loads(line) for line in log.read_text().splitlines()]
    terms = [step['loss_sd'] for step in steps if 'loss_sd' in step]
    assert terms and all(terms)
