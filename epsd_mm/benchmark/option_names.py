"""Options of a suite that would name what nothing reads."""

import copy
import inspect
from collections.abc import Iterator, Mapping
from itertools import product
from types import MappingProxyType
from typing import Any

from mmengine.config import Config
from mmengine.registry import LOOPS
from mmengine.runner import (
    EpochBasedTrainLoop,
    FlexibleRunner,
    IterBasedTrainLoop,
    Runner,
    TestLoop,
    ValLoop,
)

from .suite import Suite
from .suite_types import close_to

#: What mmengine reads of a config besides what its runners take.
_READ = ('find_unused_parameters', 'model_wrapper_cfg', 'runner_type')
_READ += ('sync_bn',)
_LOOPS = dict(
    train_cfg=EpochBasedTrainLoop, val_cfg=ValLoop, test_cfg=TestLoop
)
_NONE: Mapping[str, Any] = MappingProxyType({})
# What a runner gives its loops.
_GIVEN = ('self', 'runner', 'dataloader', 'evaluator')


def unknown_options(suite: Suite) -> Iterator[str]:
    """What is wrong with the names of options, a sentence each.

    An option whose first name is new would make another name for the same
    training; one of a loop that has no such argument ends every cell.

    Args:
        suite: The suite.
    """
    for setup in suite.setups.values():
        where = f'of set-up {setup.name!r}'
        yield from _unknown(where, setup.base, setup.options)
    for method, setup in product(
        suite.methods.values(), suite.setups.values()
    ):
        where = f'of method {method.name!r}'
        beside = setup.options
        yield from _unknown(where, setup.base, method.options, beside)


def _unknown(
    where: str, base: Config, options: Mapping, beside: Mapping = _NONE
) -> Iterator[str]:
    """What is wrong with some options, beside others that come before."""
    known = {*base, *_arguments(Runner), *_arguments(FlexibleRunner), *_READ}
    known -= {'self', 'cfg'}
    for name in options:
        first = name.partition('.')[0]
        if first not in known:
            yield (
                f'{where} the option {name!r} begins with {first!r}, which '
                f'neither {base.filename} has nor the runner takes: '
                + close_to(first, known)
            )
    of_loops = [name for name in options if name.split('.')[0] in _LOOPS]
    if not of_loops:
        return
    cfg = copy.deepcopy(base)
    cfg.merge_from_dict(copy.deepcopy({**beside, **options}))
    for loop in _LOOPS:
        taken = _taken(loop, cfg.get(loop) or {})
        for name in _told(loop, options):
            if taken is not None and name not in taken:
                yield (
                    f'{where} the option {loop}.{name} is none that this '
                    f'loop takes: {close_to(name, taken)}'
                )


def _told(loop: str, options: Mapping[str, Any]) -> Iterator[str]:
    """Names of a loop's arguments, however options say them."""
    for name, value in options.items():
        first, _, rest = name.partition('.')
        if first == loop:
            inner = value if isinstance(value, Mapping) else ()
            yield from [rest.partition('.')[0]] if rest else inner


def _taken(loop: str, cfg: Mapping) -> set[str] | None:
    """Arguments of a loop; None where it takes any."""
    kind = cfg.get('type', _LOOPS[loop])
    if loop == 'train_cfg' and 'type' not in cfg and not cfg.get('by_epoch'):
        kind = IterBasedTrainLoop
    kind = LOOPS.get(kind) if isinstance(kind, str) else kind
    if kind is None:  # of a module that is yet to be imported
        return None
    found = inspect.signature(kind.__init__).parameters.values()
    if any(each.kind is each.VAR_KEYWORD for each in found):
        return None
    own = {each.name for each in found}.difference(_GIVEN)
    return own | {'type', 'by_epoch', '_delete_'}


def _arguments(kind: type) -> set[str]:
    return set(inspect.signature(kind.__init__).parameters)
