"""What a cell takes from those that it comes after."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config, ConfigDict

from epsd_mm.config_types import epsd_hook
from epsd_mm.earlier_runs import MASKS as STANDS_FOR_MASKS
from epsd_mm.prune_then_distill import student_model
from epsd_mm.run_files import MASKS, last_checkpoint
from epsd_mm.training import StartError

from .rewind_hook import rewind_file


@dataclass(frozen=True)
class Taken:
    """A file of a finished cell, from which another one goes on.

    Attributes:
        place: In the config of that other one, for its path.
        key: Of the finished cell.
        what: For people.
        path: None where not even its name is known.
    """

    place: str
    key: str
    what: str
    path: Path | None

    @property
    def is_there(self) -> bool:
        """Whether it can be taken."""
        return self.path is not None and self.path.is_file()


def taken(cfg: Config, cells: Path) -> Iterator[Taken]:
    """All that a config takes from other cells.

    Args:
        cfg: Of a run that names others.
        cells: Holds the folder of each cell under its key.
    """
    origin = cfg.get('weights_of')
    if origin is not None:
        key, folder = origin.run, cells / origin.run
        step = origin.get('rewound_to')
        if step is None:
            what, path = 'its last checkpoint', last_checkpoint(folder)
        else:
            ((unit, at),) = step.items()
            what = f'its weights after {unit} {at}'
            path = rewind_file(folder, unit, at)
        yield Taken('load_from', key, what, path)
        if (epsd_hook(cfg) or {}).get('start') == STANDS_FOR_MASKS:
            yield Taken('start', key, 'its masks', folder / MASKS)
    teacher = cfg.get('teacher_of')
    if teacher is not None:
        key, folder = teacher.run, cells / teacher.run
        yield Taken('config', key, 'its config', _last_config(folder))
        path = last_checkpoint(folder)
        yield Taken('checkpoint', key, 'its last checkpoint', path)


def taken_in_all(cfg: Config, cells: Path) -> Iterator[Taken]:
    """What a config takes, and the one whose masks it has.

    Args:
        cfg: Of a run.
        cells: As of :func:`taken`.
    """
    yield from taken(cfg, cells)
    lender = cfg.get('masks_of')
    if lender is not None:
        yield from taken_in_all(lender.run, cells)


def after_earlier(cfg: Config, cells: Path) -> Config:
    """Let a config start where finished cells have ended, in place.

    Args:
        cfg: Of a run that names others.
        cells: As of :func:`taken`.

    Raises:
        StartError: A file of another cell is not there.
    """
    paths = {each.place: _there(each, cells) for each in taken(cfg, cells)}
    hook = epsd_hook(cfg) or {}
    if 'load_from' in paths:
        cfg.load_from = paths['load_from']
    if 'start' in paths:
        hook.start = paths['start']
    cfg.pop('weights_of', None)
    teacher = cfg.pop('teacher_of', None)
    if teacher is not None:
        config, checkpoint = paths['config'], paths['checkpoint']
        hook.sd_loss = _taught(hook.sd_loss, config, checkpoint)
        if teacher.get('narrow'):
            cfg.model = student_model(Config.fromfile(config), checkpoint)
    return cfg


def _taught(
    loss: str | ConfigDict, config: str, checkpoint: str
) -> ConfigDict:
    loss = ConfigDict(type=loss) if isinstance(loss, str) else loss
    loss.teacher = dict(config=config, checkpoint=checkpoint)
    return loss


def _last_config(folder: Path) -> Path | None:
    configs = sorted(folder.glob('*.py'), key=lambda p: p.stat().st_mtime)
    return configs[-1] if configs else None


def _there(file: Taken, cells: Path) -> str:
    if not file.is_there:
        raise StartError(
            f'this cell comes after that of {cells / file.key}, and '
            f'{file.what} is not there: all machines must see the folders of '
            'all cells; where it was removed, `run --retry` runs that cell '
            'again'
        )
    return str(file.path)
