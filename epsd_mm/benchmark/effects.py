"""What a suite says without any effect, told before anything runs."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from epsd_mm.config_types import epsd_hook, setting, type_name
from epsd_mm.quantities import kind_of
from epsd_mm.runs import PARTS

from .option_names import unknown_options
from .suite import Suite
from .suite_parts import Cell, Method, Setup

# What decides no result of a cell, though a training by hand may need it.
_SETTLED = dict(
    work_dir='each cell has a folder of its own',
    resume='each cell goes on where it was',
    launcher='each cell is one process',
    log_level='no result goes by it',
    experiment_name='no result goes by it',
)


def check_effects(suite: Suite) -> None:
    """Refuse what no cell of a suite makes use of.

    What a config has already may be said again, so that a method is told in
    full where it is read.

    Raises:
        ValueError: Names the first such thing.
    """
    for said in unknown_options(suite):
        raise ValueError(f'{suite.path}: {said}')
    for said in _without_effect(suite):
        raise ValueError(f'{suite.path}: {said}: leave it out')


def _without_effect(suite: Suite) -> Iterator[str]:
    if suite.sparsities and not any(m.prunes for m in suite.methods.values()):
        yield (
            f'sparsities={list(suite.sparsities)} has no effect, since no '
            'method prunes'
        )
    for setup in suite.setups.values():
        yield from _settled(f'set-up {setup.name!r}', setup.options)
    for method in suite.methods.values():
        yield from _settled(f'method {method.name!r}', method.options)
        yield from _of_other_network(suite, method)
    arms = [c for c in suite.cells if c.seed == suite.seeds[0]]
    idle = {cell.key: _idle(cell) for cell in arms}
    for setup in suite.setups.values():
        here = [cell for cell in arms if cell.setup is setup]
        yield from _idle_direction(setup, len(here))
        for name, value in setup.options.items():
            if all(
                name in idle[cell.key]
                or cell.method.options.get(name, value) != value
                for cell in here
            ):
                yield (
                    f'of set-up {setup.name!r} the option {name}={value!r} '
                    'has no effect on any method'
                )
    for method in suite.methods.values():
        own = [cell for cell in arms if cell.method is method]
        for name, value in idle[own[0].key].items() if own else ():
            said = name in method.options or name in PARTS
            if said and all(name in idle[cell.key] for cell in own):
                yield (
                    f'of method {method.name!r} {name}={value!r} has no '
                    f'effect beside variant={method.variant!r}'
                )


def _settled(where: str, options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if name in _SETTLED:
            yield (
                f'of {where} the option {name}={value!r} has no effect, '
                f'since {_SETTLED[name]}'
            )


def _of_other_network(suite: Suite, method: Method) -> Iterator[str]:
    """Options of a network that is made from that of a teacher."""
    if method.student_of is None:
        return
    teacher = suite.methods[method.student_of].options
    for name, value in method.options.items():
        if name.partition('.')[0] != 'model':
            continue
        told = [
            {**setup.options, **teacher}.get(name, setting(setup.base, name))
            for setup in suite.setups.values()
        ]
        if any(each != value for each in told):
            yield (
                f'of method {method.name!r} the option {name}={value!r} has '
                'no effect, since its network is that of '
                f'{method.student_of!r} with fewer channels'
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


def _idle(cell: Cell) -> dict[str, Any]:
    """What makes no difference to a cell, and is not there either."""
    cfg = cell.run.resolve(cell.setup.base)
    unneeded = cell.run.unneeded(cell.setup.base)
    return {n: v for n, v in unneeded.items() if not _has(cfg, n, v)}


def _has(cfg: Config, name: str, value: Any) -> bool:
    """Whether a config has what is asked for."""
    if name not in PARTS:
        return setting(cfg, name) == value
    hook = epsd_hook(cfg)
    if hook is None:
        return False
    own = hook.get(name, 'ProsPr' if name == 'criterion' else None)
    return own == value or type_name(own) == value
