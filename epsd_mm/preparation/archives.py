"""Read the files of an archive or folder, and refuse what is not safe."""

import gzip
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

# What reading a damaged archive raises; RuntimeError where a zip needs a
# password or a method that Python does not have.
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    RuntimeError,
)


class Member(NamedTuple):
    """A regular file of an archive or folder.

    Attributes:
        name: Its path in there; that of a folder starts with the folder's
            name.
        size: Its bytes.
        open: Opens it, while it is the current one.
    """

    name: PurePosixPath
    size: int
    open: Callable[[], BinaryIO]


def members(source: Path, *, nested: bool = False) -> Iterator[Member]:
    """The files of a tar (compressed too), zip, folder or single list.

    Hidden files are left out: they are what file managers leave behind.

    Args:
        source: An archive, a folder, or a text file, which stands for itself.
        nested: Also read the tar archives inside; the files of ``a.tar`` are
            then named ``a.tar/…``. Defaults to False.

    Yields:
        The members one after the other; a member is to be read before the
        next one is asked for.

    Raises:
        ValueError: The source is no archive, or holds a link, a device or a
            name that points outside. What a damaged archive raises depends
            on its format, see ``damage_named``.
    """
    for member in _members(source):
        if any(part.startswith('.') for part in member.name.parts):
            continue
        if nested and member.name.suffix == '.tar':
            yield from _nested(source, member)
        else:
            yield member


def unpacked_bytes(
    source: Path, wanted: Callable[[PurePosixPath], bool]
) -> int:
    """How much room the wanted files of a source take at least.

    Compressed tar archives do not say: their own size is the answer.
    """
    if source.is_file() and _is_compressed_tar(source):
        return source.stat().st_size
    return sum(m.size for m in _members(source) if wanted(m.name))


@contextmanager
def damage_named(source: Path) -> Iterator[None]:
    """Turn what a damaged archive raises into a ValueError that names it."""
    try:
        yield
    except _DAMAGED as error:
        raise ValueError(
            f'{source} is damaged ({error}): download it again'
        ) from error


def _members(source: Path) -> Iterator[Member]:
    if source.is_dir():
        return _folder_members(source)
    if source.suffix == '.txt':
        return iter([_plain_member(source, PurePosixPath(source.name))])
    if zipfile.is_zipfile(source):
        return _zip_members(source)
    if tarfile.is_tarfile(source):
        return _tar_members(source)
    with source.open('rb') as stream:
        if stream.read(4) == b'PK\3\4':
            raise ValueError(
                f'{source} is damaged (the end of the zip is missing): '
                'download it again'
            )
    raise ValueError(
        f'{source} is neither a tar nor a zip archive, or is damaged: '
        'download it again'
    )


class _Header(tarfile.TarInfo):
    """A header that ends an archive only where it is a block of zeros.

    Behind the first member, tarfile takes one that is absent, cut off or
    damaged for the end, too.
    """

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.InvalidHeaderError as error:
            raise tarfile.ReadError(f'a header of it has a {error}') from error
        except tarfile.HeaderError as error:
            raise tarfile.ReadError('its end is missing') from error


def _is_compressed_tar(source: Path) -> bool:
    if zipfile.is_zipfile(source) or not tarfile.is_tarfile(source):
        return False
    try:
        tarfile.open(source, 'r:').close()
    except tarfile.ReadError:
        return True
    return False


def _plain_member(path: Path, name: PurePosixPath) -> Member:
    return Member(name, path.stat().st_size, lambda: path.open('rb'))


def _folder_members(source: Path) -> Iterator[Member]:
    top = source.resolve()
    for folder, folders, names in os.walk(top):
        folders[:] = sorted(f for f in folders if not f.startswith('.'))
        for name in folders + sorted(names):
            path = Path(folder, name)
            if path.is_symlink():
                raise _unsafe(source, str(path), 'is a link')
            if path.is_file():
                inside = PurePosixPath(top.name, *path.relative_to(top).parts)
                yield _plain_member(path, inside)


def _tar_members(
    source: Path, stream: BinaryIO | None = None
) -> Iterator[Member]:
    # A member of another archive cannot be sought in, so it is streamed.
    how = dict(mode='r|*', fileobj=stream) if stream else dict(name=source)
    with tarfile.open(**how, tarinfo=_Header) as archive:
        for member in archive:
            _refuse_unsafe_name(source, member.name)
            if member.isdir():
                continue
            if not member.isfile():
                raise _unsafe(source, member.name, 'is a link or device')
            yield Member(
                PurePosixPath(member.name),
                member.size,
                lambda member=member: archive.extractfile(member),
            )


def _zip_members(source: Path) -> Iterator[Member]:
    with zipfile.ZipFile(source) as archive:
        for member in archive.infolist():
            _refuse_unsafe_name(source, member.filename)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _unsafe(source, member.filename, 'is a link or device')
            if not member.is_dir():
                yield Member(
                    PurePosixPath(member.filename),
                    member.file_size,
                    lambda member=member: archive.open(member),
                )


def _nested(source: Path, outer: Member) -> Iterator[Member]:
    with outer.open() as stream:
        for member in _tar_members(source / outer.name, stream):
            member = member._replace(name=outer.name / member.name)
            if member.name.suffix == '.tar':
                yield from _nested(source, member)
            else:
                yield member


def _refuse_unsafe_name(source: Path, name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or '..' in path.parts or '\\' in name:
        raise _unsafe(source, name, 'points outside the archive')


def _unsafe(source: Path, name: str, reason: str) -> ValueError:
    return ValueError(
        f'{source} is refused: {name!r} {reason}; nothing was unpacked into '
        'place. Take the published archive'
    )
