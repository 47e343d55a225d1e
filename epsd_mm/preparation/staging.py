"""Unpack beside the place, and move into place what is whole."""

import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from epsd_mm.progress import progress

from .archives import damage_named, members, unpacked_bytes
from .disk import full_disk_named, require_space
from .layout import Layout

_PIECE = 1 << 20


def stage(
    layout: Layout, sources: Sequence[Path], staging: Path, target: Path
) -> None:
    """Write what ``target`` lacks of the sources into ``staging``.

    Raises:
        FileNotFoundError: A source holds nothing of the data set.
        FileExistsError: A file is there already with other content.
        OSError: The disk is too full.
        ValueError: An archive is damaged or unsafe.
    """
    staging.mkdir()
    for source in sources:

        def needed(source: Path = source) -> int:
            return unpacked_bytes(source, lambda n: _is_wanted(layout, n))

        doing = f'unpacking {source.name}'
        with (
            damage_named(source),
            full_disk_named(target.parent, needed, doing),
            progress(doing, None, 'files') as advance,
        ):
            if not target.exists():
                require_space(target.parent, needed(), doing)
            found = False
            for member in members(source, nested=layout.nested):
                place = layout.place(member.name)
                if place is None:
                    continue
                found = True
                with member.open() as stream:
                    if not _is_there(place, stream, source, staging, target):
                        _write(stream, staging / place)
                advance(1)
        if not found:
            raise FileNotFoundError(
                f'{source} holds no {layout.title}: {layout.expects}'
            )
    layout.arrange(staging, target)


def settle(
    path: Path, name: PurePosixPath, staging: Path, target: Path
) -> None:
    """Rename a staged file, or drop it where the same is in place already.

    Raises:
        FileExistsError: Another file is in its place.
    """
    with path.open('rb') as stream:
        there = _is_there(name, stream, 'one of the sources', staging, target)
    if there:
        path.unlink()
        return
    (staging / name).parent.mkdir(parents=True, exist_ok=True)
    path.rename(staging / name)


def move(staging: Path, target: Path) -> int:
    """Move ``staging`` into ``target``; the number of files.

    Lists move last, so that an interruption never leaves one that names
    absent images.
    """
    files = [path for path in staging.rglob('*') if path.is_file()]
    if not target.exists() and files:
        staging.rename(target)
        return len(files)
    for path in sorted(files, key=lambda p: p.suffix == '.txt'):
        place = target / path.relative_to(staging)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
    return len(files)


def _is_wanted(layout: Layout, name: PurePosixPath) -> bool:
    inner = layout.nested and name.suffix == '.tar'
    return inner or layout.place(name) is not None


def _is_there(
    name: PurePosixPath,
    stream: BinaryIO,
    source: Path | str,
    staging: Path,
    target: Path,
) -> bool:
    """Whether a file is there already, with the content of ``stream``.

    Raises:
        FileExistsError: It is there with another content.
    """
    others = (
        (
            target,
            f'{target / name}; remove that file, or choose another '
            '--data-root',
        ),
        (staging, 'what was unpacked before it; leave one of the two out'),
    )
    for folder, other in others:
        if (folder / name).exists():
            if _is_same(folder / name, stream):
                return True
            raise FileExistsError(
                f'{source} holds another {name} than {other}'
            )
    return False


def _is_same(place: Path, stream: BinaryIO) -> bool:
    with place.open('rb') as present:
        while piece := present.read(_PIECE):
            if piece != stream.read(_PIECE):
                return False
    return not stream.read(1)


def _write(stream: BinaryIO, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open('wb') as out:
        shutil.copyfileobj(stream, out, _PIECE)
