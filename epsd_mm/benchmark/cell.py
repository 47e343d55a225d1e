"""One cell: an ordinary training, checked and measured at its end.

    python -m epsd_mm.benchmark.cell WORK_DIR

``WORK_DIR/cell.json`` says what to run; ``WORK_DIR/result.json`` is written
when all of it is done. A run that was interrupted goes on from its last
checkpoint. One process at a time works on a cell; another waits for a while,
and finds it done, or says that it is not.
"""

import json
import platform
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

# The package repairs broken environments, so it is imported first.
import epsd_mm

# isort: split
import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.runner import Runner, find_latest_checkpoint

from epsd_mm.check_env import installed_versions, version_of
from epsd_mm.earlier_runs import training_length
from epsd_mm.engine.checks import unwrapped
from epsd_mm.engine.runner import complete
from epsd_mm.engine.safe_loading import (
    CheckpointError,
    code_refused,
    load_values,
)
from epsd_mm.engine.saved_state import SavedState
from epsd_mm.engine.scoring_data import scoring_batches
from epsd_mm.engine.settings import settings_of
from epsd_mm.locks import FileLock, LockedError, LocksUnsupportedError
from epsd_mm.processors import processor
from epsd_mm.quantities import Quantity
from epsd_mm.results import Log, read_result
from epsd_mm.runs import RECIPE_VERSION, Run, key_of
from epsd_mm.training import StartError, train

from .compact_cell import made_compact, removes_channels
from .earlier_cells import after_earlier
from .jobs import BUSY, end_with_parent
from .own_checkpoints import can_resume
from .predictions_hook import PredictionsHook
from .result_file import read_result_file, write_result
from .rewind_hook import RewindHook, RewoundHook, forget_later
from .saved_weights import UnfairError, figures_of_saved
from .scored_apart import lent_masks
from .sparse_work import training_work
from .start_hook import StartHook
from .student_cell import student_figures
from .suite_folder import RESULT, SPEC

#: Seconds that a process waits for another one at the same cell.
_PATIENCE = 60.0
_PACKAGES = ('torch', 'torchvision', 'numpy', 'mmengine', 'mmcv', 'mmdet')
_PACKAGES += ('mmpretrain',)


def main() -> None:
    work_dir = Path(sys.argv[1])
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        lock = _lock(work_dir)
    except LockedError as error:
        print_log(f'{error} still works on this cell')
        sys.exit(BUSY)
    try:
        if not is_done(work_dir):
            run(work_dir)
    except (UnfairError, StartError, CheckpointError) as error:
        raise SystemExit(f'error: {error}') from None
    finally:
        if lock is not None:
            lock.release()


def run(work_dir: Path) -> None:
    """Run the cell of a folder to its end, from where it was.

    Raises:
        UnfairError: Its result must not be compared.
        StartError: It cannot start; see :func:`~epsd_mm.training.train`.
        CheckpointError: What it starts from cannot be loaded.
    """
    spec = json.loads((work_dir / SPEC).read_text())
    cfg = config_of(spec)
    cfg.work_dir, cfg.launcher = str(work_dir), 'none'
    _log_what_is_counted(cfg)
    _forget_unevaluated_end(cfg)
    hooks = [PredictionsHook()]
    if steps := spec.get('rewinds'):
        unit, _ = training_length(cfg)
        forget_later(work_dir, unit, steps)
        hooks.append(RewindHook(unit, steps))
    asked = Run(**spec['run'])
    if cfg.get('load_from') is not None and not removes_channels(cfg):
        hooks.append(StartHook(whole=asked.weights_of is not None))
    if asked.rewound_to is not None:
        hooks.append(RewoundHook())
    whole = not any(work_dir.glob('*/vis_data'))
    started = time.perf_counter()
    with code_refused():
        trained = _prepared(cfg, asked)
        trained.resume = can_resume(work_dir)
        if trained.resume:
            trained.load_from = None
        runner = train(complete(trained), *hooks)
    seconds = time.perf_counter() - started
    result = measured(cfg, asked)
    made = _iterations(cfg, runner, asked.rewound_to or 0)
    result['training/iterations'] = Quantity(made)
    result |= _training_work(cfg, runner)
    if spec['run'].get('narrow'):
        result |= student_figures(trained, runner)
    if whole:  # of a run that goes on nobody knows what it has cost
        result['training/seconds'] = Quantity.of('training/seconds', seconds)
    write_result(work_dir, result, environment())
    _remove_earlier_checkpoints(work_dir)


def _prepared(cfg: Config, run: Run) -> Config:
    """The config to train by, after what is scored apart."""
    cfg = after_earlier(cfg, Path(cfg.work_dir).parent)
    if run.masks_of is not None:
        return lent_masks(cfg, run)
    if removes_channels(cfg):
        return made_compact(cfg, whole=run.weights_of is not None)
    return cfg


def is_done(work_dir: Path) -> bool:
    """Whether a cell has a result; one that is damaged is set aside."""
    try:
        read_result_file(work_dir)
    except FileNotFoundError:
        return False
    except ValueError as error:
        print_log(f'{error}: set aside, and the cell goes on')
        (work_dir / RESULT).replace(work_dir / f'{RESULT}.damaged')
        return False
    return True


