"""What can be told before any cell of a suite runs."""

from collections.abc import Iterable, Mapping

from mmengine.config import Config

from epsd_mm.earlier_runs import training_length
from epsd_mm.engine.settings import settings_of
from epsd_mm.engine.trained_network import teacher_files
from epsd_mm.preparation import require_data
from epsd_mm.quantities import kind_of

from .asked_masks import AskedMasks
from .asked_networks import AskedNetworks, Networks
from .reported_metrics import reported_metrics
from .suite import Suite
from .suite_parts import Cell

_LOADERS = ('train_dataloader', 'val_dataloader')


def check_metrics(suite: Suite) -> None:
    """Raise where a set-up compares what its evaluators cannot report.

    Of some evaluators only what begins the names of their metrics is known
    beforehand; the rest shows when the first cell has finished.

    Raises:
        ValueError: Names the set-up, and its metrics.
    """
    for cell in _one_a_setup(suite.cells):
        wanted, where = cell.setup.metric, f'set-up {cell.setup.name!r}'
        try:
            known = reported_metrics(cell.config)
        except ValueError as error:
            raise ValueError(f'{suite.path}: {where}: {error}') from error
        if known is not None and not _is_reported(wanted, known):
            raise ValueError(
                f'{suite.path}: {where} compares the metric {wanted!r}, and '
                f'the evaluators of {cell.setup.config} report '
                + _shown(known)
            )
        if cell.setup.better is None and kind_of(wanted)[1] is None:
            raise ValueError(
                f'{suite.path}: {where} compares the metric {wanted!r}, of '
                'which it is not known whether more of it is better: add '
                "better='higher' or better='lower' to the set-up"
            )


def _is_reported(metric: str, known: Mapping[str, list[str] | None]) -> bool:
    return any(
        metric.startswith(f'{prefix}/') if names is None else metric in names
        for prefix, names in known.items()
    )


def _shown(known: Mapping[str, list[str] | None]) -> str:
    names = [
        name
        for prefix, of_prefix in known.items()
        for name in of_prefix or [f'{prefix}/…']
    ]
    return ', '.join(names) or 'none'


def check_data(cells: Iterable[Cell]) -> None:
    """Raise where data is missing that ``tools/prepare_data.py`` provides.

    Raises:
        FileNotFoundError: Says what is missing and how to get it.
    """
    for cell in _one_a_setup(cells):
        require_data(cell.config, _LOADERS)


def check_cells(suite: Suite, cells: Iterable[Cell], read_data: bool) -> None:
    """Raise where a cell would refuse what is asked of it.

    Sparsities that its network cannot have, schedules that its training is
    too short for, an end that is not evaluated, and what it takes of another
    one that does not fit: as far as that is told without weights.

    Args:
        suite: That the cells are of.
        cells: Those that are to run.
        read_data: Whether files may be read: training sets, which tell how
            long an epoch is, and those of teachers.

    Raises:
        ValueError: Names the cell, and says what it would say.
        ImportError: A package is absent that students or units take.
    """
    networks = Networks()
    masks = AskedMasks(networks, read_data)
    fitting = AskedNetworks(networks)
    for cell in _one_a_seed(cells):
        try:
            cfg = cell.config
            _check_evaluated(cfg)
            if read_data and cell.teacher is None:
                _check_teacher(cfg)
            fitting.check(cell, cfg)
            masks.check(cfg)
        except (OSError, TypeError, ValueError) as error:
            raise ValueError(
                f'{suite.path}: {cell.name!r} cannot run: {error}'
            ) from error


def _check_teacher(cfg: Config) -> None:
    """Raise where the hook names files of a teacher that are not there."""
    settings = settings_of(cfg)
    loss = settings and settings.sd_loss
    if loss is not None and loss.needs.taught:
        if isinstance(loss.teacher, Mapping):
            teacher_files(loss)


def _check_evaluated(cfg: Config) -> None:
    """Raise where the last step, the only one that counts, has no metric."""
    unit, length = training_length(cfg)
    begin = cfg.train_cfg.get('val_begin', 1)
    if length is not None and begin > length:
        raise ValueError(
            f'train_cfg.val_begin={begin} evaluates nothing of a training of '
            f'{length} {unit}s, of which the last one counts: let it be '
            f'{length} at most'
        )


def _one_a_seed(cells: Iterable[Cell]) -> list[Cell]:
    """Cells that differ in more than their seed."""
    first: dict[tuple, Cell] = {}
    for cell in cells:
        arm = cell.setup.name, cell.method.name, cell.sparsity
        first.setdefault(arm, cell)
    return list(first.values())


def _one_a_setup(cells: Iterable[Cell]) -> list[Cell]:
    first: dict[str, Cell] = {}
    for cell in cells:
        first.setdefault(cell.setup.name, cell)
    return list(first.values())
