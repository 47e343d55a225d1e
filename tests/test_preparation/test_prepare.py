"""Whatever goes wrong, nothing that is not whole is put into place."""

import errno
import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor, TimeoutError

import pytest

from epsd_mm.locks import FileLock
from epsd_mm.preparation import LAYOUTS, disk, prepare, staging
from epsd_mm.preparation.layout import Archive
from tests.helpers.archives import cub_files, pack, picture, tree
from tests.helpers.servers import serving

CUB = LAYOUTS['cub']
FILES = cub_files()
PLACED = {
    name.removeprefix('CUB_200_2011/'): content
    for name, content in FILES.items()
    if '/images' in name or name.endswith(('s.txt', 'split.txt'))
}
del PLACED['parts/parts.txt'], PLACED['attributes.txt']


@pytest.fixture
def published(monkeypatch):
    """Let the small set be the published one."""
    counts = {'classes': 2, 'train images': 4, 'test images': 2}
    monkeypatch.setattr(CUB, 'published', counts)


@pytest.fixture
def source(tmp_path):
    return pack(FILES, tmp_path / 'own.tar')


@pytest.fixture
def server(tmp_path, monkeypatch, published):
    """The archive is published on this machine."""
    monkeypatch.setenv('no_proxy', '*')
    path = pack(FILES, tmp_path / 'CUB_200_2011.tgz')
    content = path.read_bytes()
    path.unlink()
    md5 = f'md5:{hashlib.md5(content).hexdigest()}'
    with serving({path.name: content}) as server:
        archive = Archive(path.name, md5, f'{server.url}/{path.name}')
        monkeypatch.setattr(CUB, 'archives', (archive,))
        yield server


def test_a_download_ends_in_place_and_a_second_does_nothing(server, tmp_path):
    counts, new = prepare(CUB, data_root=tmp_path)
    assert [c.found for c in counts] == [2, 4, 2] and new == len(PLACED)
    assert os.listdir(tmp_path) == ['CUB_200_2011']
    assert tree(tmp_path / 'CUB_200_2011') == PLACED
    assert prepare(CUB, data_root=tmp_path).new == 0
    assert len(server.ranges) == 1


def test_a_second_run_leaves_the_sources_alone(published, source, tmp_path):
    prepare(CUB, [source], tmp_path / 'data')
    source.write_bytes(b'no longer an archive')
    counts, new = prepare(CUB, [source], tmp_path / 'data')
    assert new == 0 and [c.found for c in counts] == [2, 4, 2]


def test_a_subset_in_place_is_no_reason_to_download(server, source, tmp_path):
    root = tmp_path / 'data'
    prepare(CUB, [source], root)
    CUB.published['test images'] = 3
    with pytest.raises(ValueError, match='holds 2 of 3 test images'):
        prepare(CUB, data_root=root)
    assert prepare(CUB, data_root=root, allow_subset=True).new == 0
    assert server.ranges == []


def test_a_download_fills_holes(server, tmp_path):
    prepare(CUB, data_root=tmp_path)
    image = next((tmp_path / 'CUB_200_2011' / 'images').rglob('*.jpg'))
    image.unlink()
    assert prepare(CUB, data_root=tmp_path).new == 1
    assert tree(tmp_path / 'CUB_200_2011') == PLACED


@pytest.mark.parametrize('form', ['x.tar', 'x.tgz', 'x.zip', 'x', 'x/CUB'])
def test_every_form_ends_as_the_same_tree(published, tmp_path, form):
    pack(FILES, tmp_path / form)
    prepare(CUB, [tmp_path / form], tmp_path / 'data')
    assert tree(tmp_path / 'data' / 'CUB_200_2011') == PLACED


def test_a_local_archive_of_the_published_name_is_compared(
    server, tmp_path, monkeypatch
):
    source = pack(FILES, tmp_path / 'CUB_200_2011.tgz')
    wrong = CUB.archives[0]._replace(checksum=f'md5:{32 * "0"}')
    monkeypatch.setattr(CUB, 'archives', (wrong,))
    words = f'{source} is not .* as published.* --allow-subset'
    with pytest.raises(ValueError, match=words):
        prepare(CUB, [source], tmp_path / 'data')
    assert not (tmp_path / 'data').exists()
    # A subset cannot have the published hash.
    assert prepare(CUB, [source], tmp_path / 'data', allow_subset=True).new


def test_a_wrong_hash_of_a_download_is_refused(server, tmp_path, monkeypatch):
    wrong = CUB.archives[0]._replace(checksum=f'md5:{32 * "0"}')
    monkeypatch.setattr(CUB, 'archives', (wrong,))
    with pytest.raises(ValueError, match='as published'):
        prepare(CUB, data_root=tmp_path)
    assert tree(tmp_path) == {}


