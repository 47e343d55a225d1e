"""Say at the end of a training what it has reached, and where it is."""

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner

from epsd_mm.analysis import ReportError, read_report
from epsd_mm.engine.checks import sharded_by, unwrapped
from epsd_mm.engine.scoring_job import peak_memory
from epsd_mm.evaluation.sparsity import prunable_sparsity, sparsity_text
from epsd_mm.pruning import Masks
from epsd_mm.quantities import kind_of
from epsd_mm.results import scores_of
from epsd_mm.shipped_files import command_of
from epsd_mm.tables import text_table

from .revival_hook import RevivalHook


@HOOKS.register_module()
class SummaryHook(Hook):
    """Puts a table at the end of a training's log.

    It has the metrics of the last evaluation, the zeros counted in the
    weights, time and memory, and where checkpoint, masks and log are.
    ``tools/train.py`` adds it to every run.
    """

    # After the last checkpoint is written.
    priority = 'LOWEST'

    _scores: dict[str, float] | None = None
    _scored_after = ''

    def before_train(self, runner: Runner) -> None:
        """Start the clock; scoring is over."""
        self._started, self._first = time.perf_counter(), runner.iter

    def after_val_epoch(
        self, runner: Runner, metrics: dict | None = None
    ) -> None:
        """Remember the metrics."""
        self._scores = scores_of(metrics or {})
        self._scored_after = _done(runner)

    def after_train(self, runner: Runner) -> None:
        """Write the table."""
        if not is_main_process():
            return
        rows = [*self._rows(runner)]
        width = 12 + sum(max(map(len, column)) for column in zip(*rows))
        table = text_table(
            'Summary', ('', ''), rows, align='ll', width=max(60, width)
        )
        runner.logger.info('\n' + table)

    def _rows(self, runner: Runner) -> Iterator[tuple[str, str]]:
        for name, value in (self._scores or {}).items():
            percent = ' %' if kind_of(name)[0] == '%' else ''
            yield name, f'{value:.4g}{percent} after {self._scored_after}'
        masks = _masks_of(runner)
        if not sharded_by(runner):
            yield 'sparsity', _sparsity(runner, masks)
        seconds = time.perf_counter() - self._started
        trained = f'{_done(runner)} in {timedelta(seconds=round(seconds))}'
        if self._first:
            trained += f', since iteration {self._first:,}'
        yield 'trained', trained
        folder = Path(runner.work_dir)
        if masks is not None:
            yield from _of_scoring(folder / 'epsd')
        device = next(runner.model.parameters()).device
        memory = peak_memory(device)
        yield (
            'peak memory',
            f'{memory["peak_memory"] / 2**30:.2f} GiB '
            f'({memory["peak_memory_of"]})',
        )
        saved = runner.message_hub.runtime_info.get('last_ckpt')
        yield 'checkpoint', str(saved or 'none was saved')
        yield 'log', str(Path(runner.log_dir) / f'{runner.timestamp}.log')
        yield 'as a page', command_of('show.py', folder)


def _of_scoring(folder: Path) -> Iterator[tuple[str, str]]:
    try:
        report = read_report(folder / 'report.json')
    except (OSError, ReportError):
        pass  # masks that were given have none
    else:
        scored = f'{report["seconds"]:.1f} s by {report["criterion"]}'
        yield 'scored', scored
    if (folder / 'masks.pth').is_file():
        yield 'masks', str(folder / 'masks.pth')


def _masks_of(runner: Runner) -> Masks | None:
    found = [h.masks for h in runner.hooks if isinstance(h, RevivalHook)]
    return next((masks for masks in found if masks is not None), None)


def _sparsity(runner: Runner, masks: Masks | None) -> str:
    model: Any = unwrapped(runner)
    names = None if masks is None else list(masks)
    found = prunable_sparsity(model, names)
    what = 'prunable weights'
    if masks is None:
        what = 'weights of convolution and linear layers'
    text = sparsity_text(
        found['kept'], found['total'], found['all_weights'], what
    )
    return text.removeprefix('sparsity ')


def _done(runner: Runner) -> str:
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        return f'epoch {runner.epoch:,}, iteration {runner.iter:,}'
    return f'iteration {runner.iter:,}'
