"""One training, from a resolved config to its end."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mmengine.config import Config
from mmengine.dist import is_distributed
from mmengine.hooks import Hook
from mmengine.runner import Runner

from .config_types import epsd_hook, is_mmdet
from .datasets.annotations import check_configured_annotations
from .datasets.class_names import check_configured_class_names
from .engine.checkpoints import look_before_loading
from .engine.hooks import RevivalHook, SummaryHook
from .engine.launch import join_without_accelerator
from .engine.loaders import check_loader_config
from .engine.pretrained import fetch_pretrained
from .engine.runner import build_runner
from .engine.settings import Settings, settings_of
from .engine.work_dir import claim_work_dir, release_work_dir
from .preparation import require_data


class StartError(RuntimeError):
    """A training cannot start; says what would let it."""


def train(cfg: Config, *hooks: Hook) -> Runner:
    """Look at what a training starts from, and let it run to its end.

    Args:
        cfg: A complete config, see :func:`~epsd_mm.engine.runner.complete`,
            with a ``work_dir``.
        hooks: Take part beside those of the config.

    Returns:
        The runner, at its end.

    Raises:
        StartError: Data, masks, weights or the work dir are not as the
            config says; whatever can be seen before it is built is.
    """
    with _told():
        check(cfg)
        join_without_accelerator(cfg)
        if cfg.launcher == 'none' or is_distributed():
            # The runner writes its config there as soon as it is built.
            claim_work_dir(cfg.work_dir)
    try:
        return _run(cfg, hooks)
    finally:
        release_work_dir(cfg.work_dir)


def check(cfg: Config) -> None:
    """Look at all that can be seen before anything is built.

    Raises:
        OSError: A file or a data set is not there.
        ValueError: It is not what the config says, or the config is wrong.
    """
    check_loader_config(cfg)
    _check_masks(cfg)
    loaders = ['train_dataloader']
    if cfg.get('val_cfg') is not None:
        loaders.append('val_dataloader')
    require_data(cfg, loaders)
    check_configured_class_names(cfg, loaders)
    if is_mmdet(cfg):
        check_configured_annotations(cfg)


def _run(cfg: Config, hooks: Sequence[Hook]) -> Runner:
    runner = build_runner(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    with _told():
        # In a distributed job one process looks, now that they are joined.
        claim_work_dir(runner.work_dir)
        look_before_loading(runner)
        fetch_pretrained(cfg.model)
    for kind in (RevivalHook, SummaryHook):
        if not any(isinstance(hook, kind) for hook in runner.hooks):
            runner.register_hook(kind())
    runner.train()
    return runner


def _check_masks(cfg: Config) -> None:
    """Miss a file of masks that the run starts from before it is built."""
    hook = epsd_hook(cfg)
    if hook is None or cfg.get('resume'):
        return
    if hook.get('masks') is not None:
        names = {name: hook.get(name) for name in ('masks', 'prefix')}
        Settings.build(**names).read_masks()
    if hook.get('start') is not None:
        settings_of(cfg).read_start()


@contextmanager
def _told() -> Iterator[None]:
    """What a user can put right has no traceback; what fails later has."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise StartError(str(error)) from error
