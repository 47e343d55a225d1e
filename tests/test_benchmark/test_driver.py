"""A suite goes on where it was, whatever happened."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

import epsd_mm
from epsd_mm.benchmark.driver import MOST_KILLS, Driver
from epsd_mm.benchmark.executors import Executor
from epsd_mm.benchmark.jobs import (
    BusyJobError,
    InterruptedJobError,
    JobError,
    PlaceError,
)
from epsd_mm.benchmark.listing import LISTING, read_listing
from epsd_mm.benchmark.overview import overview, seconds_left, sentence
from epsd_mm.benchmark.store import StoreError
from epsd_mm.benchmark.suite import Suite
from epsd_mm.benchmark.suite_folder import RESULT, SPEC, SuiteError

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


class Silent(Fake):
    """Some of its runs do not report what is compared."""

    def __init__(self, seed, reported):
        super().__init__()
        self.seed, self.reported = seed, reported

    def submit(self, job):
        future, folder = super().submit(job), Path(job.command[-1])
        if f'seed {self.seed}' in self.ran[-1]:
            content = dict(metrics=self.reported, environment={})
            (folder / RESULT).write_text(json.dumps(content))
        return future


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
    old = edited.stale()
    assert [e.name for e in old] == [f'a/epsd/0.9/seed {i}' for i in range(3)]
    ran = Fake()
    edited.run(ran, jobs=1)
    assert ran.ran == [f'a/epsd/0.8/seed {i}' for i in range(3)]
    assert edited.clean() == old
    assert not edited.work_dir(old[0].key).exists()
    assert len(edited.store.entries()) == 6


def test_nothing_is_deleted_while_another_machine_runs_cells(driver):
    driver().run(Fake(), jobs=1)
    edited = driver(CONTENT.replace('[0, 1, 2]', '[0, 1, 2, 3]'))
    edited.store.add((c.key, c.name, c.spec()) for c in edited.suite.cells)
    assert edited.store.claim([edited.suite.cells[-1].key], 'far/1:7')
    fewer = driver(CONTENT.replace('[0, 1, 2]', '[0, 1, 3]'))
    before = sorted((fewer.folder / 'cells').iterdir())
    with pytest.raises(StoreError, match='is written by far'):
        fewer.clean()
    assert sorted((fewer.folder / 'cells').iterdir()) == before


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


def test_progress_counts_cells_that_were_added_since(driver):
    driver().run(Fake(), jobs=1)
    edited = driver(CONTENT.replace('[0, 1, 2]', '[0, 1, 2, 3]'))
    assert '6 of 8 cells finished, 2 waiting' in sentence(edited)


class TestListing:
    """What those who only look at a suite are told of it."""

    @pytest.fixture
    def made(self, driver):
        made = driver()
        made.run(Fake(), jobs=1)
        return made

    def test_it_has_the_cells_of_the_suite(self, made):
        listing = read_listing(made.suite.path, made.folder)
        assert listing.title == made.suite.title
        ours, theirs = (
            [(c.key, c.name, json.loads(json.dumps(c.spec()))) for c in cells]
            for cells in (listing.cells, made.suite.cells)
        )
        assert ours == theirs

    def test_it_is_not_that_of_an_edited_suite(self, made, driver):
        edited = driver(CONTENT.replace('[0, 1, 2]', '[0, 1]'))
        assert read_listing(edited.suite.path, made.folder) is None

    def test_it_is_not_that_of_an_edited_config(self, driver, tmp_path):
        config = tmp_path / 'config.py'
        config.write_text(f'_base_ = {CONFIG!r}')
        made = driver(CONTENT.replace(repr(CONFIG), repr(str(config))))
        made.run(Fake(), jobs=1)
        assert read_listing(made.suite.path, made.folder)
        for more in ('train_cfg = dict(max_epochs=3)', 'train_cfg.x = 3'):
            config.write_text(f'_base_ = {CONFIG!r}\n{more}')
            assert read_listing(made.suite.path, made.folder) is None

    def test_it_is_not_that_of_another_package(self, made, monkeypatch):
        monkeypatch.setattr('epsd_mm.benchmark.listing.__version__', '9')
        assert read_listing(made.suite.path, made.folder) is None

    def test_code_of_others_may_change_keys_unseen(self, driver, tmp_path):
        config = tmp_path / 'config.py'
        config.write_text(
            f'_base_ = {CONFIG!r}\n'
            "custom_imports = dict(imports=['epsd_mm', 'json'])"
        )
        made = driver(CONTENT.replace(repr(CONFIG), repr(str(config))))
        made.run(Fake(), jobs=1)
        assert not (made.folder / LISTING).exists()

    @pytest.mark.parametrize('text', ['', '[]', '{}', '{"digest": 1}'])
    def test_a_damaged_one_is_none(self, text, made):
        (made.folder / LISTING).write_text(text)
        assert read_listing(made.suite.path, made.folder) is None


def test_what_a_killed_driver_has_left_is_not_said_to_run(driver):
    made = driver()
    made.store.add((c.key, c.name, c.spec()) for c in made.suite.cells)
    dead = subprocess.Popen([sys.executable, '-c', ''])
    dead.wait()
    gone = made.owner.replace(str(os.getpid()), str(dead.pid))
    first, second, *_ = [cell.key for cell in made.suite.cells]
    assert made.store.claim([first], gone)
    assert made.store.claim([second], made.owner)
    assert '1 running, 5 waiting' in sentence(made)

    edited = driver(CONTENT.replace('[0, 1, 2]', '[7]'))
    kept = {key for key in edited.store.entries()} - {
        entry.key for entry in edited.clean()
    }
    assert kept == {second}


@pytest.mark.parametrize('asked, jobs', [(None, 2), (5, 5)])
def test_time_left_is_shared_by_what_runs(driver, monkeypatch, asked, jobs):
    made, seen = driver(), []
    monkeypatch.setattr(
        'epsd_mm.benchmark.overview.seconds_left',
        lambda entries, jobs: seen.append(jobs),
    )
    made.store.add((c.key, c.name, c.spec()) for c in made.suite.cells)
    for cell in made.suite.cells[:2]:
        made.store.claim([cell.key], made.owner)
    sentence(made, asked)
    assert seen == [jobs]


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


def test_a_killed_cell_begins_again_but_not_for_ever(driver):
    broken = Fake(
        lambda spec: (
            InterruptedJobError('killed by SIGKILL')
            if spec['name'] == 'a/epsd/0.9/seed 1'
            else None
        )
    )
    driver().run(broken, jobs=1)
    assert broken.ran.count('a/epsd/0.9/seed 1') == MOST_KILLS
    entries = driver().store.entries().values()
    (failed,) = (e for e in entries if e.state == 'failed')
    assert failed.error == 'killed by SIGKILL'
    assert sum(e.state == 'finished' for e in entries) == 5
    driver().run(Fake(), jobs=1, retry=True)
    assert driver().store.entries()[failed.key].state == 'finished'


def test_a_cell_that_a_suspended_process_holds_waits_for_it(driver):
    """While it does, the others run."""
    made = driver(CONTENT.replace('[0, 1, 2]', '[0]'))
    held = made.suite.cells[0].name
    left = [BusyJobError('ended with status 75')] * (MOST_KILLS + 1)
    ran = Fake(lambda s: left.pop() if s['name'] == held and left else None)
    made.run(ran, jobs=1)
    assert ran.ran == [held, made.suite.cells[1].name, *[held] * 4]
    states = [e.state for e in made.store.entries().values()]
    assert states == ['finished'] * 2


def test_a_machine_that_cannot_run_cells_ends_the_run(driver):
    broken = Fake(lambda spec: PlaceError('node7 has no /data/suite'))
    with pytest.raises(SuiteError, match='node7 has no /data/suite'):
        driver().run(broken, jobs=1)
    assert len(broken.ran) == 1
    driver().run(Fake(), jobs=1)
    assert {e.state for e in driver().store.entries().values()} == {'finished'}


def test_first_cells_that_all_fail_alike_end_the_run(driver):
    broken = Fake(lambda spec: JobError('status 1: no data'))
    with pytest.raises(SuiteError, match='failed alike .*no data.*--retry'):
        driver().run(broken, jobs=1)
    assert len(broken.ran) == 3
    different = Fake(lambda spec: JobError(f'lr of {spec["name"]}'))
    driver().run(different, jobs=1, retry=True)
    assert len(different.ran) == 6


def test_no_cell_begins_on_a_full_disk(driver, monkeypatch):
    made = driver()
    with monkeypatch.context() as patch:
        free = shutil.disk_usage('.')._replace(free=5_000_000)
        patch.setattr(shutil, 'disk_usage', lambda folder: free)
        with pytest.raises(SuiteError, match='has 5 MB left'):
            made.run(Fake(), jobs=2)
    states = {e.state for e in made.store.entries().values()}
    assert states == {'waiting'}
    driver().run(Fake(), jobs=2)


def test_a_metric_that_is_not_reported_ends_the_run_with_what_there_is(
    driver,
):
    wrong = driver(CONTENT.replace('accuracy/top1', 'accuracy/top3'))
    ran = Fake()
    with pytest.raises(SuiteError, match="'accuracy/top3'.*has accuracy/top1"):
        wrong.run(ran, jobs=1)
    assert len(ran.ran) == 1
    others = Fake()
    driver().run(others, jobs=1)
    assert len(others.ran) == 5


@pytest.mark.parametrize(
    'seed, reported',
    [(0, {}), (1, {}), (1, {'metric/calibration/ece': [0.1, '1']})],
)
def test_a_run_without_a_number_does_not_end_the_others(
    seed, reported, driver
):
    made = driver()
    made.run(Silent(seed, reported), jobs=1)
    states = {entry.state for entry in made.store.entries().values()}
    assert states == {'finished'}


def test_a_result_without_a_number_is_said(driver):
    from rich.console import Console

    made = driver(CONTENT.replace('[0, 1, 2]', '[1]'))
    made.run(Silent(1, {}), jobs=1)
    console = Console(record=True)
    console.print(overview(made))
    assert console.export_text().count('no number') == 2


@pytest.mark.parametrize('content', ['', '{"metrics": 3}', '[]', None])
def test_a_cell_without_a_whole_result_has_failed(content, driver):
    class Careless(Fake):
        def submit(self, job):
            future = super().submit(job)
            path = Path(job.command[-1]) / RESULT
            path.unlink()
            if content is not None:
                path.write_text(content)
            return future

    made = driver(CONTENT.replace('[0, 1, 2]', '[0]'))
    made.run(Careless(), jobs=1)
    for entry in made.store.entries().values():
        assert entry.state == 'failed'
        assert 'left no result' in entry.error and RESULT in entry.error


def test_a_store_that_cannot_be_written_for_a_moment_loses_no_cell(
    driver, monkeypatch
):
    monkeypatch.setattr('epsd_mm.benchmark.driver._HEARTBEAT', 0.05)
    made, beats = driver(), []

    def heartbeat(key, owner):
        beats.append(key)
        if len(beats) < 3:
            raise StoreError('the disk is full')

    class Slow(Fake):
        def submit(self, job):
            deadline = time.monotonic() + 10
            while len(beats) < 3 and made._running:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            return super().submit(job)

    monkeypatch.setattr(made.store, 'heartbeat', heartbeat)
    made.run(Slow(), jobs=2)
    assert len(beats) >= 3


def test_a_cell_that_was_taken_away_is_left_to_its_new_owner(driver):
    """This driver was silent for too long, as a suspended one is."""
    made = driver(CONTENT.replace('[0, 1, 2]', '[0]'))

    class TakenAway(Fake):
        def submit(self, job):
            key = Path(job.command[-1]).name
            with sqlite3.connect(made.store.path) as db:
                db.execute(
                    "UPDATE cells SET owner = 'other' WHERE key = ?", (key,)
                )
            return super().submit(job)

    made.run(TakenAway(), jobs=1)
    entries = made.store.entries().values()
    assert {(e.state, e.owner) for e in entries} == {('running', 'other')}
    assert all(e.metrics == {} for e in entries)
