"""Detections of a dense and of pruned models beside the ground truth.

Takes images of the test set of the first config, runs each model on them as
its own config says, and paints a row for each: ground truth, dense, pruned.
Titles say what is left of the weights of convolution and linear layers: those
that are not zero, of those before any channel was removed. More models may
follow, each a config and a checkpoint.

    python tools/analysis_tools/compare_detections.py \\
        DENSE_CONFIG DENSE_CHECKPOINT PRUNED_CONFIG PRUNED_CHECKPOINT \\
        --out DIR
"""

import argparse  # noqa: I001  (epsd_mm repairs broken environments)
from collections.abc import Sequence
from pathlib import Path

import epsd_mm  # noqa: F401

import mmcv
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmdet.apis import inference_detector, init_detector
from mmdet.registry import DATASETS, MODELS
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config, DictAction
from mmengine.dataset import BaseDataset
from mmengine.structures import InstanceData
from torch import nn

from epsd_mm.config_types import with_all_channels
from epsd_mm.families.ssd import repair_ssd_head
from epsd_mm.engine.safe_loading import add_trust_argument, code_refused
from epsd_mm.evaluation.sparsity import layer_sparsity


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('dense_config')
    parser.add_argument('dense_checkpoint')
    parser.add_argument('pruned_config')
    parser.add_argument('pruned_checkpoint')
    parser.add_argument(
        'more',
        nargs='*',
        metavar='config checkpoint',
        help='of other models, in pairs',
    )
    parser.add_argument(
        '--names', nargs='+', help='of the models, for the titles'
    )
    parser.add_argument(
        '--out', type=Path, required=True, help='folder for the pictures'
    )
    parser.add_argument(
        '--num', type=int, default=8, help='paint the first so many images'
    )
    parser.add_argument(
        '--index', nargs='+', type=int, help='paint these images instead'
    )
    parser.add_argument(
        '--rows', type=int, default=1, help='images in a picture'
    )
    parser.add_argument('--score-thr', type=float, default=0.3)
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='for both configs'
    )
    add_trust_argument(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        with code_refused(unless=args.trust_checkpoint):
            compare(args)
    except (OSError, ValueError) as error:
        raise SystemExit(f'error: {error}') from None


def compare(args: argparse.Namespace) -> None:
    """Write the pictures, each named by the index of its first image."""
    models = {
        name: load(config, checkpoint, args)
        for name, (config, checkpoint) in named_pairs(args).items()
    }
    first = next(iter(models.values()))
    titles = ['ground truth']
    titles += [
        f'{n}, {share_left(m):.1%} of the weights' for n, m in models.items()
    ]
    dataset = DATASETS.build(first.cfg.test_dataloader.dataset)
    chosen = indices_of(args, len(dataset))
    args.out.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(chosen), args.rows):
        rows = {}
        for index in chosen[start : start + args.rows]:
            info = dataset.get_data_info(index)
            samples = [truth_of(info, dataset.metainfo['classes'])]
            for model in models.values():
                samples.append(inference_detector(model, info['img_path']))
            name = Path(info['img_path']).stem
            rows[name] = paint(info, samples, dataset, args.score_thr)
        path = args.out / f'{chosen[start]:05d}.png'
        save(rows, titles, path)
        print(path)


def named_pairs(args: argparse.Namespace) -> dict[str, tuple[str, str]]:
    """Config and checkpoint of each model, by the name in its title."""
    given = [args.dense_config, args.dense_checkpoint]
    given += [args.pruned_config, args.pruned_checkpoint, *args.more]
    if len(given) % 2:
        raise ValueError(
            f'{given[-1]} has no checkpoint beside it: name models in pairs, '
            'each a config and a checkpoint'
        )
    pairs = list(zip(given[::2], given[1::2], strict=True))
    names = args.names or [
        'dense',
        'pruned',
        *(Path(checkpoint).stem for _, checkpoint in pairs[2:]),
    ]
    if len(names) != len(pairs) or len({*names}) < len(names):
        raise ValueError(
            f'--names {" ".join(names)}: {len(pairs)} different names are '
            'needed, one for each model'
        )
    return dict(zip(names, pairs, strict=True))


