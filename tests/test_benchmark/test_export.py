"""Results outlive the folder that they were made in."""

import csv
import json
import math

import pytest

from epsd_mm.benchmark.export import (
    export_csv,
    export_json,
    read_json,
    take_entries,
)
from epsd_mm.benchmark.store import Store

METRICS = {'metric/accuracy/top1': (61.53333282470703, '%'), 'x': (1e-17, 's')}


def spec(seed):
    return dict(setup='a', method='EPSD', sparsity=0.95, seed=seed)


@pytest.fixture
def store(tmp_path):
    """Two finished cells and one that waits."""
    store = Store(tmp_path / 'store.sqlite')
    store.add((f'key{i}', f'cell {i}', spec(i)) for i in range(3))
    for key in ('key0', 'key1'):
        store.claim([key], 'p')
        store.finish(key, 'p', METRICS, dict(torch='2'))
    return store


def test_an_export_is_taken_again_as_it_was(store, tmp_path):
    export_json(store.entries(), tmp_path / 'results.json')
    other = Store(tmp_path / 'other.sqlite')
    entries = read_json(tmp_path / 'results.json').values()
    assert take_entries(other, entries) == 2
    for key, entry in other.entries().items():
        before = store.entries()[key]
        assert entry.state == 'finished'
        for name in ('name', 'spec', 'metrics', 'environment'):
            assert getattr(entry, name) == getattr(before, name)
    assert take_entries(other, entries) == 0


def test_a_table_has_every_metric_of_every_finished_cell(store, tmp_path):
    export_csv(store.entries(), tmp_path / 'results.csv')
    with open(tmp_path / 'results.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [(r['key'], r['metric'], float(r['value'])) for r in rows] == [
        (key, name, value)
        for key in ('key0', 'key1')
        for name, (value, _) in METRICS.items()
    ]
    assert {(r['method'], r['sparsity']) for r in rows} == {('EPSD', '0.95')}


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
def test_what_diverged_is_a_result_too(value, store, tmp_path):
    """Without it, the seeds that did not would be compared alone."""
    store.claim(['key2'], 'p')
    store.finish('key2', 'p', {'loss': (value, '1')}, {})
    path = tmp_path / 'results.json'
    export_json(store.entries(), path)
    json.loads(path.read_text(), parse_constant=pytest.fail)
    other = Store(tmp_path / 'other.sqlite')
    take_entries(other, read_json(path).values())
    for each in (store, other):
        (found, _) = each.entries()['key2'].metrics['loss']
        assert str(found) == str(value)


@pytest.mark.parametrize(
    'text',
    [
        'no JSON',
        '[]',
        '{}',
        json.dumps(dict(format=1, cells=[dict(key='a')])),
    ],
)
def test_what_is_no_export_is_refused(text, store, tmp_path):
    (tmp_path / 'other.json').write_text(text)
    before = store.entries()
    with pytest.raises(ValueError, match='other.json is no export'):
        read_json(tmp_path / 'other.json')
    assert store.entries() == before


def test_an_export_of_a_later_version_says_what_reads_it(tmp_path):
    path = tmp_path / 'results.json'
    path.write_text(json.dumps(dict(format=2, cells=[dict(key='a')])))
    with pytest.raises(ValueError, match=r'results.json .* of version 2, .*1'):
        read_json(path)
