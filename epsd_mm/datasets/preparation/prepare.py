"""Put a data set into place: fetched or from this machine, and checked."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

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
    there already, and only then moved in.

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
    options = dict(allow_subset=allow_subset, verify_images=verify_images)
    # A place that is a link to another disk is filled over there.
    target = (Path(data_root) / layout.folder).resolve()
    if _is_settled(layout, target, allow_subset and not sources):
        return Prepared(check(layout, target, **options), 0)
    fetched = []
    if not sources:
        fetched = _download(layout, target, Path(data_root) / 'downloads')
    elif not allow_subset:
        _verify(layout, sources)
    staging = target.with_name(f'.{target.name}.partial')
    staging.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(staging, ignore_errors=True)
    try:
        stage(layout, sources or fetched, staging, target)
        counts = check(layout, target, staging, **options)
        new = move(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    for path in fetched:
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    return Prepared(counts, new)


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
