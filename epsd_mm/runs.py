"""A run as a value: what was asked, the config that comes of it, its key."""

import copy
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config

from .borrowed_masks import borrow_masks
from .config_file import read_config
from .config_types import epsd_hook, policy_of, setting
from .earlier_runs import (
    Earlier,
    check_taught,
    earlier_of,
    learn_from,
    start_from,
)
from .engine.variants import (
    apply_criterion,
    apply_options,
    apply_policy,
    apply_sd_loss,
    apply_variant,
)

#: Raised by any change of training or scoring that changes results.
RECIPE_VERSION = 1

# What a config says without deciding what comes out.
_HARMLESS = (
    'work_dir',
    'resume',
    'launcher',
    'log_level',
    'log_processor',
    'visualizer',
    'vis_backends',
    'experiment_name',
)
_HARMLESS_HOOKS = ('timer', 'logger', 'checkpoint', 'visualization')
#: Parts of a run that may stand in its config already.
PARTS = ('criterion', 'sd_loss', 'score_weights', 'policy')
# What decides masks, and nothing else.
_OF_MASKS = ('criterion', 'score_weights', 'policy', 'sparsity')
# Parts that are other runs.
_OTHERS = ('masks_of', 'weights_of', 'teacher')


@dataclass(frozen=True)
class Run:
    """What decides the result of a training.

    Attributes:
        config: Path of a config.
        variant: One of :data:`~epsd_mm.engine.variants.VARIANTS`; ``None``
            leaves the config as it is.
        criterion: Scores in place of the config's.
        sd_loss: Name of the loss in place of the config's.
        score_weights: In place of the config's.
        policy: One of :data:`~epsd_mm.engine.variants.POLICIES`, by which
            masks change in training.
        sparsity: In place of the config's.
        seed: In place of the config's.
        options: Settings that replace those of the config, as of
            ``--cfg-options``.
        masks_of: Another run of the same config, whose masks this one starts
            from in place of scoring. Other runs may be given as
            :meth:`to_dict` has them.
        shuffled: Move those masks about inside each layer.
        weights_of: Another run of the same network, from whose trained
            weights this one starts. What that one has pruned stays removed,
            so that this one goes on to prune.
        rewound_to: Start from the weights that the other had after so many
            epochs, or iterations where its training is told in them.
        teacher: Another run, from whose trained network this one learns.
        narrow: Train a dense network that is as large, layer by layer, as
            what that teacher keeps of its own.
    """

    config: str
    variant: str | None = None
    criterion: Any = None
    sd_loss: str | None = None
    score_weights: Mapping[str, float] | None = None
    policy: str | None = None
    sparsity: float | None = None
    seed: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    masks_of: 'Run | None' = None
    shuffled: bool = False
    weights_of: 'Run | None' = None
    rewound_to: int | None = None
    teacher: 'Run | None' = None
    narrow: bool = False

    def __post_init__(self) -> None:
        for name in _OTHERS:
            if isinstance(other := getattr(self, name), Mapping):
                object.__setattr__(self, name, Run(**other))
        if self.shuffled and self.masks_of is None:
            raise ValueError(
                'shuffled=True moves the masks of another run about: name '
                'it by masks_of'
            )
        if self.variant in ('dense', 'sd-only'):
            why = f'variant={self.variant!r} prunes nothing'
            self._refuse(why, *_OF_MASKS, 'masks_of')
        elif self.masks_of is not None:
            self._refuse('the masks are those of another run', *_OF_MASKS)
        if self.narrow and self.teacher is None:
            raise ValueError(
                'narrow=True makes a network as large as what its teacher '
                'keeps: name that run by teacher'
            )
        if self.narrow and self.weights_of is not None:
            raise ValueError(
                'narrow=True starts from weights of its own, which no other '
                'run has: leave weights_of out'
            )
        if self.weights_of is None and self.rewound_to is not None:
            raise ValueError(
                f'rewound_to={self.rewound_to} goes back in the training of '
                'another run: name it by weights_of'
            )

    def _refuse(self, why: str, *names: str) -> None:
        idle = [name for name in names if getattr(self, name) is not None]
        if idle:
            raise ValueError(
                f'{why}, so that {", ".join(idle)} would have no effect: '
                'leave it out'
            )

    @property
    def comes_after(self) -> list['Run']:
        """Runs that must have ended before this one begins."""
        found = [self.weights_of, self.teacher]
        if self.masks_of is not None:
            found += self.masks_of.comes_after
        return [run for run in found if run is not None]

    def earlier(self, base: Config | None = None) -> Earlier:
        """What runs that come after this one must know of it; found once.

        Args:
            base: As of :meth:`resolve`.

        Raises:
            ValueError: As of :meth:`resolve`; or its loss learns from a
                trained network, and none is named.
        """
        # A run of many rounds names its predecessors at every level.
        known = self.__dict__
        if '_earlier' not in known:
            cfg = self.resolve(base)
            check_taught(cfg)
            known['_earlier'] = earlier_of(cfg, key_of(cfg))
        return known['_earlier']

    def resolve(self, base: Config | None = None) -> Config:
        """The config of the run.

        Args:
            base: What the file ``config`` holds, where it was read already.

        Raises:
            ValueError: A change does not apply to the config.
            FileNotFoundError: There is no such config.
        """
        base = base or read_config(self.config)
        cfg = copy.deepcopy(base)
        if self.sd_loss is not None:
            apply_sd_loss(cfg, self.sd_loss)
        if self.policy is not None:
            apply_policy(cfg, self.policy)
        if self.criterion is not None:
            apply_criterion(cfg, self.criterion)
        cfg.merge_from_dict(copy.deepcopy(dict(self.options)))
        asked = dict(sparsity=self.sparsity, score_weights=self.score_weights)
        asked = {name: v for name, v in asked.items() if v is not None}
        if asked:
            apply_options(cfg, **asked)
        if self.seed is not None:
            cfg.merge_from_dict({'randomness.seed': self.seed})
        if self.variant is not None:
            apply_variant(cfg, self.variant)
        if self.masks_of is not None:
            lender = self.masks_of.resolve(base)
            borrow_masks(cfg, lender, decisive(lender), self.shuffled)
        if self.weights_of is not None:
            start_from(cfg, self.weights_of.earlier(base), self.rewound_to)
        if self.teacher is not None:
            learn_from(cfg, self.teacher.earlier(base), self.narrow)
        return cfg

    def unneeded(self, base: Config | None = None) -> dict[str, Any]:
        """Parts and options without which the config is the same, by name.

        Args:
            base: As of :meth:`resolve`.
        """
        base = base or read_config(self.config)
        content = self.resolve(base).to_dict()
        found = {}
        for name, value, without in self._without_each():
            # An option that something else stands on has an effect.
            with suppress(KeyError, TypeError, ValueError):
                if without.resolve(base).to_dict() == content:
                    found[name] = value
        return found

    def _without_each(self) -> Iterator[tuple[str, Any, 'Run']]:
        for name in PARTS:
            value = getattr(self, name)
            if value is not None:
                yield name, value, replace(self, **{name: None})
        for name, value in self.options.items():
            others = {k: v for k, v in self.options.items() if k != name}
            yield name, value, replace(self, options=others)

    def check_effects(self, base: Config | None = None) -> None:
        """Refuse a loss and options without which the config is the same.

        Options may say again what the config has.

        Args:
            base: As of :meth:`resolve`.

        Raises:
            ValueError: Names what has no effect.
        """
        base = base or read_config(self.config)
        cfg = self.resolve(base)
        for name, value in self.unneeded(base).items():
            if name in PARTS:
                raise ValueError(
                    f'{name}={value!r} changes nothing of this run: leave it '
                    'out'
                )
            if setting(cfg, name) != value:
                raise ValueError(
                    f'the option {name}={value} has no effect beside '
                    f'variant={self.variant!r}: leave it out'
                )

    def work_dir(self, cfg: Config) -> str:
        """Where it leaves its files unless it is told.

        That is where the config says, or ``work_dirs/`` with its name, and
        the loss and the variant that are asked for. A ``config.py``, as
        ``tools/prune.py`` writes it, has the name of its folder.

        Args:
            cfg: Of this run, resolved.
        """
        folder = cfg.get('work_dir')
        if folder is None:
            folder = os.path.join('./work_dirs', _name_of(self.config))
        asked = (self.sd_loss, self.policy, self.variant)
        names = [name for name in asked if name not in (None, 'epsd')]
        return '_'.join([folder, *names])

    def to_dict(self) -> dict[str, Any]:
        """Plain values that :class:`Run` takes again."""
        return asdict(self)  # of the runs that it names, too


