"""The last checkpoint of a run is its own, wherever its folder is now."""

import shutil
from pathlib import Path

import pytest

from epsd_mm.run_files import last_checkpoint


def ran(folder: Path, checkpoint: Path) -> Path:
    """A folder as a run leaves it that has saved one checkpoint."""
    for path in (folder, checkpoint.parent):
        path.mkdir(parents=True, exist_ok=True)
    checkpoint.touch()
    (folder / 'last_checkpoint').write_text(str(checkpoint))
    return folder


@pytest.fixture
def folder(tmp_path):
    """Of a run that has saved where it ran."""
    return ran(tmp_path / 'run', tmp_path / 'run' / 'epoch_3.pth')


def test_it_is_the_one_that_is_named(folder):
    (folder / 'epoch_2.pth').touch()
    assert last_checkpoint(folder) == folder / 'epoch_3.pth'


def test_a_folder_that_was_moved_has_its_own(folder, tmp_path):
    moved = folder.rename(tmp_path / 'moved')
    assert last_checkpoint(moved) == moved / 'epoch_3.pth'


def test_a_copy_has_its_own(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / 'copy')
    assert last_checkpoint(copy) == copy / 'epoch_3.pth'


def test_a_copy_that_has_lost_it_has_none(folder, tmp_path):
    """That of the first folder may be of another training by now."""
    copy = shutil.copytree(folder, tmp_path / 'copy')
    (copy / 'epoch_3.pth').unlink()
    assert last_checkpoint(copy) is None


def test_it_may_be_where_the_run_has_put_its_checkpoints(tmp_path):
    path = tmp_path / 'out' / 'run' / 'epoch_3.pth'
    folder = ran(tmp_path / 'run', path)
    assert last_checkpoint(folder) == path
    path.unlink()
    assert last_checkpoint(folder) is None


def test_a_folder_that_names_none_has_none(tmp_path):
    (tmp_path / 'epoch_3.pth').touch()
    assert last_checkpoint(tmp_path) is None


def test_a_moved_run_has_it_where_it_puts_them_now(tmp_path):
    folder = ran(tmp_path / 'run', tmp_path / 'before' / 'epoch_3.pth')
    moved = (tmp_path / 'before').rename(tmp_path / 'now')
    assert last_checkpoint(folder) is None
    assert last_checkpoint(folder, [moved]) == moved / 'epoch_3.pth'


def test_one_of_that_name_in_another_place_is_not_taken(tmp_path):
    """A run that has put them elsewhere since, in the same folder."""
    path = tmp_path / 'out' / 'epoch_3.pth'
    folder = ran(tmp_path / 'run', path)
    (folder / 'epoch_3.pth').touch()
    assert last_checkpoint(folder, [path.parent]) == path
    path.unlink()
    assert last_checkpoint(folder, [path.parent]) == folder / 'epoch_3.pth'


@pytest.mark.parametrize(
    'said', [b's3://there/epoch_3.pth', b'epoch\x00_3.pth', b'\xff\xfe', b'']
)
def test_what_names_no_file_has_none(said, folder):
    (folder / 'last_checkpoint').write_bytes(said)
    assert last_checkpoint(folder) is None
