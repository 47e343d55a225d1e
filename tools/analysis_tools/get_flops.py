"""Weights and multiply-adds of a model by part: all, and those kept.

The model is that of any config of mmdet or mmpretrain. What is kept is what
the masks of a run say, from its checkpoint or its epsd/masks.pth; of a
checkpoint without masks it is what is not zero, and without either all is.

    python tools/analysis_tools/get_flops.py CONFIG --masks epsd/masks.pth

One image is counted, padded as the model pads a batch. By default it has the
size that the config's test pipeline resizes or crops to, which with
keep_ratio is the most that an image can have; --num-images takes the mean
over images of the test set. A RoI head is counted for as many proposals as
it gets at most in a test (test_cfg.rpn.max_per_img, 1000 in mmdet's
configs), whatever the image and the weights.

These are counts and no times: a runtime that multiplies by zeros gains
nothing.
"""

import argparse  # noqa: I001  (epsd_mm repairs broken environments)
import json
from collections import Counter
from pathlib import Path

import epsd_mm  # noqa: F401

from mmengine.config import Config, DictAction
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import CheckpointLoader

from epsd_mm.analysis.image_counts import (
    Shape,
    count_images,
    padded,
    proposals_of,
    tested_shape,
)
from epsd_mm.analysis.parts import (
    by_part,
    part_table,
    summed,
)
from epsd_mm.config_file import read_config
from epsd_mm.config_types import scope_of
from epsd_mm.engine.initial_model import model_config
from epsd_mm.engine.safe_loading import add_trust_argument, code_refused
from epsd_mm.engine.saved_state import saved_masks
from epsd_mm.evaluation.sparsity import (
    kept_weights,
    part_sparsity_table,
    sparsity_of_all,
    sparsity_text,
)
from epsd_mm.files import write_text
from epsd_mm.pruning import Masks


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config')
    kept = parser.add_mutually_exclusive_group()
    kept.add_argument('--checkpoint', help='checkpoint of a run')
    kept.add_argument('--masks', help='masks.pth of a run')
    images = parser.add_mutually_exclusive_group()
    images.add_argument(
        '--shape',
        nargs='+',
        type=int,
        help='height and width of the image; one number for both',
    )
    images.add_argument(
        '--num-images',
        type=int,
        help='take the mean over the first so many images of the test set',
    )
    parser.add_argument('--json', type=Path, help='write the figures here')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    add_trust_argument(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        with code_refused(unless=args.trust_checkpoint):
            figures = measure(args)
    except (OSError, ValueError) as error:
        raise SystemExit(f'error: {error}') from None
    if args.json:
        write_text(args.json, json.dumps(figures, indent=2) + '\n')
    show(figures)


def measure(args: argparse.Namespace) -> dict:
    """What is printed, and the same by layer."""
    cfg = read_config(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    init_default_scope(scope_of(cfg) or 'mmengine')
    model = revert_sync_batchnorm(MODELS.build(model_config(cfg))).eval()
    masks = saved = masks_of(args, model)
    if args.checkpoint and saved is None:
        masks = Masks(kept_weights(model))
    shapes = Counter(padded(model, shape) for shape in shapes_of(args, cfg))
    layers = count_images(model, shapes, masks)
    parts = by_part(layers)
    return dict(
        images=[
            dict(height=height, width=width, number=number)
            for (height, width), number in shapes.items()
        ],
        proposals=proposals_of(model),
        all=summed(parts.values()),
        parts=parts,
        layers=layers,
        prunable=saved and summed(saved.layers().values()),
        all_weights=sparsity_of_all(model, masks or {}),
    )


def masks_of(args: argparse.Namespace, model: BaseModel) -> Masks | None:
    """The masks that the command line names, if there are any.

    The model gets the weights of a checkpoint.
    """
    if args.masks:
        return Masks.load(args.masks)
    if not args.checkpoint:
        return None
    checkpoint = CheckpointLoader.load_checkpoint(
        args.checkpoint, map_location='cpu'
    )
    weights = checkpoint.get('state_dict', checkpoint)
    for name, param in model.named_parameters():
        if name not in weights or weights[name].shape != param.shape:
            raise ValueError(
                f'{args.checkpoint} has no {name!r} of shape '
                f'{tuple(param.shape)}: give the config it was trained with'
            )
        param.data.copy_(weights[name])
    try:
        return saved_masks(checkpoint)
    except ValueError as error:
        raise ValueError(f'{args.checkpoint}: {error}') from error


def shapes_of(args: argparse.Namespace, cfg: Config) -> list[Shape]:
    """Heights and widths of the images to count, not padded yet."""
    if args.shape:
        if len(args.shape) > 2 or min(args.shape) < 1:
            raise ValueError(f'--shape {args.shape}: give height and width')
        return [(args.shape[0], args.shape[-1])]
    if args.num_images is not None and cfg.get('test_dataloader'):
        images = DATASETS.build(cfg.test_dataloader.dataset)
        if not 0 < args.num_images <= len(images):
            raise ValueError(
                f'--num-images {args.num_images}: the test set has '
                f'{len(images)}'
            )
        return [
            tuple(images[index]['inputs'].shape[-2:])
            for index in range(args.num_images)
        ]
    try:
        return [tested_shape(cfg)]
    except ValueError as error:
        raise ValueError(
            f'{args.config}: {error}; --shape gives the size instead'
        ) from error


def show(figures: dict) -> None:
    images = figures['images']
    title = f'mean of {sum(i["number"] for i in images)} images'
    if len(images) == 1:
        title = f'an image of {images[0]["height"]} x {images[0]["width"]}'
    if figures['proposals'] is not None:
        title += f', {figures["proposals"]} proposals'
    layers = figures['layers']
    print(part_table(f'Multiply-adds: {title}', layers), end='')
    everything, prunable = figures['all_weights'], figures['prunable']
    print(part_sparsity_table(everything), end='')
    if prunable:
        print(sparsity_text(prunable['kept'], prunable['total'], everything))
    elif everything['sparsity']:
        kept, total = figures['all']['kept'], figures['all']['total']
        what = 'weights of convolution and linear layers'
        print(sparsity_text(kept, total, everything, what))
    unused = [n for n, f in layers.items() if not f['multiply_adds']]
    if unused:
        print(f'no multiply-adds were seen of: {", ".join(unused)}')


if __name__ == '__main__':
    main()