def load(config: str, checkpoint: str, args: argparse.Namespace) -> nn.Module:
    """A detector with its weights, in evaluation mode."""
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(args.cfg_options or {})
    model = init_detector(cfg, checkpoint, device=args.device)
    repair_ssd_head(model)
    return model


def share_left(model: nn.Module) -> float:
    """What is not zero, of the weights of the whole network."""
    counts = layer_sparsity(model).values()
    kept, total = (sum(each) for each in zip(*counts))
    whole = with_all_channels(model.cfg.model)
    if whole != model.cfg.model:
        counts = layer_sparsity(MODELS.build(whole)).values()
        total = sum(of for _, of in counts)
    return kept / total


def indices_of(args: argparse.Namespace, images: int) -> list[int]:
    """Which images of the test set to paint."""
    if args.rows < 1 or args.num < 1:
        raise ValueError(
            f'--rows {args.rows} and --num {args.num} must be at least 1'
        )
    chosen = args.index or list(range(min(args.num, images)))
    outside = [index for index in chosen if not 0 <= index < images]
    if outside:
        raise ValueError(
            f'--index {outside}: the test set has {images} images, so name '
            f'some of 0 to {images - 1}'
        )
    return chosen


def truth_of(info: dict, classes: Sequence[str]) -> DetDataSample:
    """The annotated objects, those that no metric counts among them."""
    objects = info['instances']
    names = [
        classes[each['bbox_label']]
        + (' (difficult)' if each.get('ignore_flag') else '')
        for each in objects
    ]
    boxes = torch.tensor([each['bbox'] for each in objects]).view(-1, 4)
    labels = torch.tensor([each['bbox_label'] for each in objects]).long()
    return DetDataSample(
        gt_instances=InstanceData(
            bboxes=boxes, labels=labels, label_names=names
        )
    )


def paint(
    info: dict, samples: list, dataset: BaseDataset, threshold: float
) -> list[np.ndarray]:
    """The image with the boxes of each sample; the first is the truth."""
    painter = DetLocalVisualizer()
    painter.dataset_meta = dataset.metainfo
    image = mmcv.imread(info['img_path'], channel_order='rgb')
    # Names on small images would hide them.
    scale = max(1, round(400 / max(image.shape[:2])))
    image = mmcv.imrescale(image, scale, interpolation='nearest')
    pictures = []
    for sample in samples:
        is_truth = sample is samples[0]
        boxes = sample.gt_instances if is_truth else sample.pred_instances
        boxes.bboxes = boxes.bboxes * scale
        painter.add_datasample(
            'detections',
            image,
            sample,
            draw_gt=is_truth,
            draw_pred=not is_truth,
            pred_score_thr=threshold,
        )
        pictures.append(painter.get_image())
    return pictures


def save(
    rows: dict[str, list[np.ndarray]], titles: list[str], path: Path
) -> None:
    """Write the pictures of some images, a row each, as a PNG."""
    heights = [row[0].shape[0] / row[0].shape[1] for row in rows.values()]
    figure = Figure(
        figsize=(5 * len(titles), 5 * sum(heights) + 0.5),
        layout='constrained',
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(
        len(rows), len(titles), squeeze=False, height_ratios=heights
    )
    for places, (name, pictures) in zip(axes, rows.items()):
        places[0].set_ylabel(name)
        for place, picture in zip(places, pictures):
            place.imshow(picture)
            place.set_xticks([])
            place.set_yticks([])
    for place, title in zip(axes[0], titles):
        place.set_title(title)
    figure.savefig(path)


if __name__ == '__main__':
    main()
