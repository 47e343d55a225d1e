"""Train a model, pruned before training where the config has an EPSDHook."""

import argparse

# The package repairs broken environments, so it is imported first.
import with_mm  # noqa: F401

# isort: split
from mmengine.config import Config
from mmengine.device import get_device

from common import (
    add_arguments,
    careful_loading,
    one_sentence,
    resolve,
    run_of,
)
from epsd_mm.engine.variants import POLICIES, VARIANTS
from epsd_mm.training import StartError, train


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
        help='CSKDLoss, PSKDLoss, DLBLoss, KD or one of your own instead of '
        "the config's, with the batches that it needs; --cfg-options "
        'default_hooks.epsd.sd_loss.X=… sets it. DLBLoss repeats half of each '
        'batch, so that its epochs have twice as many steps',
    )
    parser.add_argument(
        '--variant',
        choices=VARIANTS,
        help='train what the config is compared with instead: '
        + '; '.join(f'{name}: {what}' for name, what in VARIANTS.items()),
    )
    parser.add_argument(
        '--policy',
        choices=POLICIES,
        help='change masks in training instead of pruning before it: gradual '
        'magnitude pruning, or sparse training from random masks. With '
        '--variant prune-only, as its authors train; without, with '
        'self-distillation',
    )
    add_arguments(parser)
    return parser.parse_args(argv)


def configure(args: argparse.Namespace) -> Config:
    """The config with everything the command line asks for."""
    asked = dict(variant=args.variant, sd_loss=args.sd_loss)
    run = run_of(args, policy=args.policy, **asked)
    run.check_effects()
    cfg = resolve(args, run)
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


def main() -> None:
    args = parse_args()
    with careful_loading(args):
        with one_sentence():
            cfg = configure(args)
        with one_sentence(StartError):
            train(cfg)


if __name__ == '__main__':
    main()
