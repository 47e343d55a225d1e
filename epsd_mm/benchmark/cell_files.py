"""What reports read of the folders of cells, in one archive."""

import gzip
import re
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

from epsd_mm.files import atomic_write
from epsd_mm.run_files import MASKS, PREDICTIONS, REPORT

from .suite_folder import SuiteFolder

_FILES = MASKS, REPORT, f'pruned/{REPORT}', PREDICTIONS
# In an archive; all of a folder that is not so named stays where it is.
_NAME = re.compile(
    rf'([0-9a-f]+)/({"|".join(map(re.escape, _FILES))}'
    r'|[\w-]+/vis_data/scalars\.json)'
)
_DAMAGED = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError)
_DAMAGED += (OverflowError, ValueError)


def pack_cells(folder: SuiteFolder, path: str | Path) -> int:
    """Write what reports read of the folders of finished cells.

    Masks, what scoring and training have logged, and predictions; no
    weights. Of the same files it makes the same bytes.

    Args:
        folder: Of a suite.
        path: The archive, a ``.tar.gz``.

    Returns:
        The number of cells that have left such files.
    """
    packed = 0
    with (
        atomic_write(path) as file,
        gzip.GzipFile(fileobj=file, mode='wb', filename='', mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode='w') as archive,
    ):
        for key in sorted(folder.entries('finished')):
            work_dir = folder.work_dir(key)
            names = _names(work_dir)
            for name in names:
                member, path = tarfile.TarInfo(name), work_dir.parent / name
                member.size = path.stat().st_size
                with open(path, 'rb') as content:
                    archive.addfile(member, content)
            packed += bool(names)
    return packed


def _names(work_dir: Path) -> list[str]:
    """What reports read of a cell's folder, as an archive names it."""
    paths = (path for path in sorted(work_dir.rglob('*')) if path.is_file())
    names = (path.relative_to(work_dir.parent).as_posix() for path in paths)
    return [name for name in names if _NAME.fullmatch(name)]


class Unpacked(NamedTuple):
    """What became of the cells of an archive.

    Attributes:
        taken: Number of those whose files are here now.
        kept: Those that had a folder here already.
        unknown: Those that have no result here.
    """

    taken: int
    kept: int
    unknown: int


def unpack_cells(folder: SuiteFolder, path: str | Path) -> Unpacked:
    """Put the files of an archive where the report of a suite looks for them.

    Cells that have a folder here already keep it as it is, and those that
    have no result here get none.

    Args:
        folder: Of a suite that knows the results of these cells.
        path: An archive that :func:`pack_cells` wrote.

    Raises:
        OSError: The archive cannot be read.
        ValueError: It is damaged, something else, or of another suite;
            nothing was unpacked.
    """
    finished = folder.entries('finished').keys()
    kept = {key for key in finished if folder.work_dir(key).exists()}
    cells = folder.folder / 'cells'
    cells.mkdir(parents=True, exist_ok=True)
    draft = Path(mkdtemp(prefix='.import-', dir=cells))
    try:
        with _told_by_name(path):
            keys = _unpack(path, draft, finished - kept)
        if not keys & folder.keys:
            raise ValueError(
                f'none of the {len(keys)} cells of {path} is one of the '
                'suite, and nothing was unpacked: name the suite that it '
                'was exported from'
            )
        found = list(draft.iterdir())
        for each in found:
            each.rename(folder.work_dir(each.name))
        here = len(keys & kept)
        return Unpacked(len(found), here, len(keys) - len(found) - here)
    finally:
        shutil.rmtree(draft)


def _unpack(path: str | Path, folder: Path, wanted: Set[str]) -> set[str]:
    """Write the files of the wanted cells; the keys of all."""
    _check_sum(path)
    keys = set()
    with tarfile.open(path, 'r:gz') as archive:
        for member in archive:
            name = _NAME.fullmatch(member.name)
            if name is None or not member.isfile() or member.issparse():
                raise tarfile.TarError(
                    f'it holds {member.name!r}, which no report reads'
                )
            keys.add(name[1])
            if name[1] in wanted:
                target = folder / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                with open(target, 'wb') as file:
                    shutil.copyfileobj(archive.extractfile(member), file)
    return keys


def _check_sum(path: str | Path) -> None:
    """Read to the end, where the checksum is, before which tar stops."""
    with gzip.open(path) as content:
        while content.read(1 << 20):
            pass


@contextmanager
def _told_by_name(path: str | Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise ValueError(
            f'{path} is damaged, or not what `benchmark.py export --files` '
            f'wrote ({error}); nothing of it was unpacked: name a cells.tar.gz'
        ) from error
