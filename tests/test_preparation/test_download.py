"""Archives are fetched whole, taken up again, and checked."""

import errno
import hashlib
import os
import socket
import time
from pathlib import Path

import pytest

from epsd_mm.preparation import disk
from epsd_mm.preparation.download import download
from epsd_mm.preparation.layout import Archive
from tests.helpers.servers import serving

CONTENT = os.urandom(3_000_000)
MD5 = f'md5:{hashlib.md5(CONTENT).hexdigest()}'


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv('no_proxy', '*')


@pytest.fixture
def server():
    with serving({'a.tar': CONTENT}) as server:
        yield server


def archive(server, checksum=MD5):
    return Archive('a.tar', checksum, f'{server.url}/a.tar')


def test_it_comes_whole_and_only_once(server, tmp_path):
    path = download(archive(server), tmp_path / 'new' / 'folder')
    assert path == tmp_path / 'new' / 'folder' / 'a.tar'
    assert path.read_bytes() == CONTENT
    assert os.listdir(path.parent) == ['a.tar']
    assert download(archive(server), path.parent) == path
    assert server.ranges == [None]


def test_sha256_is_checked_too(server, tmp_path):
    sha256 = f'sha256:{hashlib.sha256(CONTENT).hexdigest()}'
    assert download(archive(server, sha256), tmp_path).exists()
    with pytest.raises(ValueError, match=sha256):
        download(archive(server, f'sha256:{64 * "0"}'), tmp_path / 'b')


def test_a_broken_connection_is_taken_up_again(server, tmp_path):
    server.breaks = [1_200_000, 500_000]
    path = download(archive(server), tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, 'bytes=1200000-', 'bytes=1700000-']


def test_the_next_run_asks_for_the_rest_only(server, tmp_path):
    (tmp_path / 'a.tar.part').write_bytes(CONTENT[:2_000_000])
    assert download(archive(server), tmp_path).read_bytes() == CONTENT
    assert server.ranges == ['bytes=2000000-']
    assert server.sent == 1_000_000


def test_a_server_without_ranges_starts_over(server, tmp_path):
    server.has_ranges = False
    (tmp_path / 'a.tar.part').write_bytes(CONTENT[:2_000_000])
    assert download(archive(server), tmp_path).read_bytes() == CONTENT


def test_what_was_whole_but_unchecked_is_not_fetched(server, tmp_path):
    (tmp_path / 'a.tar.part').write_bytes(CONTENT)
    assert download(archive(server), tmp_path).read_bytes() == CONTENT
    assert server.sent == 0


def test_more_than_the_whole_starts_over(server, tmp_path):
    (tmp_path / 'a.tar.part').write_bytes(CONTENT + b'more')
    assert download(archive(server), tmp_path).read_bytes() == CONTENT


def test_a_wrong_hash_is_refused_and_nothing_stays(server, tmp_path):
    wrong = f'md5:{32 * "0"}'
    with pytest.raises(ValueError) as error:
        download(archive(server, wrong), tmp_path)
    assert MD5 in str(error.value) and wrong in str(error.value)
    assert os.listdir(tmp_path) == []


def unreachable():
    """A port of this machine where nobody listens."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return f'http://127.0.0.1:{free.getsockname()[1]}/a.tar'


def test_without_network_one_sentence_comes_at_once(tmp_path):
    start = time.monotonic()
    with pytest.raises(OSError) as error:
        download(Archive('a.tar', MD5, unreachable()), tmp_path / 'data')
    assert time.monotonic() - start < 5
    text = str(error.value)
    assert 'cannot be downloaded' in text and '--source' in text
    assert '\n' not in text and '<' not in text
    assert os.listdir(tmp_path) == []


def test_a_name_that_cannot_be_resolved_likewise(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise socket.gaierror(-2, 'Name or service not known')

    monkeypatch.setattr(socket, 'getaddrinfo', fail)
    url = 'http://host.invalid/a.tar'
    with pytest.raises(OSError, match='Name or service not known'):
        download(Archive('a.tar', MD5, url), tmp_path)


def test_an_absent_file_is_told_from_an_absent_network(server, tmp_path):
    with pytest.raises(OSError, match='404'):
        download(Archive('b.tar', MD5, f'{server.url}/b.tar'), tmp_path)


def test_what_came_before_the_network_went_is_kept(tmp_path):
    part = tmp_path / 'a.tar.part'
    part.write_bytes(CONTENT[:1000])
    with pytest.raises(OSError, match='1,000 bytes are kept'):
        download(Archive('a.tar', MD5, unreachable()), tmp_path)
    assert part.read_bytes() == CONTENT[:1000]


def test_a_server_that_only_breaks_off_is_given_up(server, tmp_path):
    server.breaks = [0] * 100
    with pytest.raises(OSError, match='closed early'):
        download(archive(server), tmp_path)
    assert len(server.ranges) == 1


def test_too_little_room_is_seen_before_writing(server, tmp_path, monkeypatch):
    usage = disk.shutil.disk_usage(tmp_path)._replace(free=2_999_999)
    monkeypatch.setattr(disk.shutil, 'disk_usage', lambda _: usage)
    with pytest.raises(OSError) as error:
        download(archive(server), tmp_path)
    assert error.value.errno == errno.ENOSPC
    assert '3,000,000 bytes and 2,999,999 are free' in str(error.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='no /dev/full')
def test_a_disk_that_runs_full_is_told_from_the_network(server, tmp_path):
    (tmp_path / 'a.tar.part').symlink_to('/dev/full')
    with pytest.raises(OSError, match='too full.* 3,000,000 bytes') as error:
        download(archive(server), tmp_path)
    assert error.value.errno == errno.ENOSPC
    assert '\n' not in str(error.value)


def test_a_local_file_can_be_the_url(tmp_path):
    (tmp_path / 'there.tar').write_bytes(CONTENT)
    url = (tmp_path / 'there.tar').as_uri()
    path = download(Archive('a.tar', MD5, url), tmp_path / 'here')
    assert path.read_bytes() == CONTENT
