"""A store is safe under many writers and says what it cannot read."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from epsd_mm.benchmark import store as module
from epsd_mm.benchmark.store import (
    LOST_AFTER,
    Store,
    StoreError,
    dead_owners,
    this_process,
)

CELLS = [(f'key{i}', f'cell {i}', dict(seed=i)) for i in range(4)]
KEYS = [key for key, _, _ in CELLS]
RESULT = {'accuracy': (61.5, '%')}


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / 'suite.sqlite')
    assert store.add(CELLS) == 4
    return store


def states(store):
    return {key: entry.state for key, entry in store.entries().items()}


def test_cells_are_added_once_and_keep_their_order(store):
    assert store.add(CELLS[:2] + [('new', 'cell', {})]) == 1
    assert list(store.entries()) == [*KEYS, 'new']
    assert store.entries()['key2'].spec == dict(seed=2)


def test_a_claimed_cell_is_not_claimed_again(store):
    assert [store.claim(KEYS, f'p{i}') for i in range(5)] == [*KEYS, None]


def test_a_cell_whose_owner_is_silent_is_lost(store, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(module.time, 'time', lambda: clock[0])
    assert store.claim(KEYS[:1], 'first') == 'key0'
    assert store.claim(KEYS[:1], 'second') is None
    clock[0] += 0.6 * LOST_AFTER
    assert store.heartbeat('key0', 'first')
    clock[0] += 0.6 * LOST_AFTER
    assert store.claim(KEYS[:1], 'second') is None
    clock[0] += 0.6 * LOST_AFTER
    assert store.claim(KEYS[:1], 'second') == 'key0'
    assert not store.heartbeat('key0', 'first')
    with pytest.raises(StoreError, match='another process has taken it'):
        store.finish('key0', 'first', RESULT, {})
    store.finish('key0', 'second', RESULT, dict(torch='2'))
    entry = store.entries()['key0']
    assert entry.metrics == RESULT and entry.environment == dict(torch='2')
    assert (entry.state, entry.attempts, entry.owner) == (
        'finished',
        2,
        'second',
    )


def test_finished_cells_never_run_again_and_failed_ones_only_when_told(store):
    for key in KEYS[:2]:
        store.claim([key], 'p')
    store.finish('key0', 'p', RESULT, {})
    store.fail('key1', 'p', 'no space left')
    assert store.claim(KEYS[:2], 'q') is None
    assert store.entries()['key1'].error == 'no space left'
    assert store.retry(KEYS) == 1
    assert store.claim(KEYS[:2], 'q') == 'key1'


def test_an_interrupted_cell_waits_again(store):
    store.claim(KEYS, 'p')
    store.release('key0', 'someone else')
    assert states(store)['key0'] == 'running'
    store.release('key0', 'p')
    assert states(store)['key0'] == 'waiting'


def test_removed_cells_take_their_results_along(store):
    store.claim(['key0'], 'p')
    store.finish('key0', 'p', RESULT, {})
    assert store.remove(['key0', 'unknown']) == 1
    store.add(CELLS[:1])
    assert store.entries()['key0'].metrics == {}


def test_results_are_stored_whole_or_not_at_all(store):
    store.claim(['key0'], 'p')
    wrong = {'good': (1.0, 's'), 'bad': ('much', None)}
    with pytest.raises(StoreError, match='NOT NULL'):
        store.finish('key0', 'p', wrong, {})
    entry = store.entries()['key0']
    assert entry.state == 'running' and entry.metrics == {}


def test_many_writers_share_the_cells_out(tmp_path):
    path = tmp_path / 'suite.sqlite'
    cells = [(f'{i}', f'{i}', {}) for i in range(60)]

    def work(owner):
        store, done = Store(path), []
        store.add(cells)
        while key := store.claim([key for key, _, _ in cells], owner):
            store.finish(key, owner, RESULT, {})
            done.append(key)
        return done

    with ThreadPoolExecutor(6) as pool:
        done = sum(pool.map(work, [f'p{i}' for i in range(6)]), [])
    assert sorted(done) == sorted(key for key, _, _ in cells)


def test_many_processes_may_make_one_store(tmp_path):
    for turn in range(20):
        path = tmp_path / f'{turn}.sqlite'
        with ThreadPoolExecutor(8) as pool:
            stores = list(pool.map(Store, [path] * 8))
        assert all(store.entries() == {} for store in stores)


WRITER = """
import sys
from epsd_mm.benchmark.store import Store
store = Store(sys.argv[1])
print('ready', flush=True)
i = 0
while True:
    key = store.claim([f'{i}'], 'victim')
    store.finish(key, 'victim', {f'm{k}': (1.0, 's') for k in range(50)}, {})
    i += 1
