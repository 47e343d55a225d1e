"""Runs that go on from what another one has trained, or learn from it.

Their configs name the other run by its key; where its files are is found once
they train.
"""

from dataclasses import dataclass

from mmengine.config import Config

from .config_types import epsd_hook
from .distillation import SelfDistillationLoss
from .engine.settings import settings_of

#: Stands for the weights of the other run until it is known where they are.
WEIGHTS = 'weights_of_an_earlier_run.pth'
#: Stands for its masks.
MASKS = 'masks_of_an_earlier_run.pth'


@dataclass(frozen=True)
class Earlier:
    """What must be known of a run by those that come after it.

    Attributes:
        key: Hash of all that decides its result.
        prunes: Whether it ends with masks.
        compact: Whether it ends with another network than its config has,
            after it has removed channels.
        narrow: Whether it trains another one from the start, as large as
            what its teacher keeps.
        unit: What its training counts, ``'epoch'`` or ``'iter'``.
        length: So many of them.
    """

    key: str
    prunes: bool
    compact: bool
    narrow: bool
    unit: str
    length: int


def earlier_of(cfg: Config, key: str) -> Earlier:
    """What a resolved config tells of its run."""
    settings = settings_of(cfg)
    unit, length = training_length(cfg)
    return Earlier(
        key=key,
        prunes=settings is not None
        and (
            settings.criterion is not None
            or settings.masks is not None
            or settings.changes
        ),
        compact=settings is not None and settings.units is not None,
        narrow=bool((cfg.get('teacher_of') or {}).get('narrow')),
        unit=unit,
        length=length,
    )


def training_length(cfg: Config) -> tuple[str, int | None]:
    """What a training counts, ``'epoch'`` or ``'iter'``, and how many."""
    told = cfg.train_cfg
    # A loop by its type says nothing else.
    by_epoch = told.get('by_epoch', 'max_iters' not in told)
    unit = 'epoch' if by_epoch else 'iter'
    return unit, told.get(f'max_{unit}s')


def start_from(cfg: Config, earlier: Earlier, step: int | None) -> None:
    """Let a config start from the weights of another run, in place.

    Args:
        cfg: A config that has all that is asked of it but this.
        earlier: The other run.
        step: What it was after so many epochs or iterations, and go on
            from there on its schedule; else the weights of its end.

    Raises:
        ValueError: The other has no such weights, or none that this one can
            start from.
    """
    if earlier.compact:
        raise ValueError(
            'weights_of: the other run removes whole channels, so that its '
            'network is not that of this config: name one that keeps single '
            'weights'
        )
    if earlier.narrow:
        raise ValueError(
            'weights_of: the other run trains a student, as large as what '
            'its teacher keeps, so that its network is not that of this '
            'config: name the teacher, or learn from the student by teacher'
        )
    cfg.weights_of = dict(run=earlier.key)
    cfg.load_from = WEIGHTS
    if step is not None:
        _check_rewind(earlier, step)
        cfg.weights_of.rewound_to = {earlier.unit: step}
    if earlier.prunes:
        _keep_removed(cfg)


def learn_from(cfg: Config, earlier: Earlier, narrow: bool = False) -> None:
    """Let a config learn from the network of another run, in place.

    Args:
        cfg: A config whose loss takes a teacher.
        earlier: The other run.
        narrow: Let the network be as large as what that one keeps.

    Raises:
        ValueError: The config has another loss, or none; or the other run
            keeps every weight.
    """
    settings = settings_of(cfg)
    loss = settings and settings.sd_loss
    if loss is None or not loss.needs.taught:
        raise ValueError(
            "teacher: what learns from another network is sd_loss='KD', and "
            f'this run trains with {_named(loss)}: set it, or leave teacher '
            'out'
        )
    cfg.teacher_of = dict(run=earlier.key)
    if not narrow:
        return
    if not earlier.prunes or earlier.compact:
        raise ValueError(
            'student_of: a student is as large as what single weights its '
            'teacher keeps, and the other run removes none: name one that '
            'does'
        )
    cfg.teacher_of.narrow = True
    # Those of the whole network: a student starts from weights of its own.
    if cfg.get('load_from') is not None:
        cfg.load_from = None


def check_taught(cfg: Config) -> None:
    """Refuse a loss that learns from a network where none is named.

    Args:
        cfg: Of a run, resolved.

    Raises:
        ValueError: Neither another run nor the hook of the config does.
    """
    settings = settings_of(cfg)
    loss = settings and settings.sd_loss
    if loss is None or not loss.needs.taught or loss.teacher is not None:
        return
    if cfg.get('teacher_of') is None:
        name = type(loss).__name__
        raise ValueError(
            f'sd_loss={name!r} learns from a trained network, and none is '
            'named: add teacher with the name of another method, such as a '
            f'dense one, or let the hook of the config have sd_loss=dict(type='
            f'{name!r}, teacher=dict(config=PATH, checkpoint=PATH))'
        )


def _check_rewind(earlier: Earlier, step: int) -> None:
    if earlier.prunes:
        raise ValueError(
            f'rewound_to={step}: the other run prunes, and the masks that it '
            'had then are not those of its end: name one that is dense'
        )
    if type(step) is not int or not 0 < step < earlier.length:
        raise ValueError(
            f'rewound_to={step!r} must be a whole number of {earlier.unit}s '
            f'between 0 and {earlier.length}, which the other run trains for, '
            'both left out: nothing else of it is saved. In rounds it is '
            'called rewind'
        )


def _keep_removed(cfg: Config) -> None:
    hook = epsd_hook(cfg)
    settings = settings_of(cfg)
    if settings is None or settings.criterion is None:
        raise ValueError(
            'weights_of: the other run ends with masks, and this one scores '
            'nothing, so that what was removed would come back: give it a '
            'criterion, such as Magnitude, and a higher sparsity'
        )
    if settings.changes and settings.policy.regrows:
        raise ValueError(
            'weights_of: the other run ends with masks, and policy='
            f'{type(settings.policy).__name__} lets what was removed come '
            'back: leave policy out, or name one that is dense'
        )
    # Nothing is at its initialisation any more.
    hook.pop('zero_layers', None)
    hook.start = MASKS


def _named(loss: SelfDistillationLoss | None) -> str:
    return 'no sd_loss' if loss is None else type(loss).__name__
