"""Files are whole or not there, and what is damaged is told."""

import errno
import os
import random

import pytest
import torch

from epsd_mm.files import atomic_write, check_saved, remove_drafts, write_text


def test_a_full_disk_leaves_what_was_there_and_names_the_file(tmp_path):
    path = tmp_path / 'a.pth'
    path.write_bytes(b'before')
    with pytest.raises(OSError, match='No space.*a.pth') as e:
        with atomic_write(path) as file:
            file.write(b'after')
            raise OSError(errno.ENOSPC, 'No space left on device')
    assert e.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == ['a.pth']
    assert path.read_bytes() == b'before'


def test_files_are_for_whom_the_user_lets_read_them(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / 'a') as file:
            file.write(b'a')
    finally:
        os.umask(before)
    assert (tmp_path / 'a').stat().st_mode & 0o777 == 0o640


def test_a_text_that_has_no_bytes_leaves_what_was_there(tmp_path):
    path = tmp_path / 'a.json'
    write_text(path, 'ä')
    with pytest.raises(UnicodeEncodeError):
        write_text(path, '\udc80')
    assert path.read_bytes() == b'\xc3\xa4'
    assert os.listdir(tmp_path) == ['a.json']


def test_drafts_of_killed_processes_are_removed_and_nothing_else(tmp_path):
    kept = ['.a.draft', 'notes.draft', '.a.pth.12345678.draft.txt', '.x']
    for name in [*kept, '.a.pth.0123abcd.draft', '.masks.pth.00000000.draft']:
        (tmp_path / name).write_text('')
    (tmp_path / '.folder.0123abcd.draft').mkdir()
    remove_drafts(tmp_path)
    left = [*kept, '.folder.0123abcd.draft']
    assert sorted(os.listdir(tmp_path)) == sorted(left)


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp('saved') / 'a.pth'
    torch.save(dict(a=torch.arange(1000), b='text'), path)
    return path.read_bytes()


def test_no_flipped_bit_changes_what_is_loaded(saved, tmp_path):
    """In half of all places it would."""
    path, rng = tmp_path / 'a.pth', random.Random(0)
    refused = 0
    for _ in range(300):
        content = bytearray(saved)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        try:
            check_saved(path)
            found = torch.load(path)
        except (ValueError, RuntimeError):
            refused += 1
            continue
        assert torch.equal(found['a'], torch.arange(1000))
        assert found['b'] == 'text'
    assert refused > 200


@pytest.mark.parametrize(
    'damage, words',
    [
        (lambda content: b'', 'is empty'),
        (lambda content: bytes(len(content)), 'is damaged'),
        (lambda content: content[:-100], 'not written to its end'),
        (lambda content: content[:1000] + bytes(len(content) - 1000), 'end'),
        (lambda content: b'<html>not found</html>', 'is damaged'),
    ],
    ids=['empty', 'zeroed', 'cut off', 'zeroed tail', 'a web page'],
)
def test_damage_is_told_with_the_name(damage, words, saved, tmp_path):
    path = tmp_path / 'a.pth'
    path.write_bytes(damage(saved))
    with pytest.raises(ValueError, match=rf'a\.pth .*{words}'):
        check_saved(path)


def test_whole_files_of_all_kinds_pass(saved, tmp_path):
    path = tmp_path / 'a.pth'
    path.write_bytes(saved)
    check_saved(path)
    torch.save(dict(a=1), path, _use_new_zipfile_serialization=False)
    check_saved(path)
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(dict(a=torch.ones(3)), path)
    finally:
        torch.serialization.set_crc32_options(True)
    check_saved(path)


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        check_saved(tmp_path / 'nowhere')
