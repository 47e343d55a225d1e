"""Fetch an archive, go on where a fetch was broken off, check its hash."""

import hashlib
import ssl
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from epsd_mm.progress import progress

from .disk import full_disk_named, require_space
from .layout import Archive

_PIECE = 1 << 20
_TIMEOUT = 20  # seconds without a byte
# What a network raises; a disk raises other kinds of OSError.
_BROKEN = (
    URLError,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
    HTTPException,
)


def download(archive: Archive, folder: str | Path) -> Path:
    """Fetch an archive into a folder.

    Until its hash is checked it is named ``*.part``. What is there of it is
    kept when the connection breaks, and the next call asks for the rest only.
    An archive that has no published hash is checked by what it holds.

    Args:
        archive: What to fetch.
        folder: Where to; made if it does not exist.

    Returns:
        The archive. One that is there already is not fetched again.

    Raises:
        OSError: The network or the disk does not allow it.
        ValueError: What came does not have the published hash; it is removed.
    """
    folder = Path(folder)
    path = folder / archive.name
    if path.exists():
        return path
    part = folder / f'{archive.name}.part'
    _complete(archive, part)
    try:
        verify(part, archive)
    except ValueError:
        part.unlink()
        raise
    return part.replace(path)


def verify(path: Path, archive: Archive) -> None:
    """Compare an archive's hash with the published one, if there is one.

    Raises:
        ValueError: They differ.
    """
    if archive.checksum is None:
        return
    found = checksum(path, archive.checksum.partition(':')[0])
    if found != archive.checksum:
        raise ValueError(
            f'{path} is not {archive.name} as published: its {found} should '
            f'be {archive.checksum}; it is damaged or another version, so '
            'download it again'
        )


def checksum(path: Path, algorithm: str) -> str:
    """The hash of a file, as ``'md5:…'``."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    size = path.stat().st_size
    with (
        path.open('rb') as stream,
        progress(f'checking {path.name}', size, 'bytes') as advance,
    ):
        while piece := stream.read(_PIECE):
            digest.update(piece)
            advance(len(piece))
    return f'{algorithm}:{digest.hexdigest()}'


def _complete(archive: Archive, part: Path) -> None:
    while True:
        before = _size(part)
        try:
            if _fetch(archive, part):
                return
            reason = 'the connection was closed early'
        except _BROKEN as error:
            reason = error
            if isinstance(error, URLError) and not isinstance(
                error, HTTPError
            ):
                reason = error.reason
        # As long as each attempt brings something, the next one may too.
        if _size(part) <= before:
            raise OSError(_failure(archive, part, reason))


def _fetch(archive: Archive, part: Path) -> bool:
    """Append to ``part``, and tell whether it is whole now."""
    have = _size(part)
    headers = {'User-Agent': 'epsd_mm'}
    if have:
        headers['Range'] = f'bytes={have}-'
    try:
        request = Request(archive.url, headers=headers)
        response = urlopen(request, timeout=_TIMEOUT)
    except HTTPError as error:
        if not have or error.code != 416:
            raise
        # Nothing comes after these bytes: they are all, or another file's.
        if error.headers.get('Content-Range') == f'bytes */{have}':
            return True
        part.unlink()
        return _fetch(archive, part)
    part.parent.mkdir(parents=True, exist_ok=True)
    with response:
        if response.status != 206:
            have = 0  # the whole file comes, whatever was asked for
        length = response.headers.get('Content-Length')
        total = have + int(length) if length else None
        doing = f'downloading {archive.name}'
        if total:
            require_space(part.parent, total - have, doing)
        with (
            full_disk_named(
                part.parent, lambda: (total or have) - have, doing
            ),
            part.open('ab' if have else 'wb') as out,
            progress(doing, total, 'bytes') as advance,
        ):
            advance(have)
            while piece := response.read(_PIECE):
                out.write(piece)
                advance(len(piece))
    return total is None or _size(part) == total


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _failure(archive: Archive, part: Path, reason: object) -> str:
    kept = _size(part)
    kept = f'; {kept:,} bytes are kept for the next run' if kept else ''
    return (
        f'{archive.url} cannot be downloaded ({reason}): see to the network, '
        f'or name a copy of {archive.name} with --source{kept}'
    )
