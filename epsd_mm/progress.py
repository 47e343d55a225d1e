"""What a user sees of work that takes a while."""

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
    ProgressColumn,
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
    if not at_terminal():
        yield _logging(doing, total, unit)
        return
    if unit == 'bytes':
        counted = (DownloadColumn(), TransferSpeedColumn())
    else:
        counted = (MofNCompleteColumn(), TextColumn(unit))
    # A field, since the name of a file is neither a format nor markup.
    what = TextColumn('{task.fields[doing]}', markup=False)
    columns = (what, BarColumn(), *counted, TimeRemainingColumn())
    with bar(*columns, total=total, doing=doing) as advance:
        yield advance


@contextmanager
def bar(
    *columns: ProgressColumn, total: int | None, **fields
) -> Iterator[Callable[..., None]]:
    """A line on stderr that is rewritten, and gone at the end.

    Args:
        *columns: What it is made of.
        total: How many units there will be, None where nobody knows.
        **fields: Values at first of what columns show as ``task.fields``.

    Yields:
        A function of the units done since its last call and of such values.
    """
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task('', total=total, **fields)
        yield lambda count, **now: shown.update(task, advance=count, **now)


def at_terminal() -> bool:
    """Whether somebody sees a line that is rewritten."""
    return sys.stderr.isatty()


def duration(seconds: float) -> str:
    """In the units that one would say: ``45 s``, ``12 min``, ``1 h 5 min``."""
    if seconds < 90:
        return f'{seconds:.0f} s'
    minutes = round(seconds / 60)
    if minutes < 90:
        return f'{minutes} min'
    return f'{minutes // 60} h {minutes % 60} min'


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
