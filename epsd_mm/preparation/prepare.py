"""Put a data set into place: fetched or from this machine, and checked."""

import errno
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from mmengine.logging import MMLogger

from epsd_mm.locks import FileLock, LocksUnsupportedError, wait_for_lock

from .check import check
from .download import download, verify
from .layout import Count, Layout, Overlay
from .staging import move, stage


class Prepared(NamedTuple):
    """What is in place now.

    Attributes:
        counts: The parts found.
        new: Number of files that were not there before.
    """

    counts: list[Count]
    new: int


def prepare(
    layout: Layout,
    sources: Sequence[str | Path] = (),
    data_root: str | Path = 'data',
    *,
    allow_subset: bool = False,
    verify_images: bool = False,
) -> Prepared:
    """Put a data set into ``<data_root>/<layout.folder>`` and check it.

    Where the published data set is in place, nothing else is done. Files are
    unpacked into a folder beside their place, checked together with what is
    there already, and only then moved in. A second process that prepares the
    same data set waits for the first.

    Args:
        layout: The data set.
        sources: Archives or folders on this machine. Without any, what is
            missing is downloaded into ``<data_root>/downloads``, and removed
            from there once it is in place.
        data_root: Folder of all data sets. Defaults to ``data``.
        allow_subset: Accept other counts and other files than the published
            ones.
        verify_images: Decode every image.

    Returns:
        What is in place now.

    Raises:
        FileNotFoundError: A source does not exist or does not hold the data
            set, or there is none and it cannot be downloaded.
        FileExistsError: A file is there already with other content.
        OSError: The network or the disk does not allow it.
        ValueError: An archive is damaged, unsafe or not the published one, or
            the data set is incomplete. Nothing was put into place.
    """
    sources = [Path(source) for source in sources]
    for source in sources:
        if not source.exists():
            raise FileNotFoundError(
                f'{source} does not exist: name an archive or folder of '
                f'{layout.title} on this machine'
            )
    # A place that is a link to another disk is filled over there.
    target = (Path(data_root) / layout.folder).resolve()
    with _alone(target) as made:
        return _prepare(
            layout,
            sources,
            Path(data_root),
            target,
            made,
            allow_subset,
            verify_images,
        )


@contextmanager
def _alone(target: Path) -> Iterator[list[Path]]:
    """Wait while another process fills the same place.

    Yields:
        Folders that were made for the lock, to be removed again.
    """
    made = [
        f for f in (target.parent, *target.parent.parents) if not f.exists()
    ]
    lock = _lock(target)
    try:
        yield made
    finally:
        if lock is not None:
            lock.release()
        for folder in made:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def _lock(target: Path) -> FileLock | None:
    logger = MMLogger.get_current_instance()
    path = target.with_name(f'.{target.name}.lock')

    def say(who: str) -> None:
        logger.warning(
            f'{target} is being prepared already ({who}): waiting for it'
        )

    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return wait_for_lock(path, say)
        except FileNotFoundError:
            continue  # another process has removed the folder, as it was empty
        except LocksUnsupportedError as error:
            logger.warning(f'{error}: do not prepare {target} twice at once')
            return None
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise
            return None  # nobody fills it, but what is there can be checked


_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


def _prepare(
    layout: Layout,
    sources: Sequence[Path],
    data_root: Path,
    target: Path,
    made: list[Path],
    allow_subset: bool,
    verify_images: bool,
) -> Prepared:
    options = dict(allow_subset=allow_subset, verify_images=verify_images)
    if _is_settled(layout, target, allow_subset and not sources):
        return Prepared(check(layout, target, **options), 0)
    fetched = []
    if not sources:
        fetched = _download(layout, target, data_root / 'downloads')
    elif not allow_subset:
        _verify(layout, sources)
    staging = target.with_name(f'.{target.name}.partial')
    made.clear()  # sources are at hand, so that they will be needed
    staging.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(staging, ignore_errors=True)
    try:
        stage(layout, sources or fetched, staging, target)
        counts = check(layout, target, staging, **options)
        new = move(staging, target)
    except (FileNotFoundError, ValueError):
        _discard_unverified(layout, fetched)
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    for path in fetched:
        _remove(path)
    return Prepared(counts, new)


def _discard_unverified(layout: Layout, fetched: Sequence[Path]) -> None:
    """Let the next run fetch anew what came without a hash, and was wrong."""
    without = {a.name for a in layout.archives if a.checksum is None}
    for path in fetched:
        if path.name in without:
            _remove(path)


def _remove(path: Path) -> None:
    path.unlink()
    if not any(path.parent.iterdir()):
        path.parent.rmdir()


def _is_settled(layout: Layout, target: Path, subset_will_do: bool) -> bool:
    """Whether nothing has to be added to what is in place."""
    found, problems = layout.inspect(Overlay(target))
    if subset_will_do:
        return any(found.values())
    return not problems and found == layout.published


def _download(layout: Layout, target: Path, folder: Path) -> list[Path]:
    if not any(archive.url for archive in layout.archives):
        raise FileNotFoundError(layout.advice)
    found = layout.inspect(Overlay(target)).counts
    for part, published in layout.published.items():
        if 0 < found.get(part, 0) != published:
            raise ValueError(
                f'{target} holds {found[part]:,} of {published:,} {part}: '
                '--allow-subset accepts that, --source adds to it, and '
                'another --data-root is filled with the published set'
            )
    missing = [
        archive
        for archive in layout.archives
        if not all(found.get(p) for p in archive.parts or layout.published)
    ]
    # With all parts there, files of any of them may be missing.
    return [download(a, folder) for a in missing or layout.archives]


def _verify(layout: Layout, sources: Sequence[Path]) -> None:
    """Check the hashes of those sources that have a published archive's name.

    Raises:
        ValueError: A hash is another one.
    """
    archives = {archive.name: archive for archive in layout.archives}
    for source in sources:
        if source.is_file() and source.name in archives:
            try:
                verify(source, archives[source.name])
            except ValueError as error:
                raise ValueError(
                    f'{error}, or accept it with --allow-subset'
                ) from None
