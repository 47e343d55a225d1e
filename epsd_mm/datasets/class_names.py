"""The names of classes that a config gives, and slips in them."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS

from epsd_mm.config_types import type_name

from .leaves import leaf_configs


def check_class_names(dataset: Any) -> None:
    """Raise where the classes of a data set are a string.

    Each of its letters would be a class.

    Raises:
        ValueError: Gives the value and what was meant.
    """
    metainfo = getattr(dataset, 'metainfo', None)
    if not isinstance(metainfo, Mapping):
        return
    _refuse_string(metainfo.get('classes'), type(dataset).__name__)


def check_configured_class_names(
    cfg: Mapping, loaders: Iterable[str] = ('train_dataloader',)
) -> None:
    """The same for data sets that are not built yet.

    A string may be the path of a file with a name a line. Of any other one
    the libraries say, at best, that its letters are too many or too few.

    Args:
        cfg: A config (mmengine's ``Config``) of any library.
        loaders: Names of the data loaders that will be used.

    Raises:
        ValueError: Gives the value and what was meant.
        FileNotFoundError: The value is written as a path, of no file.
    """
    for loader in loaders:
        for leaf in leaf_configs((cfg.get(loader) or {}).get('dataset')):
            for given in (leaf.get('metainfo') or {}, leaf):
                classes = given.get('classes')
                if isinstance(classes, str) and not _may_be_read(classes):
                    _refuse_path(classes, loader)
                    _refuse_string(classes, type_name(leaf))


def configured_classes(cfg: Mapping, loader: str) -> tuple[str, ...] | None:
    """The classes of a loader's data set, which is not built for it.

    Args:
        cfg: A config (mmengine's ``Config``) of any library.
        loader: The name of the data loader.

    Returns:
        By label, as the config or the class of the data set has them; None
        where neither does.
    """
    for leaf in leaf_configs((cfg.get(loader) or {}).get('dataset')):
        for given in (leaf.get('metainfo') or {}, leaf):
            if isinstance(given.get('classes'), (list, tuple)):
                return tuple(given['classes'])
        scope = cfg.get('default_scope', 'mmengine')
        with DATASETS.switch_scope_and_registry(scope) as registry:
            kind = registry.get(type_name(leaf))
        classes = (getattr(kind, 'METAINFO', None) or {}).get('classes')
        if classes:
            return tuple(classes)
    return None


def _may_be_read(path: str) -> bool:
    return '://' in path or Path(path).expanduser().is_file()


def _refuse_path(classes: str, loader: str) -> None:
    if '/' in classes or Path(classes).suffix in ('.txt', '.names', '.csv'):
        raise FileNotFoundError(
            f'classes={classes!r} of {loader}: no such file. Relative paths '
            f'start from {Path.cwd()}'
        )


def _refuse_string(classes: Any, name: str) -> None:
    if isinstance(classes, str):
        raise ValueError(
            f'metainfo of {name} has classes={classes!r}, '
            'a string, each letter of which would be a class: write '
            f'classes=({classes!r},), with the comma of a tuple'
        )


def near_name(name: str, others: Iterable[str]) -> str | None:
    """The one of other names that may be meant, if any is alike."""
    return next(iter(get_close_matches(name, list(others), 1, 0.75)), None)
