"""Test a model: its metric and, beside it, its sparsity.

That is among the metrics, and counted by layer: over what the masks of the
checkpoint cover (in a checkpoint without masks the weights of convolution
and linear layers) and over all weights, which are the parameters of the
model. With --file it is the metric of an exported file, by the same
evaluators on the same images.
"""

import argparse
from copy import deepcopy

# The package repairs broken environments, so it is imported first.
import with_mm  # noqa: F401

# isort: split
from mmengine.config import Config, ConfigDict
from mmengine.evaluator import DumpResults
from mmengine.hooks import Hook
from mmengine.model import BaseModel, BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner

from common import (
    add_arguments,
    careful_loading,
    one_sentence,
    resolve,
    run_of,
)
from epsd_mm.config_types import is_mmdet, is_mmpretrain
from epsd_mm.datasets.class_names import configured_classes
from epsd_mm.datasets.leaves import leaf_configs
from epsd_mm.deploy.canvas import channel_order
from epsd_mm.deploy.file_model import FileModel
from epsd_mm.engine.checkpoints import loaded_file_named, look_before_loading
from epsd_mm.engine.runner import build_runner
from epsd_mm.engine.saved_state import saved_masks
from epsd_mm.evaluation.sparsity import prunable_sparsity, sparsity_table
from epsd_mm.preparation import require_data


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config')
    parser.add_argument('checkpoint', nargs='?', help='path of the checkpoint')
    parser.add_argument(
        '--file', help='in its place: an exported .onnx or .xml file'
    )
    parser.add_argument('--work-dir', help='folder for the metrics')
    parser.add_argument('--out', help='dump the predictions, a .pkl file')
    parser.add_argument(
        '--show', action='store_true', help='show predictions in a window'
    )
    parser.add_argument(
        '--show-dir',
        help='folder for painted images, inside work_dir/timestamp',
    )
    parser.add_argument(
        '--wait-time', type=float, default=2, help='seconds an image is shown'
    )
    parser.add_argument(
        '--tta', action='store_true', help='average over flipped images'
    )
    add_arguments(parser)
    return parser.parse_args(argv)


def configure(args: argparse.Namespace) -> Config:
    """The config with everything the command line asks for."""
    if args.out is not None and not args.out.endswith(('.pkl', '.pickle')):
        raise ValueError(f'--out {args.out} must end in .pkl or .pickle')
    cfg = resolve(args, run_of(args))
    cfg.load_from = args.checkpoint
    cfg.resume = False
    if (args.checkpoint is None) == (args.file is None):
        raise ValueError(
            'say what to test: a checkpoint, or with --file an exported file'
        )
    if args.file is not None:
        _take_file(cfg, args)
    if args.show or args.show_dir:
        _draw(cfg, args)
    if args.tta:
        _flip(cfg)
    return cfg


def _take_file(cfg: Config, args: argparse.Namespace) -> None:
    """Let an exported file answer in place of the config's model."""
    options = dict(tta=args.tta, trust_checkpoint=args.trust_checkpoint)
    options['launcher'] = cfg.launcher != 'none'
    for name, given in options.items():
        if given:
            raise ValueError(
                f'--{name.replace("_", "-")} has no effect on an exported '
                'file: leave it out beside --file'
            )
    cfg.model = dict(
        type=FileModel,
        file=args.file,
        classes=configured_classes(cfg, 'test_dataloader'),
        order=channel_order(cfg),
    )


def _draw(cfg: Config, args: argparse.Namespace) -> None:
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise ValueError(
            '--show and --show-dir need a visualization hook: add '
            "default_hooks.visualization=dict(type='…VisualizationHook')"
        )
    names = dict(switch='draw', folder='test_out_dir')
    if is_mmpretrain(cfg):
        names = dict(switch='enable', folder='out_dir')
    hook[names['switch']] = True
    if args.show:
        hook.show = True
        hook.wait_time = args.wait_time
    if args.show_dir:
        hook[names['folder']] = args.show_dir


