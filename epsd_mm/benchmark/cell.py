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
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# The package repairs broken environments, so it is imported first.
import epsd_mm

# isort: split
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner, find_latest_checkpoint

from epsd_mm.analysis import read_report
from epsd_mm.engine.checks import unwrapped
from epsd_mm.engine.runner import complete
from epsd_mm.engine.safe_loading import (
    CheckpointError,
    code_refused,
    load_values,
)
from epsd_mm.engine.saved_state import SavedState, saved_masks
from epsd_mm.engine.scoring_data import scoring_batches
from epsd_mm.engine.settings import Settings, settings_of
from epsd_mm.locks import FileLock, LockedError, LocksUnsupportedError
from epsd_mm.pruning import Masks, Weights
from epsd_mm.quantities import Quantity
from epsd_mm.results import Log, read_result, scoring_of
from epsd_mm.runs import RECIPE_VERSION, Run, key_of
from epsd_mm.training import StartError, train

from .compact_cell import SLACK, figures_of, made_compact, removes_channels
from .jobs import BUSY, end_with_parent
from .predictions_hook import PredictionsHook
from .result_file import read_result_file, write_result
from .scored_apart import LENDER, lent_masks
from .sparse_work import sparse_share
from .suite_folder import RESULT, SPEC

#: Seconds that a process waits for another one at the same cell.
_PATIENCE = 60.0
_PACKAGES = ('torch', 'torchvision', 'numpy', 'mmengine', 'mmcv', 'mmdet')
_PACKAGES += ('mmpretrain',)


class UnfairError(RuntimeError):
    """A run whose result must not be compared with others."""


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
    _forget_unevaluated_end(cfg)
    if any(work_dir.glob('*.pth')):
        cfg.resume, cfg.load_from = True, None
    whole = not any(work_dir.glob('*/vis_data'))
    started = time.perf_counter()
    with code_refused():
        trained = _prepared(cfg, Run(**spec['run']))
        runner = train(complete(trained), PredictionsHook())
    seconds = time.perf_counter() - started
    result = measured(cfg)
    result['training/sparse_share'] = Quantity(_sparse_share(cfg, runner))
    if whole:  # of a run that goes on nobody knows what it has cost
        result['training/seconds'] = Quantity.of('training/seconds', seconds)
    write_result(work_dir, result, environment())
    _remove_earlier_checkpoints(work_dir)


def _prepared(cfg: Config, run: Run) -> Config:
    """The config to train by, after what is scored apart."""
    if run.lender is not None:
        return lent_masks(cfg, run)
    return made_compact(cfg) if removes_channels(cfg) else cfg


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


def measured(cfg: Config) -> dict[str, Quantity]:
    """The result of a finished cell, once it is known to be fair.

    Raises:
        UnfairError: The last step was not evaluated, or the saved weights
            are not as sparse as was asked.
    """
    work_dir = Path(cfg.work_dir)
    _check_last_step_was_evaluated(cfg, Log.of(work_dir))
    result = read_result(work_dir)
    result['training/peak_memory'] = Quantity(peak_memory(), 'B')
    result |= _saved_sparsity(cfg)
    return result


def environment() -> dict[str, Any]:
    """Versions of code and stack, and the machine."""
    return dict(
        epsd_mm=epsd_mm.__version__,
        commit=_commit(),
        recipe_version=RECIPE_VERSION,
        python=platform.python_version(),
        machine=platform.machine(),
        threads=torch.get_num_threads(),
        device=torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else 'cpu',
        **{name: _version(name) for name in _PACKAGES},
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


def _steps(cfg: Config) -> tuple[str, int]:
    """What is counted, and its last number."""
    by_epoch = cfg.train_cfg.get('by_epoch', True)
    unit = 'epoch' if by_epoch else 'iter'
    return unit, cfg.train_cfg.get(f'max_{unit}s')


def _last_evaluation(log: Log) -> int | None:
    return log.evaluations[-1].get('step') if log.evaluations else None


def _forget_unevaluated_end(cfg: Config) -> None:
    """Repeat the last epoch of a run that was killed while it evaluated.

    It would go on from its end otherwise, and never be evaluated.
    """
    unit, last = _steps(cfg)
    path = Path(cfg.work_dir, f'{unit}_{last}.pth')
    if path.is_file() and _last_evaluation(_log(cfg.work_dir)) != last:
        path.unlink()


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
    _, last = _steps(cfg)
    seen = _last_evaluation(log)
    if seen != last:
        raise UnfairError(
            f'the last evaluation was at step {seen} of {last}: only the '
            'last one counts, so set train_cfg.val_interval to a divisor of '
            'the number of steps'
        )


def _saved_sparsity(cfg: Config) -> dict[str, Quantity]:
    """Count what is zero in the saved file, and what the masks say."""
    work_dir = Path(cfg.work_dir)
    path = find_latest_checkpoint(str(work_dir))
    checkpoint = load_values(path, 'cpu')
    masks, state = saved_masks(checkpoint), checkpoint['state_dict']
    if masks is None:
        try:
            return figures_of(cfg, work_dir, state)
        except ValueError as error:
            raise UnfairError(f'{path}: {error}') from error
    revived = sum(int(state[n][~m].count_nonzero()) for n, m in masks.items())
    if revived:
        raise UnfairError(
            f'{revived:,} removed weights are not zero in {path}'
        )
    found = {'saved/sparsity': Quantity(masks.sparsity)}
    settings = settings_of(cfg)
    if settings.changes:
        _check_reached(path, masks, settings)
        return found
    for scored in (work_dir, work_dir / LENDER):
        if not (scored / 'epsd' / 'report.json').is_file():
            continue
        report = read_report(scored / 'epsd' / 'report.json')
        if masks.kept != report['kept']:
            raise UnfairError(
                f'{path} keeps {masks.kept:,} weights, scoring had kept '
                f'{report["kept"]:,}'
            )
        found |= scoring_of(report)
    return found


def _check_reached(path: str, masks: Masks, settings: Settings) -> None:
    """Raise unless masks are as sparse as they were to become."""
    weights = isinstance(settings.structure, (Weights, type(None)))
    if abs(masks.sparsity - settings.sparsity) > (1e-3 if weights else SLACK):
        raise UnfairError(
            f'{path} has sparsity {masks.sparsity:.4f}, where '
            f'{settings.sparsity} was asked'
        )


def _sparse_share(cfg: Config, runner: Runner) -> float:
    path = find_latest_checkpoint(cfg.work_dir)
    saved = SavedState.unpack(load_values(path, 'cpu').get('epsd'))
    batch = next(scoring_batches(runner, seed=0)(0))
    return sparse_share(unwrapped(runner), batch, settings_of(cfg), saved)


def _version(package: str) -> str | None:
    for name in (f'onedl-{package}', package, 'onedl-mmdetection'):
        if name == 'onedl-mmdetection' and package != 'mmdet':
            continue
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def _commit() -> str | None:
    """Of the code, where it is a checkout."""
    folder = Path(epsd_mm.__file__).parent
    command = ['git', 'describe', '--always', '--dirty']
    try:
        found = subprocess.run(
            command, cwd=folder, capture_output=True, text=True
        )
    except OSError:
        return None
    return found.stdout.strip() or None


if __name__ == '__main__':
    main()
