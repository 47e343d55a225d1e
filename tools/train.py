"""Train a model, pruned before training where the config has an EPSDHook."""

import argparse
from typing import Any

# The package repairs broken environments, so it is imported first.
import epsd_mm  # noqa: F401

# isort: split
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_distributed

from common import (
    add_arguments,
    build_runner,
    careful_loading,
    fetch_pretrained,
    is_mmdet,
    load_config,
    one_sentence,
)
from epsd_mm.config_types import find_hook
from epsd_mm.datasets.annotations import check_configured_annotations
from epsd_mm.datasets.class_names import check_configured_class_names
from epsd_mm.engine.checkpoints import look_before_loading
from epsd_mm.engine.hooks import RevivalHook
from epsd_mm.engine.launch import join_without_accelerator
from epsd_mm.engine.loaders import check_loader_config
from epsd_mm.engine.settings import Settings
from epsd_mm.engine.variants import VARIANTS, apply_sd_loss, apply_variant
from epsd_mm.engine.work_dir import claim_work_dir, release_work_dir
from epsd_mm.preparation import require_data


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints')
    parser.add_argument(
        '--amp',
        action='store_true',
        help='train with automatic mixed precision',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate by the job's batch size over the "
        "config's auto_scale_lr.base_batch_size",
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from this checkpoint; without a path, from the latest '
        'one in the work dir',
    )
    parser.add_argument(
        '--sd-loss',
        metavar='NAME',
        help='CSKDLoss, PSKDLoss, DLBLoss or one of your own instead of the '
        "config's, with the batches that it needs; --cfg-options "
        'default_hooks.epsd.sd_loss.X=… sets it. DLBLoss repeats half of each '
        'batch, so that its epochs have twice as many steps',
    )
    parser.add_argument(
        '--variant',
        choices=VARIANTS,
        help='train what the config is compared with instead: '
        + '; '.join(f'{name}: {what}' for name, what in VARIANTS.items()),
    )
    add_arguments(parser)
    return parser.parse_args(argv)


def configure(args: argparse.Namespace) -> Config:
    """The config with everything the command line asks for."""
    cfg = load_method(args)
    refuse_ignored(args, cfg)
    if args.work_dir is None:
        chosen = [args.sd_loss, args.variant]
        names = [name for name in chosen if name not in (None, 'epsd')]
        cfg.work_dir = '_'.join([cfg.work_dir, *names])
    if args.amp:
        if get_device() == 'cpu':
            raise ValueError(
                '--amp needs an accelerator and this machine has none: '
                'leave --amp out to train in float32'
            )
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise ValueError(
                f'--auto-scale-lr needs auto_scale_lr.base_batch_size, which '
                f'{args.config} does not set: add `--cfg-options '
                'auto_scale_lr.base_batch_size=N`, N being the batch size '
                'its learning rate was chosen for'
            )
        cfg.auto_scale_lr.enable = True
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    return cfg


def load_method(args: argparse.Namespace) -> Config:
    """The config of the method that the command line asks for."""

    def change(cfg: Config) -> None:
        if args.sd_loss is not None:
            apply_sd_loss(cfg, args.sd_loss)

    cfg = load_config(args, change)
    if args.variant is not None:
        apply_variant(cfg, args.variant)
    return cfg


def refuse_ignored(args: argparse.Namespace, cfg: Config) -> None:
    """Raise where options have no effect on the method."""
    if args.sd_loss is not None:
        without = load_method(changed(args, sd_loss=None))
        if without.to_dict() == cfg.to_dict():
            raise ValueError(
                f'--sd-loss {args.sd_loss} changes nothing of this run: '
                'remove it'
            )
    for name, asked in (args.cfg_options or {}).items():
        found = setting(cfg, name)
        if found == asked:
            continue
        others = {k: v for k, v in args.cfg_options.items() if k != name}
        without = load_method(changed(args, cfg_options=others))
        if found == setting(without, name):
            raise ValueError(
                f'--cfg-options {name}={asked} has no effect beside '
                f'--variant {args.variant}: remove it'
            )


def check_masks(cfg: Config) -> None:
    """Miss a file of masks that the run starts from before it is built.

    Raises:
        OSError: There is no such file.
        ValueError: It holds no masks, or none of the prefix.
    """
    found = find_hook(cfg, 'EPSDHook')
    if found is None or cfg.get('resume'):
        return
    hook = found[0][found[1]]
    if hook.get('masks') is not None:
        names = {name: hook.get(name) for name in ('masks', 'prefix')}
        Settings.build(**names).read_masks()


def changed(args: argparse.Namespace, **others) -> argparse.Namespace:
    """The same arguments but for some."""
    return argparse.Namespace(**{**vars(args), **others})


def setting(cfg: Config, name: str) -> Any:
    """What a config has under a name such as ``a.b.0``; None for nothing."""
    part = cfg
    for key in name.split('.'):
        if isinstance(part, (list, tuple)):
            part = part[int(key)] if int(key) < len(part) else None
        else:
            part = (part or {}).get(key)
    return part


def main() -> None:
    args = parse_args()
    with careful_loading(args):
        train(args)


def train(args: argparse.Namespace) -> None:
    """Look at what the training starts from, and let it run."""
    with one_sentence():
        cfg = configure(args)
        check_loader_config(cfg)
        check_masks(cfg)
        loaders = ['train_dataloader']
        if cfg.get('val_cfg') is not None:
            loaders.append('val_dataloader')
        require_data(cfg, loaders)
        check_configured_class_names(cfg, loaders)
        if is_mmdet(cfg):
            check_configured_annotations(cfg)
        join_without_accelerator(cfg)
        if cfg.launcher == 'none' or is_distributed():
            # The runner writes its config there as soon as it is built.
            claim_work_dir(cfg.work_dir)
    try:
        run(cfg)
    finally:
        release_work_dir(cfg.work_dir)


def run(cfg: Config) -> None:
    """Build the runner of a config and let it train."""
    runner = build_runner(cfg)
    with one_sentence():
        # In a distributed job one process looks, now that they are joined.
        claim_work_dir(runner.work_dir)
        look_before_loading(runner)
        fetch_pretrained(cfg.model)
    if not any(isinstance(hook, RevivalHook) for hook in runner.hooks):
        runner.register_hook(RevivalHook())
    runner.train()


if __name__ == '__main__':
    main()