def _flip(cfg: Config) -> None:
    """Test-time augmentation: the config's own, or flips."""
    datasets = list(leaf_configs(cfg.test_dataloader.dataset))
    if 'tta_pipeline' not in cfg:
        pipeline = deepcopy(datasets[0].pipeline)
        pack = pipeline[-1]
        if is_mmdet(cfg):
            pack = dict(
                type='PackDetInputs',
                meta_keys=(
                    'img_id',
                    'img_path',
                    'ori_shape',
                    'img_shape',
                    'scale_factor',
                    'flip',
                    'flip_direction',
                ),
            )
        flips = [dict(type='RandomFlip', prob=prob) for prob in (1.0, 0.0)]
        pipeline[-1] = dict(type='TestTimeAug', transforms=[flips, [pack]])
        cfg.tta_pipeline = pipeline
    if 'tta_model' not in cfg:
        cfg.tta_model = dict(type='AverageClsScoreTTA')
        if is_mmdet(cfg):
            nms = dict(type='nms', iou_threshold=0.5)
            cfg.tta_model = dict(
                type='DetTTAModel', tta_cfg=dict(nms=nms, max_per_img=100)
            )
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    for dataset in datasets:
        dataset.pipeline = cfg.tta_pipeline


def dump_predictions(runner: Runner, cfg: Config, path: str) -> None:
    """Make a runner write its predictions to ``path`` when it tests."""
    if is_mmdet(cfg):
        from mmdet.evaluation import DumpDetResults

        metric = DumpDetResults(out_file_path=path)
    else:
        metric = DumpResults(out_file_path=path)
    runner.test_evaluator.metrics.append(metric)


class SparsityHook(Hook):
    """Adds to the metrics of a test how sparse the model is.

    ``sparsity/prunable`` is the share of zeros of what the masks of the
    checkpoint cover, ``sparsity/all`` of all weights, ``sparsity/kept`` the
    number of what they cover and is not zero.
    """

    # Before mmengine's hook that tells the log of the metrics.
    priority = 'HIGHEST'

    def __init__(self) -> None:
        self.masked: list[str] | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember which weights the masks cover, if there are any."""
        with loaded_file_named(runner):
            masks = saved_masks(checkpoint)
        self.masked = masks and list(masks)

    def after_test_epoch(self, runner: Runner, metrics: dict) -> None:
        """Count zeros."""
        counts = prunable_sparsity(plain_model(runner), self.masked)
        metrics['sparsity/prunable'] = counts['sparsity']
        metrics['sparsity/all'] = counts['all_weights']['sparsity']
        # mmengine writes null for a metric that is an int.
        metrics['sparsity/kept'] = float(counts['kept'])


def plain_model(runner: Runner) -> BaseModel:
    """The model of a runner, without what wraps it."""
    model = runner.model
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def main() -> None:
    args = parse_args()
    with careful_loading(args):
        test(args)


def test(args: argparse.Namespace) -> None:
    """Print the metric, and the sparsity by layer."""
    with one_sentence():
        cfg = configure(args)
        require_data(cfg, ['test_dataloader'])
    if args.file is not None:
        test_file(cfg, args)
        return
    runner = build_runner(cfg)
    if args.out is not None:
        dump_predictions(runner, cfg, args.out)
    sparsity = SparsityHook()
    runner.register_hook(sparsity)
    with one_sentence():
        look_before_loading(runner)
    runner.test()
    table = sparsity_table(plain_model(runner), sparsity.masked)
    runner.logger.info('\n' + table)


def test_file(cfg: Config, args: argparse.Namespace) -> None:
    """Print the metric of an exported file, and what it says of itself."""
    with one_sentence((ImportError, OSError, ValueError)):
        runner = build_runner(cfg)
    if args.out is not None:
        dump_predictions(runner, cfg, args.out)
    with one_sentence():
        runner.test()
    runner.logger.info(f'{args.file}: {runner.model.network.metadata}')


if __name__ == '__main__':
    main()
