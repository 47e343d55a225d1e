"""What a user sees while a model is scored."""

import sys
from collections.abc import Callable
from contextlib import contextmanager

from mmengine.dist import is_main_process
from mmengine.logging import MMLogger
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


@contextmanager
def scoring_progress(total: int, logger: MMLogger):
    """A bar with draw, loss and remaining time.

    Where the output is no terminal, a line is logged for each draw.

    Args:
        total: Number of evaluations to come.
        logger: Takes the lines.

    Yields:
        A function of the draw and the loss, to call after each evaluation.
    """
    if not is_main_process() or not total:
        yield lambda draw, loss: None
        return
    if not sys.stderr.isatty():
        yield _logging(total, logger)
        return
    columns = (
        TextColumn('scoring: draw {task.fields[draw]}'),
        BarColumn(),
        TextColumn('step'),
        MofNCompleteColumn(),
        TextColumn('loss {task.fields[loss]:.4f}'),
        TimeElapsedColumn(),
        TextColumn('left'),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task('', total=total, draw=0, loss=float('nan'))
        yield lambda draw, loss: bar.update(
            task, advance=1, draw=draw, loss=loss
        )


def _logging(total: int, logger: MMLogger) -> Callable[[int, float], None]:
    done, last = 0, None

    def log(draw: int, loss: float) -> None:
        nonlocal done, last
        done += 1
        if draw != last or done == total:
            last = draw
            logger.info(
                f'scoring: draw {draw}, step {done} of {total}, '
                f'loss {loss:.4f}'
            )

    return log
