"""How much is left of the whole network, by one measure for all methods."""

import json

import pytest
import torch

from epsd_mm.benchmark.comparison import Arm
from epsd_mm.benchmark.folders import Folders
from epsd_mm.benchmark.report import sizes as module
from epsd_mm.benchmark.report.sections import sections
from epsd_mm.benchmark.report.sizes import kept_share, real_sizes
from tests.helpers.suites import METRIC, compared, lay_masks, suite_of

METHODS = {
    'dense': dict(variant='dense'),
    'EPSD': dict(),
    'GMP': dict(variant='prune-only', policy='GMP'),
    'student': dict(student_of='GMP'),
    'units': dict(options={'default_hooks.epsd.structure': 'channels'}),
}
SPARSITY = dict(EPSD=0.9, GMP=0.9, student=0.84, units=0.88)


def metrics(cell):
    found = {METRIC: 60.0}
    if cell.sparsity is not None:
        found['saved/sparsity'] = SPARSITY[cell.method.name]
    return found


@pytest.fixture
def comparison(tmp_path):
    return compared(suite_of(tmp_path, METHODS, 1), metrics)


def lay(cells, comparison, name, **sizes):
    """A last checkpoint with weights of so many entries; a norm besides."""
    (cell,) = comparison.cells(Arm('a', name, 0.9))
    folder = cells / cell.key
    folder.mkdir(parents=True, exist_ok=True)
    state = {n: torch.ones(size // 5, 5) for n, size in sizes.items()}
    state['norm'] = torch.ones(1000)
    torch.save(dict(state_dict=state), folder / 'epoch_1.pth')
    (folder / 'last_checkpoint').write_text('elsewhere/epoch_1.pth')
    return cell, folder


def said(comparison, cells):
    return real_sizes(comparison, Folders(comparison, cells), 'a')


def test_a_student_is_shown_at_what_it_keeps(comparison, tmp_path):
    text = said(comparison, tmp_path / 'cells')
    assert text.endswith(
        'by more than 2 % of the network: student at 0.9: 16.0 %.'
    )
    folders = Folders(comparison, tmp_path / 'cells')
    texts = [t for s in sections(comparison, folders) for t in s.text]
    assert text in texts


def test_weights_that_nobody_prunes_count_for_masks(comparison, tmp_path):
    """Of 400 weights, 200 have masks, of which 20 are left."""
    cells = tmp_path / 'cells'
    cell, _ = lay(cells, comparison, 'EPSD', conv=100, fc=100, head=200)
    lay_masks(cells, cell, dict(conv=range(20)))
    folders = Folders(comparison, cells)
    share = kept_share(comparison, folders, Arm('a', 'EPSD', 0.9))
    assert share == pytest.approx(220 / 400)
    assert 'EPSD at 0.9: 55.0 %; student' in said(comparison, cells)


def test_a_damaged_checkpoint_stops_no_report(comparison, tmp_path):
    cells = tmp_path / 'cells'
    cell, folder = lay(cells, comparison, 'EPSD', conv=100, fc=100)
    lay_masks(cells, cell, dict(conv=range(20)))
    (folder / 'epoch_1.pth').write_bytes(b'x')
    assert 'EPSD' not in said(comparison, cells)


def test_and_for_networks_that_are_smaller(comparison, tmp_path, monkeypatch):
    """Of 2000 prunable weights 240 are left, and 260 of others."""
    cells = tmp_path / 'cells'
    _, folder = lay(cells, comparison, 'units', conv=240, head=260)
    report = folder / 'pruned' / 'epsd' / 'report.json'
    report.parent.mkdir(parents=True)
    report.write_text(json.dumps(dict(layers=dict(conv=dict(total=2000)))))
    monkeypatch.setattr(
        module, 'read_report', lambda path: json.loads(path.read_text())
    )
    assert 'units at 0.9: 22.1 %' in said(comparison, cells)  # 500 / 2260


def test_nothing_is_said_where_rows_say_it(tmp_path):
    methods = {k: v for k, v in METHODS.items() if k != 'student'}
    found = compared(suite_of(tmp_path, methods, 1), metrics)
    assert said(found, tmp_path / 'cells') is None
    cells = tmp_path / 'cells'
    cell, _ = lay(cells, found, 'EPSD', conv=100, fc=100)
    lay_masks(cells, cell, dict(conv=range(20)))
    assert said(found, cells) is None
