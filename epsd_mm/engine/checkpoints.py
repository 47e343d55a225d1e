"""Checkpoints: which one a run goes on from, and that none is lost."""

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.fileio import LocalBackend, get_file_backend, register_backend
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import FlexibleRunner, Runner

from epsd_mm.config_types import type_name
from epsd_mm.distillation.teachers import OtherTeacherError
from epsd_mm.files import atomic_write
from epsd_mm.run_files import LAST, last_checkpoint, named_checkpoint

from .safe_loading import (
    TAKE_ANOTHER,
    CheckpointError,
    check_checkpoint,
    read_meta,
)
from .work_dir import claim_work_dir, release_work_dir


def look_before_loading(runner: Runner) -> None:
    """Let the runner load a whole checkpoint, or say why it cannot.

    To resume without a name takes the newest whole checkpoint of the run,
    whatever ``last_checkpoint`` says; damaged ones are named.

    Raises:
        OSError: The checkpoint cannot be read.
        CheckpointError: It is damaged; or there are checkpoints to resume,
            and all of them are; or starting over would replace the best.
    """
    if isinstance(runner._resume, str):  # a name, to FlexibleRunner
        runner._load_from, runner._resume = runner._resume, True
    if runner._has_loaded and not _has_guessed(runner):
        return
    verdict = [None]
    if is_main_process():
        try:
            chosen = _choice(runner)
            verdict = [(chosen, _is_same(chosen, _named_by_last(runner)))]
        except (OSError, ValueError) as error:
            verdict = [error]
    broadcast_object_list(verdict)
    if isinstance(verdict[0], Exception):
        raise verdict[0]
    runner._load_from, guessed_right = verdict[0]
    runner._has_loaded &= guessed_right
    if runner._load_from is None:
        runner._resume = False  # or it would ask last_checkpoint


def load_what_was_chosen(runner: Runner) -> None:
    """Let a FlexibleRunner load again that has done so before its hooks."""
    if isinstance(runner, FlexibleRunner):
        runner.load_or_resume()


@contextmanager
def loaded_file_named(runner: Runner) -> Iterator[None]:
    """Say which file it is that has a damaged ``checkpoint['epsd']``."""
    try:
        yield
    except OtherTeacherError:
        raise  # of a whole state
    except ValueError as error:
        file = runner._load_from or 'the loaded checkpoint'
        raise damaged_state(file, error) from error


def damaged_state(file: str, error: ValueError) -> CheckpointError:
    """What to raise where a file has a ``checkpoint['epsd']`` of no use."""
    return CheckpointError(
        f"{file}: checkpoint['epsd'] is damaged: {error}; take another "
        'checkpoint of that run'
    )


def _choice(runner: Runner) -> str | None:
    """What the runner shall load, where that is known yet."""
    given = runner._load_from
    if given is not None:
        if _is_local(given):
            path = os.path.expanduser(given)
            check_checkpoint(path, to_resume=bool(runner._resume))
            _refuse_compact(path, runner)
        return given
    if not runner._resume:
        return None
    damaged = []
    for path in _newest_first(runner):
        try:
            check_checkpoint(path, to_resume=True)
        except ValueError as error:
            damaged.append(f'{error}'.removesuffix(TAKE_ANOTHER))
            continue
        for reason in damaged:
            runner.logger.warning(f'{reason}: it is passed over')
        runner.logger.info(f'the newest whole checkpoint is {path}')
        return str(path)
    elsewhere = _named_by_last(runner)
    if elsewhere and not _is_local(elsewhere):
        return elsewhere
    if damaged:
        raise CheckpointError(
            f'there is no whole checkpoint to resume in {runner.work_dir}: '
            f'{"; ".join(damaged)}. To start over, train without resume in '
            'another work_dir'
        )
    best = sorted(_numbered(runner, 'best_.+_'))
    if best:
        raise CheckpointError(
            f'there is no checkpoint to resume in {runner.work_dir}, and to '
            f'start over there could replace {best[0]}: train in another '
            'work_dir without resume, from its weights with load_from'
        )
    if elsewhere and runner._has_loaded:
        raise CheckpointError(
            f'there is no checkpoint to resume in {runner.work_dir}, but '
            f'FlexibleRunner has loaded {elsewhere}, of another run, which '
            f'{LAST} names: remove that file, or train without resume'
        )
    why = ''
    if elsewhere:
        why = f' ({LAST} names {elsewhere}, which is gone or of another run)'
    runner.logger.warning(
        f'there is no checkpoint to resume in {runner.work_dir}{why}: the '
        'training starts from the beginning'
    )
    return None


