"""Which networks of mmdet and mmpretrain can be exported: a Markdown table.

Each is built with random weights whose scores differ, exported, and its file
compared with the network on drawn pictures, as tools/export.py compares it.
The detectors are those of coverage.py, as narrow as there.
"""

import epsd_mm  # noqa: F401, I001  (first: it repairs broken environments)

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from detector_families import FAMILIES, build_detector, config_of
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from PIL import Image
from workloads import shipped

from epsd_mm.deploy.canvas import canvas_of
from epsd_mm.deploy.equivalence import Comparison
from epsd_mm.deploy.exporting import (
    RUNTIMES,
    deployable,
    initial_model,
    write_compared,
)
from epsd_mm.quiet import quiet
from epsd_mm.engine.runner import complete
from epsd_mm.families.ssd import repair_ssd_head
from epsd_mm.families.untrained import enliven
from epsd_mm.files import write_text

#: One config of each family that classifies images.
CLASSIFIERS = """
    conformer/conformer-tiny-p16_8xb128_in1k
    convmixer/convmixer-768-32_10xb64_in1k
    convnext/convnext-tiny_32xb128_in1k
    convnext_v2/convnext-v2-atto_32xb32_in1k
    csra/resnet101-csra_1xb16_voc07-448px
    cspnet/cspresnet50_8xb32_in1k
    davit/davit-tiny_4xb256_in1k
    deit/deit-tiny_4xb256_in1k
    deit3/deit3-small-p16_64xb64_in1k
    densenet/densenet121_4xb256_in1k
    edgenext/edgenext-xxsmall_8xb256_in1k
    efficientformer/efficientformer-l1_8xb128_in1k
    efficientnet/efficientnet-b0_8xb32_in1k
    efficientnet_v2/efficientnetv2-b0_8xb32_in1k
    hivit/hivit-tiny-p16_16xb64_in1k
    hornet/hornet-tiny_8xb128_in1k
    hrnet/hrnet-w18_4xb32_in1k
    inception_v3/inception-v3_8xb32_in1k
    lenet/lenet5_mnist
    levit/levit-128s_8xb256_in1k
    mlp_mixer/mlp-mixer-base-p16_64xb64_in1k
    mobilenet_v2/mobilenet-v2_8xb32_in1k
    mobilenet_v3/mobilenet-v3-small_8xb128_in1k
    mobileone/mobileone-s0_8xb32_in1k
    mobilevit/mobilevit-xxsmall_8xb128_in1k
    mvit/mvitv2-tiny_8xb256_in1k
    poolformer/poolformer-s12_32xb128_in1k
    regnet/regnetx-400mf_8xb128_in1k
    replknet/replknet-31B_32xb64_in1k
    repmlp/repmlp-base_8xb64_in1k
    repvgg/repvgg-A0_8xb32_in1k
    res2net/res2net50-w14-s8_8xb32_in1k
    resnest/resnest50_32xb64_in1k
    resnet/resnet18_8xb32_in1k
    resnext/resnext50-32x4d_8xb32_in1k
    revvit/revvit-small_8xb256_in1k
    riformer/riformer-s12_8xb128_in1k
    seresnet/seresnet50_8xb32_in1k
    shufflenet_v1/shufflenet-v1-1x_16xb64_in1k
    shufflenet_v2/shufflenet-v2-1x_16xb64_in1k
    swin_transformer/swin-tiny_16xb64_in1k
    swin_transformer_v2/swinv2-tiny-w8_16xb64_in1k-256px
    t2t_vit/t2t-vit-t-14_8xb64_in1k
    tinyvit/tinyvit-5m_8xb256_in1k
    tnt/tnt-s-p16_16xb64_in1k
    twins/twins-pcpvt-small_8xb128_in1k
    van/van-tiny_8xb128_in1k
    vgg/vgg11_8xb32_in1k
    vig/vig-tiny_8xb128_in1k
    vision_transformer/vit-base-p32_64xb64_in1k
    wrn/wide-resnet50_8xb32_in1k
    xcit/xcit-nano-12-p16_8xb128_in1k
""".split()

