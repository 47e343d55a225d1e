"""What a suite says without any effect, told before anything runs."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from mmengine.config import Config

from epsd_mm.config_types import find_hook, setting, type_name
from epsd_mm.quantities import kind_of

from .suite import Cell, Method, Setup, Suite

# Of a method, what may stand in its config already.
_PARTS = ('criterion', 'sd_loss', 'score_weights')


def check_effects(suite: Suite) -> None:
    """Refuse what no cell of a suite makes use of.

    What a config has already may be said again, so that a method is told in
    full where it is read.

    Raises:
        ValueError: Names the first such thing.
    """
    for said in _without_effect(suite):
        raise ValueError(f'{suite.path}: {said}: leave it out')


def _without_effect(suite: Suite) -> Iterator[str]:
    if suite.sparsities and not any(m.prunes for m in suite.methods.values()):
        yield (
            f'sparsities={list(suite.sparsities)} has no effect, since no '
            'method prunes'
        )
    arms = [c for c in suite.cells if c.seed == suite.seeds[0]]
    for setup in suite.setups.values():
        here = [cell for cell in arms if cell.setup is setup]
        yield from _idle_direction(setup, len(here))
        for name, changed in _without_each_option(setup):
            others = [replace(cell, setup=changed) for cell in here]
            if _all_alike(here, others, name, setup.options[name]):
                yield (
                    f'of set-up {setup.name!r} the option '
                    f'{name}={setup.options[name]!r} has no effect on any '
                    'method'
                )
    for method in suite.methods.values():
        own = [cell for cell in arms if cell.method is method]
        for name, value, changed in _without_each_part(method):
            others = [replace(cell, method=changed) for cell in own]
            if _all_alike(own, others, name, value):
                yield (
                    f'of method {method.name!r} {name}={value!r} has no '
                    f'effect beside variant={method.variant!r}'
                )


def _idle_direction(setup: Setup, arms: int) -> Iterator[str]:
    if setup.better is None:
        return
    if kind_of(setup.metric)[1]:
        yield (
            f'of set-up {setup.name!r} better={setup.better!r} has no '
            f'effect, since the name of {setup.metric} tells it'
        )
    elif arms < 2:
        yield (
            f'of set-up {setup.name!r} better={setup.better!r} has no '
            'effect, since there is nothing to compare'
        )


def _without_each_option(
    part: Setup | Method,
) -> Iterator[tuple[str, Setup | Method]]:
    for name in part.options:
        others = {k: v for k, v in part.options.items() if k != name}
        yield name, replace(part, options=others)


def _without_each_part(method: Method) -> Iterator[tuple[str, Any, Method]]:
    for name in _PARTS:
        value = getattr(method, name)
        if value is not None:
            yield name, value, replace(method, **{name: None})
    for name, changed in _without_each_option(method):
        yield name, method.options[name], changed


def _all_alike(
    cells: Iterable[Cell], others: Iterable[Cell], name: str, value: Any
) -> bool:
    """Whether something makes no difference, and is not there either."""
    return all(
        _is_idle(cell, other, name, value)
        for cell, other in zip(cells, others)
    )


def _is_idle(cell: Cell, other: Cell, name: str, value: Any) -> bool:
    base = cell.setup.base  # of the other it would be read again
    cfg = cell.run.resolve(base)
    try:
        without = other.run.resolve(base)
    except (KeyError, TypeError, ValueError):
        return False
    return cfg.to_dict() == without.to_dict() and not _has(cfg, name, value)


def _has(cfg: Config, name: str, value: Any) -> bool:
    """Whether a config has what is asked for."""
    if name not in _PARTS:
        return setting(cfg, name) == value
    found = find_hook(cfg, 'EPSDHook')
    if found is None:
        return False
    hook = found[0][found[1]]
    own = hook.get(name, 'ProsPr' if name == 'criterion' else None)
    return own == value or type_name(own) == value