def _refuse_compact(path: str, runner: Runner) -> None:
    """Where mmengine would warn of shapes, and start those layers anew."""
    text = read_meta(path).get('cfg')
    is_compact = isinstance(text, str) and _COMPACT.search(text)
    model = runner.cfg.get('model')
    if (
        is_compact
        and isinstance(model, Mapping)
        and not _builds_compact(model)
    ):
        raise CheckpointError(
            f'{path} is of a compact network, from which channels were '
            'removed, and the config is of one that has them: take the '
            'config that it was trained with, or the config.py that '
            'tools/prune.py has written'
        )


def _builds_compact(model: Any) -> bool:
    """Also where others, as of test-time augmentation, are around it."""
    return isinstance(model, Mapping) and (
        type_name(model) == 'Compact'
        or any(map(_builds_compact, model.values()))
    )


_COMPACT = re.compile(r"""\btype=['"](\w+\.)*Compact['"]""")


def _has_guessed(runner: Runner) -> bool:
    """Whether it took what ``last_checkpoint`` says before its hooks."""
    return (
        isinstance(runner, FlexibleRunner)
        and bool(runner._resume)
        and runner._load_from is None
    )


def _is_same(one: str | None, other: str | None) -> bool:
    return bool(one and other) and Path(one).resolve() == Path(other).resolve()


def _newest_first(runner: Runner) -> Iterator[Path]:
    """Checkpoints of the run, the one to resume first.

    That is the one that ``last_checkpoint`` names, or one that was saved
    after it when the run died. Numbers alone would not do: those of an
    earlier run in this folder may be larger.
    """
    numbers = _numbered(runner)
    folders = sorted({folder for folder, _ in _places(runner)})
    last = last_checkpoint(Path(runner.work_dir), folders)
    last = last and last.resolve()
    later = []
    if last is not None:
        number = numbers.pop(last, -1)
        since = _saved_at(last)
        later = [p for p in numbers if numbers[p] > number]
        later = [p for p in later if _saved_at(p) >= since]
    others = [path for path in numbers if path not in later]
    for paths in (later, [last] if last else [], others):
        yield from sorted(
            paths,
            key=lambda p: (_saved_at(p), numbers.get(p)),
            reverse=True,
        )


def _saved_at(path: Path) -> int:
    """When a checkpoint was saved, in seconds.

    It says so itself; the time of the file is that of its last copy.
    """
    try:
        said = time.strptime(read_meta(path)['time'], '%Y%m%d_%H%M%S')
        return int(time.mktime(said))
    except (KeyError, TypeError, ValueError, OverflowError):
        return int(path.stat().st_mtime)


def _numbered(runner: Runner, prefix: str = '') -> dict[Path, int]:
    """The files with the names of checkpoints, and the number of each.

    Args:
        runner: Of the run.
        prefix: Regular expression for what the names start with.
    """
    found = {}
    for folder, template in _places(runner):
        start, _, end = template.partition('{}')
        name = re.compile(
            prefix + re.escape(start) + r'(\d+)' + re.escape(end)
        )
        for path in folder.glob('*') if folder.is_dir() else ():
            match = name.fullmatch(path.name)
            if match and path.is_file():
                found[path.resolve()] = int(match[1])
    return found


