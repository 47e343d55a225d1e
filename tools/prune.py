"""Prune without training: write a config and weights that go on from there.

Whole channels are removed for good, so that DIR/config.py is of a smaller
network; of other structures the masks are kept, in DIR/epsd.
"""

import argparse
from pathlib import Path

# The package repairs broken environments, so it is imported first.
import with_mm  # noqa: F401

# isort: split
from mmengine.config import Config, ConfigDict

from common import (
    add_arguments,
    careful_loading,
    one_sentence,
    resolve,
    run_of,
)
from epsd_mm.config_file import read_config
from epsd_mm.config_types import epsd_hook, find_hook, is_mmdet
from epsd_mm.early_pruning import (
    channels_of,
    compact_trained,
    prune_before_training,
)
from epsd_mm.engine.variants import apply_options
from epsd_mm.training import StartError

_TOLD = (ImportError, OSError, ValueError)
_OPTIONS = ('sparsity', 'criterion', 'budget')


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config')
    parser.add_argument(
        '--out',
        required=True,
        metavar='DIR',
        help='folder for config.py, init.pth, log and report',
    )
    parser.add_argument(
        '--sparsity', type=float, help='fraction to remove, in (0, 1)'
    )
    parser.add_argument(
        '--budget',
        choices=['weights', 'multiply_adds'],
        help='remove whole channels, with that fraction of the weights or of '
        'the multiply-adds; what a config without EPSDHook gets',
    )
    parser.add_argument('--criterion', help='scores, by name')
    parser.add_argument(
        '--checkpoint',
        help='prune this trained network in place of the initial one; of a '
        'training that kept whole channels at zero, and without options, '
        'those are removed for good',
    )
    add_arguments(parser)
    args = parser.parse_args(argv)
    args.work_dir = args.out
    return args


def configure(args: argparse.Namespace) -> Config:
    """The config with everything the command line asks for."""
    base = read_config(args.config)
    hook = epsd_hook(base)
    scores = hook and hook.get('criterion', True) is not None
    if not scores:
        if args.sparsity is None:
            raise ValueError(
                f'{args.config} has no EPSDHook that says how to prune: say '
                '--sparsity, or add the hook'
            )
        _add_scoring(base)
    if args.budget is not None:
        structure = dict(type='channels', of=args.budget)
        apply_options(base, structure=structure)
    asked = dict(sparsity=args.sparsity, criterion=args.criterion)
    return resolve(args, run_of(args, **asked), base)


def _add_scoring(cfg: Config) -> None:
    """Of whole channels, beside whatever the hook of the config does."""
    step = dict(lr=0.001) if is_mmdet(cfg) else {}
    scoring = dict(
        type='EPSDHook',
        criterion=dict(type='ProsPr', **step),
        allocation=dict(type='global', min_density=0.1),
        structure='channels',
    )
    found = find_hook(cfg, 'EPSDHook') or find_hook(cfg, 'DenseHook')
    if found is None:
        cfg.merge_from_dict({'default_hooks.epsd': scoring})
    else:
        owner, key = found
        owner[key] = ConfigDict({**owner[key], **scoring})


def main() -> None:
    args = parse_args()
    folder = Path(args.out)
    with careful_loading(args), one_sentence((*_TOLD, StartError)):
        if _only_removes(args):
            cfg = resolve(args, run_of(args))
            compact_trained(cfg, folder, args.checkpoint)
        else:
            cfg = configure(args)
            prune_before_training(cfg, folder, args.checkpoint)


def _only_removes(args: argparse.Namespace) -> bool:
    """Whether the channels to remove are those of the checkpoint."""
    asked = any(getattr(args, name) is not None for name in _OPTIONS)
    if args.checkpoint is None or asked:
        return False
    return channels_of(args.checkpoint) is not None


if __name__ == '__main__':
    main()