def test_a_truncated_archive_leaves_nothing(source, tmp_path):
    os.truncate(source, source.stat().st_size // 2)
    with pytest.raises(ValueError, match='own.tar is damaged'):
        prepare(CUB, [source], tmp_path / 'data', allow_subset=True)
    assert os.listdir(tmp_path / 'data') == []


def test_too_little_room_is_seen_before_unpacking(
    source, tmp_path, monkeypatch
):
    needed = sum(map(len, PLACED.values()))
    usage = shutil.disk_usage(tmp_path)._replace(free=needed - 1)
    monkeypatch.setattr(disk.shutil, 'disk_usage', lambda _: usage)
    with pytest.raises(OSError) as error:
        prepare(CUB, [source], tmp_path / 'data', allow_subset=True)
    assert error.value.errno == errno.ENOSPC
    text = f'{needed:,} bytes and {needed - 1:,} are free'
    assert text in str(error.value) and '\n' not in str(error.value)
    assert os.listdir(tmp_path / 'data') == []


def test_a_disk_that_runs_full_leaves_nothing(source, tmp_path, monkeypatch):
    copy, copied = shutil.copyfileobj, []

    def run_full(stream, out, piece):
        if len(copied) == 3:
            raise OSError(errno.ENOSPC, 'No space left on device')
        copied.append(out.name)
        copy(stream, out, piece)

    monkeypatch.setattr(staging.shutil, 'copyfileobj', run_full)
    with pytest.raises(OSError, match='own.tar takes .* are free') as error:
        prepare(CUB, [source], tmp_path / 'data', allow_subset=True)
    assert error.value.errno == errno.ENOSPC and len(copied) == 3
    assert os.listdir(tmp_path / 'data') == []


NAME = 'images/002.Laysan_Albatross/0003.jpg'


def contradicting(tmp_path, monkeypatch):
    other = pack({f'CUB_200_2011/{NAME}': picture(9)}, tmp_path / 'b.tar')
    return [pack(FILES, tmp_path / 'a.tar'), other], f'b.tar .* {NAME} than'


def without_text(tmp_path, monkeypatch):
    files = FILES | {'CUB_200_2011/images.txt': b'\xff\xfe'}
    return [pack(files, tmp_path / 'a.tar')], 'images.txt is no text'


def without_image(tmp_path, monkeypatch):
    files = FILES | {f'CUB_200_2011/{NAME}': b'no image'}
    return [pack(files, tmp_path / 'a.tar')], f'{NAME} is corrupt: '


def without_room(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=0)
    monkeypatch.setattr(disk.shutil, 'disk_usage', lambda _: usage)
    return [pack(FILES, tmp_path / 'a.tar')], f'disk of {tmp_path}/data is'


@pytest.mark.parametrize(
    'case', [contradicting, without_text, without_image, without_room]
)
def test_errors_name_places_that_a_user_knows(tmp_path, monkeypatch, case):
    sources, words = case(tmp_path, monkeypatch)
    with pytest.raises((OSError, ValueError), match=words) as error:
        prepare(
            CUB,
            sources,
            tmp_path / 'data',
            allow_subset=True,
            verify_images=True,
        )
    assert '.partial' not in str(error.value)
    assert os.listdir(tmp_path / 'data') == []


def test_what_is_in_place_is_never_replaced(source, tmp_path):
    prepare(CUB, [source], tmp_path / 'data', allow_subset=True)
    files = {f'CUB_200_2011/{NAME}': picture(9)}
    other = pack(files, tmp_path / 'b.tar')
    place = tmp_path / 'data' / 'CUB_200_2011'
    told = rf'b.tar .* {NAME} than {place}\S*/{NAME}; remove that file'
    with pytest.raises(FileExistsError, match=told):
        prepare(CUB, [other], tmp_path / 'data', allow_subset=True)
    assert tree(place) == PLACED


def test_other_errors_of_the_disk_are_passed_on(source, tmp_path, monkeypatch):
    def fail(*_):
        raise PermissionError(errno.EACCES, 'Permission denied')

    monkeypatch.setattr(staging.shutil, 'copyfileobj', fail)
    with pytest.raises(PermissionError, match='Permission denied'):
        prepare(CUB, [source], tmp_path / 'data', allow_subset=True)


def test_what_an_interrupted_run_left_is_cleared(published, source, tmp_path):
    left = tmp_path / 'data' / '.CUB_200_2011.partial' / 'images'
    left.mkdir(parents=True)
    (left / 'half.jpg').write_bytes(b'half')
    prepare(CUB, [source], tmp_path / 'data')
    assert tree(tmp_path / 'data') == {
        f'CUB_200_2011/{name}': content for name, content in PLACED.items()
    }


@pytest.mark.parametrize('damage', ['truncated', 'no image'])
def test_corrupt_images_are_all_named_if_asked(published, tmp_path, damage):
    content = picture(1)[:-150] if damage == 'truncated' else b'no image'
    names = [name for name in FILES if '/images/' in name][1:3]
    source = pack(FILES | dict.fromkeys(names, content), tmp_path / 'x.tar')
    with pytest.raises(ValueError) as error:
        prepare(CUB, [source], tmp_path / 'a', verify_images=True)
    for name in names:
        assert f'{name.rpartition("/")[2]} is corrupt' in str(error.value)
    assert '2 problems' in str(error.value)
    assert os.listdir(tmp_path / 'a') == []
    # Once in place, they are found as well.
    prepare(CUB, [source], tmp_path / 'b')
    with pytest.raises(ValueError, match='is corrupt'):
        prepare(CUB, data_root=tmp_path / 'b', verify_images=True)


def test_whole_images_pass(published, source, tmp_path):
    assert prepare(CUB, [source], tmp_path / 'data', verify_images=True).new


def test_a_second_process_waits_for_the_first(published, source, tmp_path):
    """Both said that all was well, and files were missing."""
    root = tmp_path / 'data'
    root.mkdir()
    lock = FileLock(root / '.CUB_200_2011.lock')
    with ThreadPoolExecutor() as pool:
        second = pool.submit(prepare, CUB, [source], root)
        with pytest.raises(TimeoutError):
            second.result(timeout=0.7)
        assert os.listdir(root) == ['.CUB_200_2011.lock']
        lock.release()
        assert second.result(timeout=60).new == len(PLACED)
    assert os.listdir(root) == ['CUB_200_2011']
