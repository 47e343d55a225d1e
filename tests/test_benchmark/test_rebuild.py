"""A store that is lost or damaged comes back from the cells' folders."""

import json

import pytest

from epsd_mm.benchmark.rebuild import rebuild
from epsd_mm.benchmark.store import Store, StoreError
from epsd_mm.benchmark.suite_folder import ERROR, RESULT, SPEC, STORE

RESULTS = dict(metrics={'accuracy': [61.5, '%']}, environment=dict(torch='2'))


@pytest.fixture
def folder(tmp_path):
    """Three cells: one has finished, one has failed, one was killed."""
    for number, files in enumerate(
        [{RESULT: json.dumps(RESULTS)}, {ERROR: 'status 1: boom'}, {}]
    ):
        cell = tmp_path / 'cells' / f'key{number}'
        cell.mkdir(parents=True)
        spec = dict(key=cell.name, name=f'cell {number}', seed=number)
        (cell / SPEC).write_text(json.dumps(spec))
        for name, text in files.items():
            (cell / name).write_text(text)
    return tmp_path


def test_what_folders_tell_is_known_again(folder):
    made = rebuild(folder)
    assert (made.cells, made.finished, made.failed) == (3, 1, 1)
    assert made.aside == []
    entries = Store.existing(folder / STORE).entries()
    assert {k: e.state for k, e in entries.items()} == {
        'key0': 'finished',
        'key1': 'failed',
        'key2': 'waiting',
    }
    assert entries['key0'].metrics == {'accuracy': (61.5, '%')}
    assert entries['key0'].environment == dict(torch='2')
    assert entries['key0'].spec == dict(seed=0)
    assert entries['key1'].error == 'status 1: boom'


def test_the_damaged_file_is_kept_beside(folder):
    (folder / STORE).write_bytes(b'no database' * 99)
    (folder / f'{STORE}-wal').write_bytes(b'its log')
    made = rebuild(folder)
    kept = {path.name.rpartition('.')[2]: path for path in made.aside}
    assert kept['sqlite'].read_bytes() == b'no database' * 99
    assert kept['sqlite-wal'].read_bytes() == b'its log'
    assert len(Store.existing(folder / STORE).entries()) == 3


def test_folders_that_are_no_whole_cells_are_left_alone(folder):
    (folder / 'cells' / 'key2' / SPEC).write_text('{"key": "ke')
    other = folder / 'cells' / 'copy of key0'
    other.mkdir()
    (other / SPEC).write_text((folder / 'cells/key0' / SPEC).read_text())
    (folder / 'cells' / 'key0' / RESULT).write_text('{"metrics": ')
    made = rebuild(folder)
    assert (made.cells, made.finished, made.failed) == (2, 0, 1)


def test_nothing_is_made_anew_under_cells_that_run(folder):
    rebuild(folder)
    store = Store(folder / STORE)
    assert store.claim(['key2'], 'elsewhere:1') == 'key2'
    with pytest.raises(StoreError, match="running .*such as 'cell 2'"):
        rebuild(folder)
    assert store.entries()['key2'].state == 'running'


def test_a_folder_without_cells_is_said(tmp_path):
    with pytest.raises(
        FileNotFoundError, match='holds no cells.*imported, remove'
    ):
        rebuild(tmp_path)
    assert list(tmp_path.iterdir()) == []
