"""Miss a data set early, and say how to get it."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from epsd_mm.config_types import type_name
from epsd_mm.datasets.leaves import leaf_configs
from epsd_mm.shipped_files import command_of

from .layout import Layout
from .layouts import LAYOUTS

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def require_data(cfg: Mapping, loaders: Sequence[str] = LOADERS) -> None:
    """Fail early where a config needs data that is not there.

    Args:
        cfg: A config (mmengine's ``Config``).
        loaders: Names of the data loaders that will be used.

    Raises:
        FileNotFoundError: What a data set reads is absent, which
            ``tools/prepare_data.py`` knows how to put into place.
    """
    for loader in loaders:
        dataset = (cfg.get(loader) or {}).get('dataset')
        for leaf in leaf_configs(dataset):
            _require(leaf, loader)


def _require(leaf: Mapping, loader: str) -> None:
    root, prefix = leaf.get('data_root') or '', leaf.get('data_prefix')
    if not root and isinstance(prefix, str):
        root = prefix
    if leaf.get('backend_args') or '://' in str(root):
        return  # not on this disk: the file backend will tell
    root = os.path.expanduser(root)
    layout = _layout(leaf, root)
    if layout is None:
        return
    needed = [root, *(os.path.join(root, n) for n in layout.needs(leaf))]
    for path in filter(None, needed):
        if '://' not in path and not os.path.exists(path):
            raise FileNotFoundError(
                f'{path} does not exist, which {loader} needs. '
                f'{_advice(layout, leaf, root)}'
            )


def _layout(leaf: Mapping, root: str) -> Layout | None:
    """The data set that a config means, as far as one can tell."""
    kind = type_name(leaf)
    known = [layout for layout in LAYOUTS.values() if kind in layout.types]
    alike = [layout for layout in known if layout.is_of(leaf, root)]
    return next(iter(alike + known), None)


def _advice(layout: Layout, leaf: Mapping, root: str) -> str:
    parts, place, then = Path(root).parts, 'DATA_ROOT', ''
    if layout.config_root in parts:
        place = Path(*parts[: parts.index(layout.config_root)])
    else:
        then = f'; data_root is then DATA_ROOT/{layout.config_root}'
    arguments = ('--source', 'ARCHIVE_OR_FOLDER', '--data-root', place)
    command = command_of('prepare_data.py', layout.name, *arguments)
    advice = f'Fill it with `{command}`'
    if not layout.advice:
        advice += ' (without --source it is downloaded)'
    return advice + layout.alternative(leaf, place) + then
