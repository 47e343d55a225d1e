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

import torch
from mmengine.config import Config, DictAction
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import CheckpointLoader
from mmengine.structures import BaseDataElement, InstanceData

from epsd_mm.analysis.parts import (
    by_part,
    layer_figures,
    part_table,
    summed,
)
from epsd_mm.config_types import scope_of, type_name
from epsd_mm.datasets.leaves import leaf_configs
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

Shape = tuple[int, int]


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
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    init_default_scope(scope_of(cfg) or 'mmengine')
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).eval()
    masks = saved = masks_of(args, model)
    if args.checkpoint and saved is None:
        masks = Masks(kept_weights(model))
    divisor = getattr(model.data_preprocessor, 'pad_size_divisor', 1)
    shapes = Counter(
        tuple(-(-side // divisor) * divisor for side in shape)
        for shape in shapes_of(args, cfg)
    )
    layers = mean_of(
        {shape: layers_at(model, shape, masks) for shape in shapes}, shapes
    )
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
    if not cfg.get('test_dataloader'):
        raise ValueError(f'{args.config} has no test set: give --shape')
    dataset = cfg.test_dataloader.dataset
    if args.num_images is not None:
        images = DATASETS.build(dataset)
        if not 0 < args.num_images <= len(images):
            raise ValueError(
                f'--num-images {args.num_images}: the test set has '
                f'{len(images)}'
            )
        return [
            tuple(images[index]['inputs'].shape[-2:])
            for index in range(args.num_images)
        ]
    leaf = next(leaf_configs(dataset))
    for transform in reversed(leaf.pipeline):
        size = transform.get('crop_size')
        if type_name(transform) == 'Resize':
            size = transform.get('scale')
        if size is not None:
            width, height = (size, size) if isinstance(size, int) else size
            return [(height, width)]
    raise ValueError(
        f'the test pipeline of {args.config} says no size of images: give '
        '--shape'
    )


def layers_at(model: BaseModel, shape: Shape, masks: Masks | None) -> dict:
    """What the layers compute for one image of a size."""
    image = torch.zeros(1, 3, *shape)
    if proposals_of(model) is not None:
        fix_proposals(model, image)
    return layer_figures(model, image, masks)


def proposals_of(model: BaseModel) -> int | None:
    """Proposals that a RoI head is counted for, where there is one."""
    if getattr(model, 'roi_head', None) is None:
        return None
    most = (model.test_cfg.get('rpn') or {}).get('max_per_img')
    if most is None:
        raise ValueError(
            f'{type(model).__name__} has a RoI head, but no '
            'test_cfg.rpn.max_per_img that says how many proposals it gets'
        )
    return most


def fix_proposals(model: BaseModel, image: torch.Tensor) -> None:
    """Let the RPN run, but hand on proposals of a fixed number."""
    height, width = image.shape[-2:]
    sample = BaseDataElement(
        metainfo=dict(img_shape=(height, width), scale_factor=(1.0, 1.0))
    )
    whole = torch.tensor([[0.0, 0.0, width, height]])
    proposals = InstanceData(bboxes=whole.repeat(proposals_of(model), 1))
    answers = []

    def predict(features, *args, **kwargs):
        answers.append(model.rpn_head(features))
        return [proposals]

    def forward(images):
        found = type(model).forward(model, images, data_samples=[sample])
        # What nothing comes of is not counted.
        return found, answers.pop()

    model.rpn_head.predict = predict
    model.forward = forward


def mean_of(layers: dict[Shape, dict], shapes: Counter) -> dict:
    """The mean over images of what differs between their sizes."""
    result = next(iter(layers.values()))
    for name, figures in result.items():
        for key in ('multiply_adds', 'sparse_multiply_adds'):
            figures[key] = (
                sum(layers[s][name][key] * n for s, n in shapes.items())
                / shapes.total()
            )
    return result


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
