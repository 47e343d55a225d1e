"""What can be told before any cell of a suite runs."""

from collections.abc import Iterable

from mmengine.config import Config
from mmengine.registry import METRICS, DefaultScope

from epsd_mm.config_types import scope_of, type_name
from epsd_mm.preparation import require_data

from .suite import Cell, Suite

_LOADERS = ('train_dataloader', 'val_dataloader')


def check_metrics(suite: Suite) -> None:
    """Raise where a set-up compares what its evaluators cannot report.

    Only what begins a metric's name is known beforehand; the rest shows when
    the first cell has finished.

    Raises:
        ValueError: Names the set-up, and how its metrics begin.
    """
    for cell in _one_a_setup(suite.cells):
        known = _prefixes(cell.config)
        wanted = cell.setup.metric
        if known is not None and wanted.partition('/')[0] not in known:
            shown = ', '.join(f'{name}/…' for name in known) or 'none'
            raise ValueError(
                f'{suite.path}: set-up {cell.setup.name!r} compares the '
                f'metric {wanted!r}, and the evaluators of '
                f'{cell.setup.config} report {shown}'
            )


def check_data(cells: Iterable[Cell]) -> None:
    """Raise where data is missing that ``tools/prepare_data.py`` provides.

    Raises:
        FileNotFoundError: Says what is missing and how to get it.
    """
    for cell in _one_a_setup(cells):
        require_data(cell.config, _LOADERS)


def _one_a_setup(cells: Iterable[Cell]) -> list[Cell]:
    first: dict[str, Cell] = {}
    for cell in cells:
        first.setdefault(cell.setup.name, cell)
    return list(first.values())


def _prefixes(cfg: Config) -> list[str] | None:
    """How names of metrics begin; None where that is not certain."""
    evaluators = cfg.get('val_evaluator')
    if cfg.get('val_cfg') is None or evaluators is None:
        return []
    if isinstance(evaluators, dict):
        evaluators = [evaluators]
    found = []
    with DefaultScope.overwrite_default_scope(scope_of(cfg)):
        for evaluator in evaluators:
            with METRICS.switch_scope_and_registry(None) as registry:
                kind = registry.get(type_name(evaluator))
            prefix = evaluator.get('prefix')
            prefix = prefix or getattr(kind, 'default_prefix', None)
            if prefix is None:
                return None
            found.append(prefix)
    return found
