"""Registers criteria, losses, policies and so on, and builds them by name.

The rooms of the package know nothing of registries; this module lists what
they offer. Losses go into mmengine's root registry where there is one, so that
a config of any scope finds them without a prefix.
"""

import inspect
import re
from typing import Any

from epsd_mm.compat import absent_mm
from epsd_mm.distillation.losses import (
    KD,
    CSKDLoss,
    DLBLoss,
    PSKDLoss,
    SelfDistillationLoss,
)
from epsd_mm.policies import SET, Fixed, Gradual, MaskPolicy, RigL
from epsd_mm.pruning import (
    ERK,
    FORCE,
    NM,
    NTKSAP,
    SNIP,
    Allocation,
    Blocks,
    ByGlob,
    Criterion,
    Global,
    GraSP,
    IterSNIP,
    Magnitude,
    ProsPr,
    Random,
    Rows,
    SDMPrune,
    Structure,
    SynFlow,
    Uniform,
    Weights,
)
from epsd_mm.registration import Registry
from epsd_mm.structure import Neurons, Units

if absent_mm():
    #: Self-distillation losses.
    SD_LOSSES = Registry('self-distillation loss')
else:
    from mmengine.registry import MODELS as SD_LOSSES

#: Pruning criteria; ``@CRITERIA.register_module()`` adds one's own.
CRITERIA = Registry('criterion')
#: How kept weights are divided among the layers.
ALLOCATIONS = Registry('allocation')
#: What is kept together.
STRUCTURES = Registry('structure')
#: How masks change while a network trains.
POLICIES = Registry('policy')

for _class in (
    FORCE,
    GraSP,
    IterSNIP,
    Magnitude,
    NTKSAP,
    ProsPr,
    Random,
    SDMPrune,
    SNIP,
    SynFlow,
):
    CRITERIA.register_module(module=_class)
for _name, _class in (
    ('global', Global),
    ('uniform', Uniform),
    ('erk', ERK),
    ('by_glob', ByGlob),
):
    ALLOCATIONS.register_module(name=_name, module=_class)
for _name, _class in (
    ('weights', Weights),
    ('rows', Rows),
    ('blocks', Blocks),
    ('nm', NM),
    ('channels', Units),
    ('neurons', Neurons),
):
    STRUCTURES.register_module(name=_name, module=_class)
for _class in (Fixed, Gradual, SET, RigL):
    POLICIES.register_module(module=_class)
for _class in (CSKDLoss, DLBLoss, PSKDLoss, KD):
    SD_LOSSES.register_module(module=_class)


def build_criterion(spec: Any) -> Criterion | None:
    """A criterion from its name, a config dict or itself; None stays None.

    Raises:
        ValueError: An unknown name or option; lists those that exist.
    """
    return _build(spec, CRITERIA, Criterion, 'criterion')


def build_sd_loss(spec: Any) -> SelfDistillationLoss | None:
    """A self-distillation loss, likewise."""
    return _build(spec, SD_LOSSES, SelfDistillationLoss, 'sd_loss')


def build_allocation(spec: Any) -> Allocation | None:
    """An allocation, likewise; ``{'backbone.*': 0.8}`` is one by glob."""
    if isinstance(spec, dict) and 'type' not in spec:
        spec = dict(type='by_glob', sparsities=dict(spec))
    return _build(spec, ALLOCATIONS, Allocation, 'allocation')


def build_structure(spec: Any) -> Structure | None:
    """A structure, likewise; ``'2:4'`` is one of N:M."""
    if isinstance(spec, str) and (match := re.fullmatch(r'(\d+):(\d+)', spec)):
        spec = dict(type='nm', n=int(match[1]), m=int(match[2]))
    return _build(spec, STRUCTURES, Structure, 'structure')


def build_policy(spec: Any) -> MaskPolicy | None:
    """A policy, likewise."""
    return _build(spec, POLICIES, MaskPolicy, 'policy')


def _build(spec: Any, registry: Registry, base: type, what: str) -> Any:
    if spec is None or isinstance(spec, base):
        return spec
    if isinstance(spec, str):
        spec = dict(type=spec)
    if not isinstance(spec, dict) or 'type' not in spec:
        raise ValueError(
            f'{what}={spec!r} must be a name, a dict with a type, or a '
            f'{base.__name__}'
        )
    options = dict(spec)
    name = options.pop('type')
    cls = _find(name, registry, base, what)
    accepted = _options(cls)
    unknown = [option for option in options if option not in accepted]
    if unknown:
        raise ValueError(
            f'{what} {cls.__name__} has no option {", ".join(unknown)}; it '
            f'takes {", ".join(accepted) or "none"}'
        )
    try:
        inspect.signature(cls).bind(**options)
    except TypeError as e:
        example = ", such as '2:4'" if cls is NM else ''
        raise ValueError(f'{what} {cls.__name__}: {e}{example}') from e
    return cls(**options)


def _options(cls: type) -> list[str]:
    """Names of the options, those that it passes to its base included."""
    names: list[str] = []
    for base in cls.__mro__:
        parameters = inspect.signature(base).parameters.values()
        variadic = [p for p in parameters if p.kind is p.VAR_KEYWORD]
        names += [p.name for p in parameters if p not in variadic]
        if not variadic:
            break
    return names


def _find(name: Any, registry: Registry, base: type, what: str) -> type:
    if inspect.isclass(name) and issubclass(name, base):
        return name
    known = {
        key: cls
        for key, cls in registry.module_dict.items()
        if inspect.isclass(cls) and issubclass(cls, base)
    }
    cls = known.get(name)
    if cls is None and isinstance(name, str) and '.' in name:
        # With a scope, or the path of a class in a config that was dumped.
        cls = registry.get(name)
    if not inspect.isclass(cls) or not issubclass(cls, base):
        here = _ELSEWHERE.get(name) if isinstance(name, str) else None
        hint = f', here {here!r}' if here in known else ''
        raise ValueError(
            f'unknown {what} {name!r}{hint}; known are '
            f'{", ".join(sorted(known))}'
        )
    return cls


#: What has another name in the field, and in suites.
_ELSEWHERE = {'GMP': 'Gradual'}
