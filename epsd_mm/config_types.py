"""What the ``type`` of a config means, however it is spelt.

It may be a name (``'EPSDHook'``), one with a scope (``'mmengine.EPSDHook'``),
the path of a class as a dumped config has it
(``'epsd_mm.engine.hooks.EPSDHook'``), or the class itself, imported or yet to
be imported, as in mmengine's configs in plain Python.
"""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.config.lazy import LazyAttr, LazyObject

#: mmengine registers the class of weights to load under a name of its own.
PRETRAINED = ('Pretrained', 'PretrainedInit')
_FAMILIES = ('mmdet', 'mmpretrain')


def type_name(config: Any) -> str:
    """Name of the class that a config is of; '' where it says none."""
    return _type_path(config).split('.')[-1]


def scope_of(cfg: Config) -> str | None:
    """Scope of the names in a config, or the package of its model.

    Where types are classes there is no scope, but parts that are added by
    name need one.
    """
    scope = cfg.get('default_scope')
    package = _type_path(cfg.get('model')).split('.')[0]
    return scope or (package if package in _FAMILIES else None)


def is_mmdet(cfg: Config) -> bool:
    """Whether its names are mmdet's."""
    return scope_of(cfg) == 'mmdet'


def is_mmpretrain(cfg: Config) -> bool:
    """Whether its names are mmpretrain's."""
    return scope_of(cfg) == 'mmpretrain'


def find_hook(cfg: Config, name: str) -> tuple[Any, Any] | None:
    """Where a hook's config is: its container, and its place there."""
    default = cfg.get('default_hooks') or {}
    custom = cfg.get('custom_hooks') or []
    for hooks, places in (
        (default, list(default)),
        (custom, range(len(custom))),
    ):
        for place in places:
            if type_name(hooks[place]) == name:
                return hooks, place
    return None


def epsd_hook(cfg: Config) -> Any | None:
    """The config of its EPSDHook: the very one, to be read or changed."""
    found = find_hook(cfg, 'EPSDHook')
    return found and found[0][found[1]]


def policy_of(cfg: Config) -> str | None:
    """Name of the policy by which masks change in training, if they do.

    ``'Fixed'`` is to have none.
    """
    policy = (epsd_hook(cfg) or {}).get('policy')
    if policy is None:
        return None
    if isinstance(policy, str):
        policy = dict(type=policy)
    name = type_name(policy) or type(policy).__name__  # of an object
    return None if name == 'Fixed' else name


def narrowed_layers(cfg: Config) -> dict[str, tuple[int, int]]:
    """Outputs of layers before and after channels were removed for good.

    Of a config that ``tools/prune.py`` has written, by the names of the
    layers that lost outputs; of any other there are none.
    """
    model = cfg.get('model') or {}
    if type_name(model) != 'Compact':
        return {}
    found = {}
    for name, changed in model['channels']['layers'].items():
        widths = changed.get('out_channels', changed.get('out_features'))
        if widths is not None:
            found[name] = tuple(widths)
    return found


def with_all_channels(model: Any) -> Any:
    """The config of a model as it was before channels were removed.

    Args:
        model: A config of a model, or any part of one: also where others,
            as of test-time augmentation, are around the compact network.

    Returns:
        One that is equal where nothing was removed.
    """
    if isinstance(model, (list, tuple)):
        return type(model)(map(with_all_channels, model))
    if not isinstance(model, Mapping):
        return model
    whole = ConfigDict(
        {name: with_all_channels(part) for name, part in model.items()}
    )
    if type_name(model) == 'Compact':
        whole.type = whole.pop('of')
        del whole['channels']
        # That of a compact network has its own shapes.
        whole.pop('init_cfg', None)
    return whole


def setting(cfg: Config, name: str) -> Any:
    """What a config has under a name such as ``a.b.0``; None for nothing."""
    part = cfg
    for key in name.split('.'):
        if isinstance(part, (list, tuple)):
            part = part[int(key)] if int(key) < len(part) else None
        else:
            part = (part or {}).get(key)
    return part


def _type_path(config: Any) -> str:
    kind = config.get('type') if isinstance(config, Mapping) else None
    if isinstance(kind, (LazyAttr, LazyObject)):
        kind = kind.build()
    if kind is None or isinstance(kind, str):
        return kind or ''
    return f'{kind.__module__}.{kind.__qualname__}'
