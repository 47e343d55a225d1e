"""What a user sees while a model is scored."""

import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager

from mmengine.dist import is_main_process
from mmengine.logging import MMLogger
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from epsd_mm.progress import at_terminal, bar, duration


@contextmanager
def scoring_progress(total: int, logger: MMLogger, plan: str = ''):
    """A bar with draw, loss and remaining time; the time in the log too.

    Where the output is no terminal, a line is logged for each draw, and at
    least one a minute.

    Args:
        total: Number of evaluations to come.
        logger: Takes the lines.
        plan: What makes that number, in words.

    Yields:
        A function of the draw and the loss, to call after each evaluation.
    """
    if not is_main_process() or not total:
        yield lambda draw, loss: None
        return
    noun = 'evaluation' if total == 1 else 'evaluations'
    logger.info(f'scoring: {total} {noun} of the loss to come{plan}')
    terminal = at_terminal()
    log = ScoringLog(total, logger, sparse=terminal)
    if not terminal:
        yield log
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
    with bar(*columns, total=total, draw=0, loss=float('nan')) as advance:

        def show(draw: int, loss: float) -> None:
            advance(1, draw=draw, loss=loss)
            log(draw, loss)

        yield show


def plan_in_words(factors: Mapping[str, int], shorter: Sequence[str]) -> str:
    """What a number of evaluations is made of, and what takes less time.

    Args:
        factors: Numbers whose product it is, by what they are.
        shorter: Settings that make an evaluation shorter, or fewer of them.
    """
    words = ' x '.join(text for text, factor in factors.items() if factor > 1)
    remedies = ['less of these'] if words else []
    remedies += shorter
    less = ', '.join(remedies or ['less images a batch'])
    return f' ({words + "; " if words else ""}takes less time with {less})'


class ScoringLog:
    """Logs how far scoring is and how long the rest will take.

    The way back of a criterion takes longer than its way forth, so that the
    time is a lower bound until one draw is complete.

    Args:
        total: Number of evaluations to come.
        logger: Takes the lines.
        sparse: Log the time only where it is first known.
        clock: Gives seconds.
    """

    def __init__(
        self,
        total: int,
        logger: MMLogger,
        sparse: bool = False,
        clock=time.monotonic,
    ) -> None:
        self.total = total
        self.logger = logger
        self.sparse = sparse
        self.clock = clock
        self.started = self.logged = clock()
        self.done = self.draws = 0
        self.draw: int | None = None

    def __call__(self, draw: int, loss: float) -> None:
        """To call when the loss of an evaluation is known."""
        self.done += 1
        begins, self.draw = draw != self.draw, draw
        self.draws += begins
        known = self.done == 2 or begins and self.draws == 2
        due = begins or self.clock() - self.logged >= 60
        if known or not self.sparse and (due or self.done == self.total):
            self.logged = self.clock()
            self.logger.info(
                f'scoring: draw {draw}, step {self.done} of {self.total}, '
                f'loss {loss:.4f}{self._left()}'
            )

    def _left(self) -> str:
        if self.done == 1 or self.done == self.total:
            return ''
        # The gradient, two thirds of an evaluation, follows the loss.
        complete = self.done - 2 / 3
        seconds = (self.clock() - self.started) / complete
        left = duration(seconds * (self.total - complete))
        return f', {"at least" if self.draws == 1 else "about"} {left} left'
