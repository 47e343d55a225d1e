"""Runs that start from the masks of another one, in place of scoring."""

from typing import Any

from mmengine.config import Config

from .config_types import epsd_hook
from .engine.settings import settings_of
from .engine.variants import apply_pruned

#: Where the masks are, in the folder of such a run: to be made beforehand.
BORROWED = 'borrowed_masks.pth'


def borrow_masks(
    cfg: Config, lender: Config, content: dict[str, Any], shuffled: bool
) -> None:
    """Let a config train under the masks of another one, in place.

    ``cfg.masks_of`` says what those masks are. Whoever trains by the config
    makes them first; until then the file that its hook names is not there.

    Args:
        cfg: A config with an ``EPSDHook``.
        lender: The config whose masks they are.
        content: All of that which decides its result.
        shuffled: Move them about inside each layer.

    Raises:
        ValueError: The other config has no masks of weights to lend, or they
            have a pattern that shuffling would destroy.
    """
    settings = settings_of(lender)
    if settings is not None and settings.changes:
        raise ValueError(
            f'masks_of: those of the other run change while it trains, by '
            f'{type(settings.policy).__name__}: name one that prunes before'
        )
    if settings is None or settings.criterion is None:
        raise ValueError(
            'masks_of: the other run scores nothing, so it has no masks of '
            'its own: name one that prunes'
        )
    if settings.units:
        raise ValueError(
            'masks_of: the other run removes whole channels, which masks of '
            'weights do not tell: name one that keeps single weights'
        )
    if shuffled and settings.structure is not None:
        raise ValueError(
            f'shuffled=True: {type(settings.structure).__name__} keeps '
            'weights together, which shuffling would tear apart: leave one '
            'of the two out'
        )
    apply_pruned(cfg, masks=BORROWED)
    cfg.masks_of = dict(run=content, shuffled=shuffled)


def with_borrowed_masks(cfg: Config, masks: str) -> Config:
    """The config to train by, once the masks are there, in place.

    Args:
        cfg: One of :func:`borrow_masks`.
        masks: Path of their file.
    """
    cfg.pop('masks_of')
    epsd_hook(cfg).masks = masks
    return cfg
