"""What a folder holds is read by what reads each of its files."""

import json
import shutil
from pathlib import Path

import pytest

from epsd_mm.run_page import RunFolder

REPORT = Path(__file__).parents[1] / 'formats' / 'export_report_1.json'


@pytest.fixture
def exported(tmp_path):
    """The folder of an export, in the work dir of a run."""
    (tmp_path / 'config.py').write_text('train_cfg = dict(max_epochs=1)')
    folder = tmp_path / 'small'
    folder.mkdir()
    (folder / 'run.py').touch()
    shutil.copy(REPORT, folder / 'report.json')
    return folder


def change(folder, **changed):
    path = folder / 'report.json'
    content = json.loads(path.read_text()) | changed
    path.write_text(json.dumps(content))


def test_exports_are_found_by_their_folders(exported):
    other = exported.with_name('other')
    other.mkdir()
    (other / 'report.json').write_text('["of something else"]')
    found = RunFolder.of(exported.parent).exported
    assert [*found] == [exported]
    assert found[exported]['bytes'] > 0


@pytest.mark.parametrize(
    ('changed', 'said'),
    [
        (dict(version=2), 'of version 2, .* up to 1: .* that wrote it'),
        (dict(version=None), 'of version None'),
        (dict(bytes='4 MB'), "bytes is '4 MB' instead of int.*: export"),
        (dict(metadata=None), 'metadata is None'),
    ],
)
def test_a_report_that_cannot_be_read_is_named(exported, changed, said):
    change(exported, **changed)
    with pytest.raises(ValueError, match=f'small/report.json .*{said}'):
        RunFolder.of(exported.parent)


def test_a_report_that_is_cut_off_is_named(exported):
    text = (exported / 'report.json').read_text()
    (exported / 'report.json').write_text(text[:99])
    with pytest.raises(ValueError, match='small/report.json is no JSON .* ag'):
        RunFolder.of(exported.parent)