_CLASSES = {name.partition('/')[0]: name for name in CLASSIFIERS}
_PICTURES = 2
#: Of a detector whose own images are larger: its operators are the same.
_SIZE = (320, 256)
#: Its deformable convolution needs three cells on each level.
_LARGER = dict(DDOD=(512, 384))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [*FAMILIES, *_CLASSES]
    parser.add_argument('--families', nargs='+', choices=names, default=names)
    parser.add_argument('--to', choices=RUNTIMES, default='onnx')
    parser.add_argument('--dynamic', action='store_true')
    parser.add_argument('--out', help='write the table to this file')
    return parser.parse_args()


def outcome(name: str, to: str, dynamic: bool) -> list[str]:
    """The config of one, whether it is exported, and how or why not."""
    MMLogger.get_instance('list', log_level='ERROR')
    config = Path(FAMILIES.get(name) or _CLASSES[name]).stem
    try:
        with quiet():
            size = _LARGER.get(name, _SIZE)
            comparison = export(*built(name), to, dynamic, size)
    except ValueError as error:
        return [config, 'no', ' '.join(str(error).split())]
    except Exception as error:  # a fault of ours, to be seen in the table
        first = str(error).partition('\n')[0]
        return [config, 'failed', f'{type(error).__name__}: {first:.120}']
    return [config, 'yes', comparison.summary()]


def built(name: str) -> tuple[Config, BaseModel]:
    """A config and its network, in evaluation mode."""
    torch.manual_seed(0)
    if name in FAMILIES:
        model = build_detector(name)
        model.eval()  # which of LAD returns nothing
        repair_ssd_head(model)
        return complete(config_of(name)), model
    path = shipped(f'mmpretrain::{_CLASSES[name]}.py')
    cfg = complete(Config.fromfile(path))
    model = initial_model(cfg)
    model.init_weights()
    return cfg, model


def export(
    cfg: Config,
    model: BaseModel,
    to: str,
    dynamic: bool,
    size: tuple[int, int],
) -> Comparison:
    """Write a file of a network that is no longer what it was, and go."""
    try:
        canvas = canvas_of(cfg)
        small = max(canvas.width, canvas.height) <= 512
    except ValueError:  # the config leaves the size open
        small = False
    of_it = (cfg, model, ['any'], None if small else size)
    module, metadata = deployable(*of_it)  # or a refusal, at once
    sides = metadata.height, metadata.width
    pictures = [drawn(*sides, seed) for seed in range(_PICTURES)]
    pixels = torch.tensor(np.stack([np.asarray(p) for p in pictures]))
    images = pixels.permute(0, 3, 1, 2).float().contiguous()
    enliven(model, module.pixels(images))
    module, metadata = deployable(*of_it)
    with tempfile.TemporaryDirectory() as folder:
        _, comparison = write_compared(
            model, module, metadata, Path(folder), pictures, to, dynamic
        )
    return comparison


def drawn(height: int, width: int, seed: int) -> Image.Image:
    """Patches of noise, coarse and fine."""
    generator = np.random.default_rng(seed)
    layers = []
    for cells in (4, 16, 64):
        small = generator.integers(0, 256, (cells, cells, 3), np.uint8)
        layers.append(Image.fromarray(small).resize((width, height)))
    mixed = np.mean([np.asarray(layer) for layer in layers], axis=0)
    return Image.fromarray(mixed.astype(np.uint8))


def outcomes(
    names: Sequence[str], to: str, dynamic: bool
) -> Iterator[tuple[str, list[str]]]:
    """Of each, in another process, which may die of it."""
    waiting = list(names)
    while waiting:
        with ProcessPoolExecutor(1, get_context('spawn')) as pool:
            while waiting:
                name = waiting.pop(0)
                job = pool.submit(outcome, name, to, dynamic)
                try:
                    yield name, job.result()
                except BrokenProcessPool:
                    yield name, ['', 'failed', 'its process died']
                    break


def main() -> None:
    args = parse_args()
    rows = ['| network | config | exported | |', '|---|---|---|---|']
    for name, found in outcomes(args.families, args.to, args.dynamic):
        rows.append('| ' + ' | '.join([name, *found]) + ' |')
        print(rows[-1], flush=True)
        if args.out is not None:
            write_text(args.out, '\n'.join(rows) + '\n')


if __name__ == '__main__':
    main()
