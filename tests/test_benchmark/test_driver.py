"""A suite goes on where it was, whatever happened."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

import epsd_mm
from epsd_mm.benchmark.cell import RESULT, SPEC
from epsd_mm.benchmark.driver import Driver, clean, seconds_left, stale
from epsd_mm.benchmark.executors import Executor, JobError
from epsd_mm.benchmark.overview import overview, sentence
from epsd_mm.benchmark.suite import Suite

CONFIG = epsd_mm.config_path('cifar100_resnet18_epsd')
CONTENT = f"""
title = 'test'
setups = dict(a=dict(config={CONFIG!r}, metric='accuracy/top1'))
methods = {{'dense': dict(variant='dense'), 'epsd': dict()}}
sparsities = [0.9]
seeds = [0, 1, 2]
"""


class Fake(Executor):
    """Writes results at once, or fails."""

    def __init__(self, fails=lambda spec: None):
        self.fails, self.ran = fails, []

    def submit(self, job):
        folder = Path(job.command[-1])
        spec = json.loads((folder / SPEC).read_text())
        self.ran.append(spec['name'])
        future = Future()
        if error := self.fails(spec):
            future.set_exception(error)
            return future
        metrics = {'metric/accuracy/top1': [50.0 + spec['seed'], '%']}
        content = dict(metrics=metrics, environment=dict(torch='2'))
        (folder / RESULT).write_text(json.dumps(content))
        future.set_result(None)
        return future

    def close(self):
        pass


@pytest.fixture
def driver(tmp_path):
    def make(content=CONTENT):
        path = tmp_path / 'suite.py'
        path.write_text(content)
        return Driver(Suite.load(path), tmp_path / 'work')

    return make


def test_every_cell_runs_once_and_is_measured(driver):
    first = Fake()
    driver().run(first, jobs=2)
    assert len(first.ran) == len(set(first.ran)) == 6
    again = Fake()
    driver().run(again, jobs=2)
    assert again.ran == []
    entries = driver().store.entries().values()
    assert [e.metrics['metric/accuracy/top1'] for e in entries] == [
        (50.0 + seed, '%') for seed in (0, 0, 1, 1, 2, 2)
    ]


def test_failed_cells_keep_their_error_and_run_when_told(driver):
    broken = Fake(
        lambda spec: JobError('status 1: no space') if spec['seed'] else None
    )
    driver().run(broken, jobs=1)
    failed = [
        e for e in driver().store.entries().values() if e.state == 'failed'
    ]
    assert len(failed) == 4 and failed[0].error == 'status 1: no space'
    idle = Fake()
    driver().run(idle, jobs=1)
    assert idle.ran == []
    driver().run(idle, jobs=1, retry=True)
    assert len(idle.ran) == 4


def test_a_lost_store_is_rebuilt_from_the_work_dirs(driver):
    driver().run(Fake(), jobs=1)
    before = driver().store.entries()
    for path in driver().folder.glob('store.sqlite*'):
        path.unlink()
    idle = Fake()
    driver().run(idle, jobs=1)
    assert idle.ran == []
    after = driver().store.entries()
    assert {k: e.metrics for k, e in after.items()} == {
        k: e.metrics for k, e in before.items()
    }


def test_cells_of_a_dead_driver_run_again_at_once(driver):
    made = driver()
    made.store.add((c.key, c.name, c.spec()) for c in made.suite.cells)
    dead = subprocess.Popen([sys.executable, '-c', ''])
    dead.wait()
    owner = made.owner.replace(str(os.getpid()), str(dead.pid))
    assert made.store.claim([made.suite.cells[0].key], owner)
    ran = Fake()
    made.run(ran, jobs=1)
    assert len(ran.ran) == 6


def test_an_interrupted_driver_leaves_its_cells_to_the_next(driver):
    class Interrupted(Fake):
        def submit(self, job):
            super().submit(job)
            return Future()  # it never ends

    def interrupt():
        raise KeyboardInterrupt

    made = driver()
    with pytest.raises(KeyboardInterrupt):
        made.run(Interrupted(), 2, interrupt)
    states = [e.state for e in made.store.entries().values()]
    assert states == ['waiting'] * 6


def test_cells_of_an_edited_suite_are_stale_and_can_be_deleted(driver):
    driver().run(Fake(), jobs=1)
    edited = driver(CONTENT.replace('[0.9]', '[0.8]'))
    old = stale(edited.suite, edited.store.entries().values())
    assert [e.name for e in old] == [f'a/epsd/0.9/seed {i}' for i in range(3)]
    ran = Fake()
    edited.run(ran, jobs=1)
    assert ran.ran == [f'a/epsd/0.8/seed {i}' for i in range(3)]
    assert clean(edited) == 3
    assert not edited.work_dir(old[0].key).exists()
    assert len(edited.store.entries()) == 6


def test_progress_says_what_is_done_and_what_failed(driver):
    from rich.console import Console

    made = driver(CONTENT.replace("'dense': d", "'[b] :x: dense': d"))
    made.run(
        Fake(lambda s: JobError('status 1: boom') if s['seed'] else None), 1
    )
    assert '2 of 6 cells finished, 4 failed' in sentence(made, 1)
    console = Console(width=200, record=True)
    console.print(overview(made, 1))
    text = console.export_text()
    assert 'a/epsd/0.9/seed 2: status 1: boom' in text
    assert '50 %' in text and '1/3' in text
    assert '│ [b] :x: dense │' in text


def test_time_left_is_that_of_cells_like_those_finished(driver):
    made = driver()
    assert seconds_left([], 1) is None
    made.run(Fake(), jobs=1)
    entries = list(made.store.entries().values())
    for entry in entries:
        object.__setattr__(entry, 'started', 100.0)
        object.__setattr__(entry, 'ended', 160.0)
    for entry in entries[:3]:
        object.__setattr__(entry, 'state', 'waiting')
    object.__setattr__(entries[3], 'state', 'running')
    object.__setattr__(entries[3], 'started', time.time() - 20)
    assert seconds_left(entries, 2) == pytest.approx((180 + 40) / 2, abs=1)
