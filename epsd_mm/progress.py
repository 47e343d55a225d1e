"""What a user sees while files are fetched, unpacked and checked."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mmengine.logging import MMLogger
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


@contextmanager
def progress(
    doing: str, total: int | None, unit: str
) -> Iterator[Callable[[int], None]]:
    """A bar, or a logged line each tenth where stderr is no terminal.

    Args:
        doing: What is being done, as in ``'downloading a.tar'``.
        total: How many units there will be, None where nobody knows.
        unit: ``'bytes'``, ``'files'``, …

    Yields:
        A function of the units done since its last call.
    """
    if not sys.stderr.isatty():
        yield _logging(doing, total, unit)
        return
    if unit == 'bytes':
        counted = (DownloadColumn(), TransferSpeedColumn())
    else:
        counted = (MofNCompleteColumn(), TextColumn(unit))
    columns = (TextColumn(doing), BarColumn(), *counted, TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task('', total=total)
        yield lambda count: bar.update(task, advance=count)


def _logging(
    doing: str, total: int | None, unit: str
) -> Callable[[int], None]:
    logger = MMLogger.get_current_instance()
    logger.info(doing + (f': {total:,} {unit}' if total else ''))
    done, told = 0, 0

    def advance(count: int) -> None:
        nonlocal done, told
        done += count
        tenth = 10 * done // total if total else 0
        if tenth > told:
            told = tenth
            logger.info(f'{doing}: {done:,} of {total:,} {unit}')

    return advance