"""


def test_a_killed_writer_leaves_whole_cells(tmp_path):
    path = tmp_path / 'suite.sqlite'
    Store(path).add([(f'{i}', f'{i}', {}) for i in range(5000)])
    writer = subprocess.Popen(
        [sys.executable, '-c', WRITER, path], stdout=subprocess.PIPE
    )
    writer.stdout.readline()
    time.sleep(0.3)
    os.kill(writer.pid, signal.SIGKILL)
    writer.communicate()
    entries = Store(path).entries().values()
    assert any(entry.state == 'finished' for entry in entries)
    for entry in entries:
        assert len(entry.metrics) == 50 * (entry.state == 'finished')


def test_what_is_no_store_is_named(tmp_path):
    path = tmp_path / 'suite.sqlite'
    path.write_bytes(b'neither SQLite nor anything else' * 40)
    with pytest.raises(StoreError, match='suite.sqlite') as error:
        Store(path)
    assert 'rebuild' in str(error.value)


def test_a_store_of_another_version_is_refused_and_left(tmp_path):
    path = tmp_path / 'suite.sqlite'
    with sqlite3.connect(path) as db:
        db.execute('CREATE TABLE cells (other TEXT)')
        db.execute('PRAGMA user_version = 99')
    with pytest.raises(
        StoreError, match='of version 99, .* up to 1: .* rebuild'
    ):
        Store(path)


def test_results_from_elsewhere_replace_no_other(store):
    assert store.take('key0', RESULT, dict(torch='2'), 100.0, 160.0)
    entry = store.entries()['key0']
    assert (entry.state, entry.metrics) == ('finished', RESULT)
    assert (entry.started, entry.ended) == (100.0, 160.0)
    store.claim(['key1'], 'p')
    for key in ('key0', 'key1', 'unknown'):
        assert not store.take(key, {'accuracy': (0.0, '%')}, {}, 0.0, 1.0)
    assert store.entries()['key0'].metrics == RESULT
    assert states(store)['key1'] == 'running'


def test_what_is_only_looked_at_is_not_made(tmp_path):
    path = tmp_path / 'folder' / 'suite.sqlite'
    with pytest.raises(StoreError, match='nothing of this suite has run'):
        Store.existing(path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_can_be_looked_at(
    store, tmp_path, monkeypatch
):
    holding = sqlite3.connect(store.path)  # keeps what is new in the log
    holding.execute('SELECT count(*) FROM cells').fetchone()
    store.claim(['key0'], 'p')
    before = {path.name for path in tmp_path.iterdir()}
    assert 'suite.sqlite-wal' in before
    monkeypatch.setattr(module.os, 'access', lambda *args: False)
    assert states(Store.existing(store.path))['key0'] == 'running'
    assert {path.name for path in tmp_path.iterdir()} == before
    holding.close()


def test_a_full_disk_loses_nothing_and_is_said(store, monkeypatch):
    connect = sqlite3.connect

    def small(*args, **kwargs):
        db = connect(*args, **kwargs)
        (pages,) = db.execute('PRAGMA page_count').fetchone()
        db.execute(f'PRAGMA max_page_count = {pages}')
        return db

    store.claim(['key0'], 'p')
    much = {f'metric {i} of many': (1.0, 's') for i in range(500)}
    with monkeypatch.context() as patch:
        patch.setattr(module.sqlite3, 'connect', small)
        with pytest.raises(StoreError, match='full; make room on the disk'):
            store.finish('key0', 'p', much, {})
    entry = store.entries()['key0']
    assert entry.state == 'running' and entry.metrics == {}
    store.finish('key0', 'p', much, {})
    assert store.entries()['key0'].metrics == much


def test_damage_within_the_file_is_found(store):
    store.add((f'more {i}', 'x' * 500, {}) for i in range(200))
    with sqlite3.connect(store.path) as db:
        db.execute('PRAGMA wal_checkpoint(TRUNCATE)')
    content = bytearray(store.path.read_bytes())
    content[3 * 4096 : 4 * 4096] = bytes(range(256)) * 16
    store.path.write_bytes(content)
    with pytest.raises(StoreError, match='suite.sqlite: .*rebuild SUITE'):
        store.check()


def test_a_spec_that_cannot_be_read_is_damage(store):
    with sqlite3.connect(store.path) as db:
        db.execute("UPDATE cells SET spec = '{' WHERE key = 'key1'")
    with pytest.raises(StoreError, match='rebuild'):
        store.check()


def test_a_process_of_another_space_is_not_taken_for_dead(store):
    here, _, number = this_process().rpartition(':')
    gone = subprocess.Popen([sys.executable, '-c', ''])
    gone.wait()
    store.claim(['key0'], f'{here}:{gone.pid}')
    store.claim(['key1'], f'{here}0:{gone.pid}')  # another container
    store.claim(['key2'], f'{here}:{number}')
    assert dead_owners(store.entries().values()) == {f'{here}:{gone.pid}'}


class TestElsewhere:
    """SQLite keeps a store whole among the processes of one machine."""

    @pytest.fixture
    def far(self, store):
        store.claim(['key0'], 'far/4026531836:7')
        return store

    def test_what_another_machine_writes_is_left_to_it(self, far):
        said = "far, which runs 'cell 0'.*--executor ray or slurm.* 120 sec"
        with pytest.raises(StoreError, match=said):
            Store(far.path)

    def test_it_can_be_looked_at_and_is_not_touched(self, far, tmp_path):
        def files():
            return {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}

        before = files()
        looked = Store.existing(far.path)
        assert states(looked)['key0'] == 'running'
        assert looked.path != far.path and files() == before

    def test_a_machine_that_is_gone_is_in_nobodys_way(self, far):
        with sqlite3.connect(far.path) as db:
            db.execute(
                'UPDATE cells SET heartbeat = ? WHERE key = ?',
                (time.time() - LOST_AFTER - 1, 'key0'),
            )
        assert Store(far.path).claim(['key0'], 'p') == 'key0'

    def test_one_that_has_stopped_is_in_nobodys_way(self, far):
        far.release('key0', 'far/4026531836:7')
        assert Store(far.path).claim(['key0'], 'p') == 'key0'

    def test_another_container_of_this_machine_may_write(self, store):
        machine, _, number = this_process().rpartition(':')
        store.claim(['key0'], f'{machine}0:{number}')
        assert Store(store.path).claim(['key1'], 'p') == 'key1'


def test_a_copy_is_that_of_one_time(store, tmp_path):
    """While another process writes all the time."""
    code = (
        'import sys; from epsd_mm.benchmark.store import Store\n'
        's = Store(sys.argv[1]); print(flush=True)\n'
        'for i in range(10**6):\n'
        '    s.claim(["key0"], "p"); s.release("key0", "p")\n'
    )
    writer = subprocess.Popen(
        [sys.executable, '-c', code, store.path],
        stdout=subprocess.PIPE,
        env=dict(os.environ, EPSD_MM_BARE='1'),
    )
    writer.stdout.readline()
    try:
        for _ in range(30):
            copy = Store.existing(store.path, copied=True)
            assert len(copy.entries()) == 4
            copy.check()
    finally:
        writer.kill()
        writer.wait()