def config_of(spec: dict[str, Any]) -> Config:
    """The config of a cell.

    Raises:
        UnfairError: The key is another one than when the cell was made.
    """
    cfg = Run(**spec['run']).resolve()
    if key_of(cfg) != spec['key']:
        raise UnfairError(
            f'the config of {spec["name"]!r} is another one than when the '
            f'suite was started: its key was {spec["key"]} and is '
            f'{key_of(cfg)}. Start the suite again, which makes a new cell'
        )
    return cfg


def measured(cfg: Config, run: Run) -> dict[str, Quantity]:
    """The result of a finished cell, once it is known to be fair.

    Raises:
        UnfairError: The last step was not evaluated, or the saved weights
            are not as sparse as was asked.
    """
    work_dir = Path(cfg.work_dir)
    _check_last_step_was_evaluated(cfg, Log.of(work_dir))
    result = read_result(work_dir)
    result['training/peak_memory'] = Quantity(peak_memory(), 'B')
    lender = run.masks_of and run.masks_of.resolve()
    result |= figures_of_saved(cfg, lender)
    return result


def environment() -> dict[str, Any]:
    """Versions of code and stack, and the machine."""
    installed = installed_versions()
    return dict(
        epsd_mm=epsd_mm.__version__,
        commit=_commit(),
        recipe_version=RECIPE_VERSION,
        python=platform.python_version(),
        machine=platform.machine(),
        processor=processor(),
        threads=torch.get_num_threads(),
        device=torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else 'cpu',
        **{name: version_of(name, installed) for name in _PACKAGES},
    )


def peak_memory() -> int:
    """Most memory that this process has had, and its largest worker."""
    own, workers = (
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return 1024 * (own + workers)


def _lock(work_dir: Path) -> FileLock | None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return FileLock(work_dir / '.cell.lock')
        except LocksUnsupportedError:
            return None
        except LockedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def _last_evaluation(log: Log) -> int | None:
    return log.evaluations[-1].get('step') if log.evaluations else None


def _forget_unevaluated_end(cfg: Config) -> None:
    """Repeat the last epoch of a run that was killed while it evaluated.

    It would go on from its end otherwise, and never be evaluated.
    """
    unit, last = training_length(cfg)
    path = Path(cfg.work_dir, f'{unit}_{last}.pth')
    if path.is_file() and _last_evaluation(_log(cfg.work_dir)) != last:
        path.unlink()


def _log_what_is_counted(cfg: Config) -> None:
    """An evaluation has the number of its epoch, or of its iteration.

    That of its epoch alone is mmengine's default, and an iteration has none.
    """
    unit, _ = training_length(cfg)
    if unit == 'epoch':
        return
    told = cfg.get('log_processor') or {}
    cfg.log_processor = dict(told, by_epoch=False)
    hooks = cfg.setdefault('default_hooks', ConfigDict())
    logger = hooks.setdefault('logger', ConfigDict(type='LoggerHook'))
    logger.log_metric_by_epoch = False


def _log(work_dir: str) -> Log:
    try:
        return Log.of(work_dir)
    except FileNotFoundError:
        return Log([], [])


def _remove_earlier_checkpoints(work_dir: Path) -> None:
    """A suite has many cells: what resuming would have needed can go."""
    last = find_latest_checkpoint(str(work_dir))
    for path in work_dir.glob('*.pth'):
        if path.name != Path(last).name:
            path.unlink()


def _check_last_step_was_evaluated(cfg: Config, log: Log) -> None:
    _, last = training_length(cfg)
    seen = _last_evaluation(log)
    if seen != last:
        raise UnfairError(
            f'the last evaluation was at step {seen} of {last}: only the '
            'last one counts, so set train_cfg.val_interval to a divisor of '
            'the number of steps'
        )


def _iterations(cfg: Config, runner: Runner, step: int) -> float:
    """All that a training made after the step that it went back to.

    The last ones of an epoch are in no log.
    """
    _, length = training_length(cfg)
    return runner.iter * (length - step) / length


def _training_work(cfg: Config, runner: Runner) -> dict[str, Quantity]:
    path = find_latest_checkpoint(cfg.work_dir)
    saved = SavedState.unpack(load_values(path, 'cpu').get('epsd'))
    batch = next(scoring_batches(runner, seed=0)(0))
    return training_work(unwrapped(runner), batch, settings_of(cfg), saved)


def _commit() -> str | None:
    """Of the code, where it is a checkout, and not inside of another one."""
    folder = Path(epsd_mm.__file__).resolve().parent
    if Path(_git(folder, 'rev-parse', '--show-toplevel')) != folder.parent:
        return None
    return _git(folder, 'describe', '--always', '--dirty') or None


def _git(folder: Path, *arguments: str) -> str:
    """What git answers; nothing where it has no answer."""
    try:
        found = subprocess.run(
            ['git', *arguments], cwd=folder, capture_output=True, text=True
        )
    except OSError:
        return ''
    return found.stdout.strip()


if __name__ == '__main__':
    main()
