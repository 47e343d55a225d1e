"""report.json says exactly what it holds, and its reader believes nothing."""

import json
from pathlib import Path

import pytest
import torch

from epsd_mm.analysis import ReportError, read_report, write_report
from epsd_mm.analysis.report_file import report_json
from epsd_mm.pruning import Masks
from tests.helpers.reports import REPORT

DOCS = Path(__file__).parents[2] / 'docs'
OLD = sorted(DOCS.rglob('*report.json'))
MASKS = Masks({'a.weight': torch.tensor([1, 0, 1, 0]).bool()})


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / 'report.json'
        if not isinstance(content, (str, bytes)):
            content = json.dumps(content)
        path.write_bytes(
            content if isinstance(content, bytes) else content.encode()
        )
        return path

    return write


def edited(place, value):
    """A written report with another value at a place such as ``a.0.b``."""
    report = json.loads(report_json(REPORT))
    *path, last = place.split('.')
    part = report
    for key in path:
        part = part[int(key) if isinstance(part, list) else key]
    part[last] = value
    return report


def test_what_is_written_is_read_again(file):
    assert read_report(file(report_json(REPORT))) == dict(REPORT, version=1)


@pytest.mark.parametrize(
    'value, said',
    [
        (float('nan'), 'steps.0.mine is nan'),
        (float('inf'), 'steps.0.mine is inf'),
        (torch.tensor(1.0), r'steps.0.mine is tensor\(1.\), of Tensor'),
        (Path('a'), 'steps.0.mine is .*Path'),
        (dict(a=[{1: 2}]), 'steps.0.mine.a.0 has the name 1'),
        ({'x'}, 'steps.0.mine is .*set'),
    ],
    ids=repr,
)
def test_what_json_does_not_know_is_an_error_that_loses_no_masks(
    value, said, tmp_path
):
    report = dict(REPORT, steps=[dict(mine=value)])
    with pytest.raises((TypeError, ValueError), match=said):
        report_json(report)
    written = write_report(tmp_path / 'epsd', MASKS, report)
    assert Masks.load(written.masks) == MASKS
    (problem,) = written.problems
    assert 'report.json cannot be written: steps.0.mine' in problem
    left = {path.name for path in (tmp_path / 'epsd').iterdir()}
    assert left == {'masks.pth', 'density.png'}


@pytest.mark.parametrize('path', OLD, ids=lambda path: path.stem)
def test_reports_of_before_there_were_versions_are_read(path):
    report = read_report(path)
    assert report.pop('version') == 0
    written = json.loads(path.read_text())
    assert report.pop('structure') == written.pop('pattern')
    assert report == written


def test_there_are_reports_of_before():
    assert len(OLD) > 10


def test_an_old_report_may_hold_what_is_not_finite(file):
    old = {k: v for k, v in REPORT.items() if k != 'all_weights'}
    old = dict(old, steps=[dict(growth=float('nan'))])
    assert 'NaN' in file(old).read_text()
    assert read_report(file(old))['version'] == 0


@pytest.mark.parametrize(
    'content, said',
    [
        (edited('version', 2), 'version 2, .* versions up to 1: .*upgrade'),
        (edited('version', '1'), "version '1'"),
        (edited('version', True), 'of version True'),
        (edited('kept', 2.5), 'kept is 2.5 instead of int'),
        (edited('kept', True), 'kept is True instead of int'),
        (edited('sparsity', '0.5'), "sparsity is '0.5' instead of int or fl"),
        (edited('stability', 'high'), 'stability is'),
        (edited('terms.0.sd', None), 'terms.0.sd is None'),
        (edited('layers', dict(b={})), 'layers.b lacks density, kept, total'),
        (edited('steps', [3]), 'steps.0 is 3 instead of dict'),
        (edited('all_weights.parts', []), r'all_weights.parts is \[\]'),
        (edited('steps.0.growth', float('inf')), 'growth is inf'),
        ({'version': 1}, 'lacks all_weights'),
        ({}, 'lacks allocation'),
        ([], r'holds \[\], not names'),
        ('{"version": 1,', 'no JSON'),
        (b'\xff\x00', 'no JSON'),
        ('[' * 100_000, 'no JSON'),
        ('', 'no JSON'),
    ],
    ids=str,
)
def test_other_files_are_refused_by_name(content, said, file):
    with pytest.raises(ReportError, match=f'report.json.*{said}'):
        read_report(file(content))


def test_every_value_of_a_report_matters_to_its_reader(file):
    text = {'criterion', 'peak_memory_of'}
    for name in REPORT:
        wrong = 3.5 if name in text else 'words'
        with pytest.raises(ReportError, match=f'{name} is {wrong!r}'):
            read_report(file(edited(name, wrong)))


def test_an_absent_report_is_an_absent_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_report(tmp_path / 'report.json')
