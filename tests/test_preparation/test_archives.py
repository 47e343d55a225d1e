"""What is read from archives and folders, and what is refused."""

import io
import os
import tarfile
import zipfile
from pathlib import PurePosixPath

import pytest

from epsd_mm.preparation.archives import (
    damage_named,
    members,
    unpacked_bytes,
)
from tests.helpers.archives import pack, tar_bytes

FILES = {'set/a.txt': b'a' * 700, 'set/b/c.jpg': os.urandom(3000)}


def contents(source, **options):
    read = {}
    with damage_named(source):
        for member in members(source, **options):
            with member.open() as stream:
                read[str(member.name)] = stream.read()
            assert member.size == len(read[str(member.name)])
    return read


@pytest.mark.parametrize('kind', ['x.tar', 'x.tar.gz', 'x.tgz', 'x.zip'])
def test_archives_give_their_files(tmp_path, kind):
    assert contents(pack(FILES, tmp_path / kind)) == FILES


def test_a_folder_gives_its_files_under_its_name(tmp_path):
    pack(FILES, tmp_path / 'x')
    assert contents(tmp_path / 'x' / 'set') == FILES
    link = tmp_path / 'other'
    link.symlink_to(tmp_path / 'x' / 'set')
    assert contents(link) == FILES


def test_hidden_files_are_left_out(tmp_path):
    hidden = {'set/._a.txt': b'x', '.git/b': b'y'}
    assert contents(pack(hidden | FILES, tmp_path / 'x.tar')) == FILES
    assert contents(pack(hidden | FILES, tmp_path / 'set') / 'set')


def test_archives_in_archives_are_read_if_asked(tmp_path):
    inner = tar_bytes({'deep.tar': tar_bytes({'x.jpg': b'x'}), 'y': b'y'})
    source = pack({'outer/inner.tar': inner}, tmp_path / 'a.tar')
    assert contents(source) == {'outer/inner.tar': inner}
    assert contents(source, nested=True) == {
        'outer/inner.tar/deep.tar/x.jpg': b'x',
        'outer/inner.tar/y': b'y',
    }


@pytest.mark.parametrize('kind', ['x.tar', 'x.zip', 'x'])
def test_room_is_counted_for_what_is_wanted(tmp_path, kind):
    source = pack(FILES, tmp_path / kind)
    assert unpacked_bytes(source, lambda name: True) == 3700
    wanted = unpacked_bytes(source, lambda name: name.suffix == '.jpg')
    assert wanted == 3000


def test_a_compressed_tar_takes_at_least_its_own_size(tmp_path):
    source = pack(FILES, tmp_path / 'x.tar.gz')
    size = source.stat().st_size
    assert unpacked_bytes(source, lambda name: True) == size


@pytest.mark.parametrize(
    'attributes',
    [
        dict(name='../1.jpg'),
        dict(name='a/../../1.jpg'),
        dict(name='/etc/1.jpg'),
        dict(type=tarfile.SYMTYPE, linkname='/etc/passwd'),
        dict(type=tarfile.LNKTYPE, linkname='a'),
        dict(type=tarfile.FIFOTYPE),
    ],
    ids=lambda a: '-'.join(map(str, a.values())),
)
@pytest.mark.parametrize('inside', [False, True], ids=['outer', 'inner'])
def test_unsafe_members_of_a_tar_are_refused(tmp_path, attributes, inside):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode='w') as archive:
        member = tarfile.TarInfo('1.jpg')
        for name, value in attributes.items():
            setattr(member, name, value)
        archive.addfile(member)
    evil = stream.getvalue()
    path = tmp_path / 'evil.tar'
    path.write_bytes(tar_bytes({'n.tar': evil}) if inside else evil)
    with pytest.raises(ValueError, match='evil.tar.* is refused'):
        contents(path, nested=inside)


@pytest.mark.parametrize(
    'name, mode',
    [
        ('../1.jpg', 0o100644),
        ('/1.jpg', 0o100644),
        ('a\\..\\1.jpg', 0o100644),
        ('1.jpg', 0o120777),
    ],
)
def test_unsafe_members_of_a_zip_are_refused(tmp_path, name, mode):
    with zipfile.ZipFile(tmp_path / 'evil.zip', 'w') as archive:
        member = zipfile.ZipInfo(name)
        member.external_attr = mode << 16
        archive.writestr(member, '/etc/passwd')
    with pytest.raises(ValueError, match='evil.zip is refused'):
        contents(tmp_path / 'evil.zip')


@pytest.mark.parametrize('to', ['/etc/passwd', '/etc'])
def test_a_link_in_a_folder_is_refused(tmp_path, to):
    pack(FILES, tmp_path / 'x')
    (tmp_path / 'x' / 'set' / 'link').symlink_to(to)
    with pytest.raises(ValueError, match='link.* is a link'):
        contents(tmp_path / 'x')


@pytest.mark.parametrize('kind', ['x.tar', 'x.tar.gz', 'x.zip'])
@pytest.mark.parametrize('cut', [0.15, 0.45])
def test_a_truncated_archive_is_named(tmp_path, kind, cut):
    source = pack(FILES, tmp_path / kind)
    os.truncate(source, int(source.stat().st_size * cut))
    with pytest.raises(ValueError, match=f'{kind} is damaged'):
        contents(source)


@pytest.mark.parametrize('nested', [False, True])
def test_a_tar_that_ends_between_two_members_is_damaged(tmp_path, nested):
    source = pack(FILES, tmp_path / 'x.tar')
    os.truncate(source, 512 + 1024)
    if nested:
        source = pack({'x.tar': source.read_bytes()}, tmp_path / 'y.tar')
    with pytest.raises(
        ValueError, match='is damaged .its end is missing.: download'
    ):
        contents(source, nested=nested)


@pytest.mark.parametrize('nested', [False, True])
@pytest.mark.parametrize(
    'end, header, words',
    [
        (1536 + 200, b'', 'its end is missing'),
        (None, b'\x99' * 20, 'bad checksum'),
    ],
    ids=['cut', 'changed'],
)
def test_a_tar_with_a_damaged_header_is_no_shorter_tar(
    tmp_path, nested, end, header, words
):
    content = bytearray(tar_bytes(FILES))
    # A header of 512 bytes and 700 bytes of a.txt, filled up to 1024.
    content[1536 : 1536 + len(header)] = header
    files = {'x.tar': bytes(content[:end])}
    (tmp_path / 'x.tar').write_bytes(files['x.tar'])
    source = pack(files, tmp_path / 'y.tar') if nested else tmp_path / 'x.tar'
    with pytest.raises(ValueError, match=rf'is damaged \(.*{words}'):
        contents(source, nested=nested)


def test_changed_bytes_in_a_zip_are_noticed(tmp_path):
    source = pack(FILES, tmp_path / 'x.zip')
    content = bytearray(source.read_bytes())
    content[content.index(b'c.jpg') + 1000] ^= 1
    source.write_bytes(content)
    with pytest.raises(ValueError, match='x.zip is damaged'):
        contents(source)


def test_what_is_no_archive_says_so(tmp_path):
    (tmp_path / 'x.tar').write_text('not an archive')
    with pytest.raises(ValueError, match='neither a tar nor a zip'):
        contents(tmp_path / 'x.tar')


def test_a_list_stands_for_itself(tmp_path):
    (tmp_path / 'val.txt').write_text('1.jpg 0\n')
    (member,) = members(tmp_path / 'val.txt')
    assert member.name == PurePosixPath('val.txt') and member.size == 8
