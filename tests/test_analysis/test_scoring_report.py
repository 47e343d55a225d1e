"""The report says where the kept weights and the scores are."""

import errno
import json
from pathlib import Path

import pytest
import torch

from epsd_mm.analysis import (
    report_text,
    require_folder,
    scoring_report,
    write_report,
)
from epsd_mm.files import atomic_write
from epsd_mm.pruning import Masks


def test_density_and_mass_by_part():
    layer = dict(kept=5, total=20, density=0.25, mass=0.5, mass_kept=0.3)
    report = dict(
        criterion='SNIP',
        seconds=1.0,
        peak_memory=2**30,
        peak_memory_of='process since its start',
        steps=[],
        kept=25,
        total=60,
        all_weights=dict(
            kept=65,
            total=100,
            sparsity=0.35,
            parts=dict(
                backbone=dict(kept=60, total=80, sparsity=0.25),
                roi_head=dict(kept=5, total=20, sparsity=0.75),
            ),
        ),
        layers={
            'backbone.a.weight': layer,
            'backbone.b.weight': dict(layer, kept=15, mass=0.25),
            'roi_head.c.weight': dict(layer, mass=0.25, mass_kept=0.25),
        },
    )
    lines = report_text(report).splitlines()
    cells = [[c.strip() for c in t.split('│')[1:-1]] for t in lines]
    assert ['backbone.a.weight', '5', '20', '0.2500'] in cells
    assert ['backbone', '40', '20', '0.5000', '75.00%', '60.00%'] in cells
    assert ['roi_head', '20', '5', '0.2500', '25.00%', '25.00%'] in cells
    assert ['all', '60', '25', '0.4167', '100.00%', '85.00%'] in cells
    assert ['backbone', '80', '60', '0.2500'] in cells
    assert ['roi_head', '20', '5', '0.7500'] in cells
    assert ['all', '100', '65', '0.3500'] in cells
    assert lines[-3] == (
        'sparsity 0.5833 of 60 prunable weights, 0.3500 of all 100 weights'
    )
    assert lines[-2] == 'scored by SNIP in 1.0 s'


REPORT = dict(
    criterion='SNIP',
    sparsity=0.5,
    kept=2,
    total=4,
    layers={'a': dict(kept=2, total=4, density=0.5)},
)
MASKS = Masks({'a': torch.tensor([1, 0, 1, 0]).bool()})


def test_other_files_of_the_folder_stay_and_earlier_ones_are_replaced(
    tmp_path,
):
    folder = tmp_path / 'epsd'
    folder.mkdir()
    (folder / 'notes.txt').write_text('mine')
    (folder / 'report.json').write_text('old')
    written = write_report(folder, MASKS, REPORT)
    assert written == (folder / 'masks.pth', [])
    assert (folder / 'notes.txt').read_text() == 'mine'
    assert json.loads((folder / 'report.json').read_text())['kept'] == 2
    assert (folder / 'density.png').read_bytes()[1:4] == b'PNG'
    assert Masks.load(folder / 'masks.pth') == MASKS
    assert len(list(folder.iterdir())) == 4


def test_a_folder_may_be_a_link_to_another_disk(tmp_path):
    (tmp_path / 'disk').mkdir()
    (tmp_path / 'epsd').symlink_to('disk')
    written = write_report(tmp_path / 'epsd', MASKS, REPORT)
    assert not written.problems
    assert (tmp_path / 'epsd').is_symlink()
    assert Masks.load(tmp_path / 'disk' / 'masks.pth') == MASKS


def test_leftovers_of_killed_runs_are_in_nobody_s_way(tmp_path):
    for name in ('.epsd-abcd1234', '.epsd-x'):
        (tmp_path / name).mkdir()
    assert not write_report(tmp_path / 'epsd', MASKS, REPORT).problems


@pytest.mark.parametrize('failing', ['report.json', 'density.png'])
def test_masks_are_written_whatever_becomes_of_the_rest(
    failing, tmp_path, monkeypatch
):
    def full(path):
        if Path(path).name == failing:
            raise OSError(errno.ENOSPC, 'No space left on device')
        return atomic_write(path)

    write_report(tmp_path / 'epsd', MASKS, REPORT)
    monkeypatch.setattr(scoring_report, 'atomic_write', full)
    written = write_report(tmp_path / 'epsd', MASKS, REPORT)
    assert Masks.load(written.masks) == MASKS
    (problem,) = written.problems
    assert failing in problem and 'No space left' in problem
    assert not (tmp_path / 'epsd' / failing).exists(), 'of other masks'


def test_a_figure_that_cannot_be_drawn_is_told(tmp_path):
    written = write_report(tmp_path / 'epsd', MASKS, dict(REPORT, layers=None))
    assert Masks.load(written.masks) == MASKS
    assert 'density.png cannot be written' in written.problems[0]


def test_masks_go_beside_a_folder_that_takes_none(tmp_path):
    (tmp_path / 'epsd').write_text("a user's file")
    written = write_report(tmp_path / 'epsd', MASKS, REPORT)
    assert written.masks == tmp_path / 'epsd.pth'
    assert Masks.load(written.masks) == MASKS
    assert 'are in' in written.problems[1]
    assert (tmp_path / 'epsd').read_text() == "a user's file"


def test_masks_that_go_nowhere_are_told(tmp_path, monkeypatch):
    def full(self, path):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(Masks, 'save', full)
    written = write_report(tmp_path / 'epsd', MASKS, REPORT)
    assert written.masks is None
    assert 'in the checkpoints of the run alone' in written.problems[2]


def test_a_file_in_the_way_is_told_before_hours_of_scoring(tmp_path):
    for name, make in (
        ('file', lambda path: path.write_text('mine')),
        ('link', lambda path: path.symlink_to('nowhere')),
    ):
        make(tmp_path / name)
        with pytest.raises(NotADirectoryError, match=f'{name} .*move it'):
            require_folder(tmp_path / name)
    require_folder(tmp_path / 'a' / 'b')
    assert not (tmp_path / 'a').exists()