def _name_of(config: str) -> str:
    path = Path(config)
    inside = path.resolve().parent.name if path.stem == 'config' else ''
    return inside or path.stem


def key_of(cfg: Config) -> str:
    """Hash of all that decides a run's result: 16 hexadecimal digits.

    That is the resolved config, but for where and how it logs, and
    :data:`RECIPE_VERSION`. Two ways to ask for the same run have the same
    key.

    Raises:
        TypeError: The config holds objects without a lasting form.
    """
    content = dict(decisive(cfg), recipe_version=RECIPE_VERSION)
    text = json.dumps(content, sort_keys=True, default=_named)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def decisive(cfg: Config) -> dict[str, Any]:
    """All of a config but for where and how it logs, and what is default."""
    content = {k: v for k, v in cfg.to_dict().items() if k not in _HARMLESS}
    hooks = content.get('default_hooks') or {}
    content['default_hooks'] = {
        name: hook
        for name, hook in hooks.items()
        if name not in _HARMLESS_HOOKS
    }
    hook = epsd_hook(content) or {}
    if hook.get('policy') is not None and not policy_of(content):
        del hook['policy']  # one that is to have none
    return content


def _named(value: Any) -> Any:
    """A lasting form for what JSON has none for."""
    if isinstance(value, type):
        return f'{value.__module__}.{value.__qualname__}'
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    if isinstance(value, range):
        return list(value)
    raise TypeError(
        f'the config holds {value!r}, whose content has no lasting form, so '
        'that a run cannot be told from another: use plain values'
    )