def _places(runner: Runner) -> set[tuple[Path, str]]:
    """The folders of the run, and how checkpoints are named there."""
    work_dir = Path(runner.work_dir)
    places = {(work_dir, 'epoch_{}.pth'), (work_dir, 'iter_{}.pth')}
    for hook in _checkpoint_hooks(runner):
        folder = work_dir
        if hook.out_dir is not None and _is_local(str(hook.out_dir)):
            folder = Path(hook.out_dir, folder.resolve().name)
        places.add((folder, hook.filename_tmpl))
    return places


def _named_by_last(runner: Runner) -> str | None:
    return named_checkpoint(Path(runner.work_dir))


def _is_local(name: str) -> bool:
    return '://' not in name


def _checkpoint_hooks(runner: Runner) -> list[CheckpointHook]:
    return [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]


def guard_checkpoints(runner: Runner) -> None:
    """Let the runner lose no checkpoint while it saves the next one."""
    if type(get_file_backend('.')) is LocalBackend:
        register_backend('local', WholeFiles, force=True, prefixes='')
    if not any(isinstance(hook, CheckpointGuard) for hook in runner.hooks):
        runner.register_hook(CheckpointGuard())


_PICTURES = ('.bmp', '.jpeg', '.jpg', '.png', '.webp')


class WholeFiles(LocalBackend):
    """Files that take their place once they are written to their end.

    mmengine's own backend writes in place: what was there is gone before
    the new content is on the disk. Pictures are left to it, since thousands
    may be painted, and each would wait for the disk.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        path = Path(os.path.realpath(filepath))
        is_device = path.exists() and not path.is_file()  # as /dev/stdout
        if is_device or path.suffix.lower() in _PICTURES:
            super().put(obj, filepath)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(obj)

    def put_text(
        self, obj: str, filepath: str | Path, encoding: str = 'utf-8'
    ) -> None:
        self.put(obj.encode(encoding), filepath)


class CheckpointGuard(Hook):
    """Lets ``CheckpointHook`` remove an old file after the new one is there.

    By itself it removes first: with ``max_keep_ckpts=1``, or for the best
    checkpoint, a run that dies in between has none. No second training
    writes into the folder until this one is done.
    """

    priority = 'LOWEST'  # after CheckpointHook

    def __init__(self) -> None:
        self._delayed: list[tuple[CheckpointHook, _RemovesLater]] = []

    def before_train(self, runner: Runner) -> None:
        """Take the place of the backends that remove files."""
        claim_work_dir(runner.work_dir)
        self._delayed = []
        for hook in _checkpoint_hooks(runner):
            if isinstance(hook.file_backend, LocalBackend):
                hook.file_backend = _RemovesLater()
                self._delayed.append((hook, hook.file_backend))

    def after_train_epoch(self, runner: Runner) -> None:
        """Remove what a new checkpoint replaces."""
        self._remove()

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Likewise."""
        self._remove()

    def after_val_epoch(self, runner: Runner, *args, **kwargs) -> None:
        """Likewise, of the best checkpoint."""
        self._remove()

    def after_train(self, runner: Runner) -> None:
        """Let others train into the folder."""
        release_work_dir(runner.work_dir)

    def _remove(self) -> None:
        for hook, backend in self._delayed:
            kept = {hook.last_ckpt, getattr(hook, 'best_ckpt_path', None)}
            kept.update(getattr(hook, 'best_ckpt_path_dict', {}).values())
            backend.remove_now(kept)


class _RemovesLater(WholeFiles):
    """Removes files when it is told that the time has come."""

    def __init__(self) -> None:
        self._doomed: list[str] = []

    def remove(self, filepath: str | Path) -> None:
        self._doomed.append(str(filepath))

    def remove_now(self, kept: set) -> None:
        """Remove what was asked for, but for what was written since."""
        for path in self._doomed:
            if path not in kept and self.isfile(path):
                super().remove(path)
        self._doomed.clear()
