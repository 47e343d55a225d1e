"""Registers criteria and losses, and builds them by name.

The rooms of the package know nothing of registries; this module lists what
they offer. Losses go into mmengine's root registry, so that a config of any
scope finds them without a prefix.
"""

import inspect
from typing import Any

from mmengine.registry import MODELS, Registry

from epsd_mm.distillation.losses import CSKDLoss, SelfDistillationLoss
from epsd_mm.pruning.criteria import (
    SNIP,
    Criterion,
    Magnitude,
    ProsPr,
    Random,
)

#: Pruning criteria; ``@CRITERIA.register_module()`` adds one's own.
CRITERIA = Registry('criterion')

for _class in (Magnitude, ProsPr, Random, SNIP):
    CRITERIA.register_module(module=_class)
for _class in (CSKDLoss,):
    MODELS.register_module(module=_class)


def build_criterion(spec: Any) -> Criterion | None:
    """A criterion from its name, a config dict or itself; None stays None.

    Raises:
        ValueError: An unknown name or option; lists those that exist.
    """
    return _build(spec, CRITERIA, Criterion, 'criterion')


def build_sd_loss(spec: Any) -> SelfDistillationLoss | None:
    """A self-distillation loss, likewise."""
    return _build(spec, MODELS, SelfDistillationLoss, 'sd_loss')


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
    accepted = inspect.signature(cls).parameters
    unknown = [option for option in options if option not in accepted]
    if unknown:
        raise ValueError(
            f'{what} {cls.__name__} has no option {", ".join(unknown)}; it '
            f'takes {", ".join(accepted) or "none"}'
        )
    return cls(**options)


def _find(name: Any, registry: Registry, base: type, what: str) -> type:
    if inspect.isclass(name) and issubclass(name, base):
        return name
    known = {
        key: cls
        for key, cls in registry.module_dict.items()
        if inspect.isclass(cls) and issubclass(cls, base)
    }
    if name not in known:
        raise ValueError(
            f'unknown {what} {name!r}; known are {", ".join(sorted(known))}'
        )
    return known[name]
