"""What zeros, channels and int8 gain in torch and in exported files.

Each network is built with random weights, exported, and measured dense, with
90 % of its weights zero, without every second unit of all groups (compact),
compact in int8, and written by hand with half the widths, which has the
multiply-adds of compact. All are measured in turn, at batch 1, in processes
of their own; at the end stand the ratios that we aim at, of the fastest runs,
which other work on the machine disturbs least.
"""

import argparse
import copy
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from benchmark_compact import build, config_of
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from PIL import Image
from workloads import shipped

from epsd_mm.compaction import shrink
from epsd_mm.deploy.latency import (
    RUNTIMES,
    Measurement,
    measure,
    table,
    what_zeros_gave,
)
from epsd_mm.deploy.onnx_file import write_onnx
from epsd_mm.deploy.quantize import quantize
from epsd_mm.deploy.run import Metadata, Resize
from epsd_mm.families import channel_groups
from epsd_mm.families.deployable import as_deployed
from epsd_mm.families.ssd import repair_ssd_head
from epsd_mm.structure import Channels

NETWORKS = ('retinanet-r18', 'retinanet-r50', 'faster-rcnn-r18', 'ssd300')
_NAMES = (['image', 'size'], ['boxes', 'scores', 'labels'])
_CALIBRATED = 16


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--networks', nargs='+', choices=NETWORKS)
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--threads', type=int, default=1)
    return parser.parse_args()


def model_config(network: str, divisor: int = 1) -> ConfigDict:
    """Of mmdet, for training from scratch."""
    if network != 'ssd300':
        return config_of(network, divisor)
    cfg = Config.fromfile(shipped('mmdet::ssd/ssd300_coco.py')).model
    cfg.backbone.init_cfg = None
    return cfg


class Variants:
    """Forms of one network in a folder, as files and for torch.

    Args:
        network: Of :data:`NETWORKS`.
        folder: That they are written to.
    """

    def __init__(self, network: str, folder: Path) -> None:
        self.side = 300 if network == 'ssd300' else 320
        self._network = network
        self._folder = folder
        cfg = model_config(network)
        dense = build(cfg)
        repair_ssd_head(dense)
        self._add('dense', cfg, dense)
        zeros = copy.deepcopy(dense)
        _zero_smallest(zeros, 0.9)
        self._add('zeros', cfg, zeros, sparsity=0.9)
        groups = channel_groups(dense)
        kept = {n: torch.arange(g.units) % 2 == 0 for n, g in groups.items()}
        widths = shrink(dense, groups, Channels(kept)).to_config()
        kind = cfg.pop('type')
        compact = ConfigDict(type='Compact', of=kind, channels=widths, **cfg)
        self._add('compact', compact, dense, compaction='half the channels')
        self._quantize('compact')
        if network != 'ssd300':  # whose backbone has its widths in its code
            half = model_config(network, divisor=2)
            self._add('narrow', half, build(half))

    def files(self) -> list[str]:
        """All that can be measured."""
        found = sorted(self._folder.iterdir())
        torches = [
            f'{p}:{p.with_suffix(".pth")}' for p in found if p.suffix == '.py'
        ]
        return torches + [str(p) for p in found if p.suffix == '.onnx']

    def _add(
        self, name: str, cfg: ConfigDict, model: BaseModel, **known: object
    ) -> None:
        path = self._folder / f'{name}.py'
        pipeline = [
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(self.side,) * 2, keep_ratio=False),
            dict(type='PackDetInputs'),
        ]
        dataset = dict(type='CocoDataset', pipeline=pipeline)
        config = Config(
            dict(
                default_scope='mmdet',
                custom_imports=dict(imports=['epsd_mm']),
                model=copy.deepcopy(cfg),
                test_dataloader=dict(dataset=dataset),
            )
        )
        config.dump(path)
        state = dict(state_dict=model.state_dict())
        torch.save(state, path.with_suffix('.pth'))
        metadata = Metadata(
            'detection',
            [str(label) for label in range(80)],
            Resize('stretch'),
            self.side,
            self.side,
            model=type(model).__name__,
            sparsity=known.pop('sparsity', 0.0),
            **known,
        )
        image = torch.full((1, 3, self.side, self.side), 127.0)
        size = torch.full((1, 2), float(self.side))
        file = path.with_suffix('.onnx')
        module = as_deployed(copy.deepcopy(model).eval())
        write_onnx(module, [image, size], _NAMES, metadata, file)

    def _quantize(self, name: str) -> None:
        generator = np.random.default_rng(0)
        shape = (self.side, self.side, 3)
        pictures = [
            Image.fromarray(generator.integers(0, 256, shape, np.uint8))
            for _ in range(_CALIBRATED)
        ]
        file = self._folder / f'{name}.onnx'
        quantize(file, pictures, file.with_stem(f'{name}-int8'))


@torch.no_grad()
def _zero_smallest(model: BaseModel, share: float) -> None:
    weights = [p for p in model.parameters() if p.dim() > 1]
    sizes = torch.cat([w.abs().flatten() for w in weights])
    limit = sizes.kthvalue(int(share * len(sizes))).values
    for weight in weights:
        weight[weight.abs() <= limit] = 0


def goals(measured: Sequence[Measurement]) -> list[str]:
    """The ratios that we aim at, and whether they are reached."""
    time = {
        (Path(each.target.partition(':')[0]).stem, each.runtime): min(
            each.seconds
        )
        for each in measured
    }
    lines = []
    for runtime in ('onnxruntime', 'openvino', 'openvino_bf16'):
        if ('dense', runtime) not in time:
            continue
        name = RUNTIMES[runtime]
        dense, compact = time['dense', runtime], time['compact', runtime]
        wanted = [
            (f'{name}: compact', dense / compact, 2.5, 'dense there'),
            (
                f'{name}: compact',
                time['dense', 'torch'] / compact,
                5.0,
                'dense in torch',
            ),
            (
                f'{name}: compact in int8',
                compact / time['compact-int8', runtime],
                1.0,
                'compact in float32',
            ),
        ]
        if ('narrow', runtime) in time:
            narrow = time['narrow', runtime] / compact
            wanted.append(
                (f'{name}: compact', narrow, 0.95, 'equally narrow by hand')
            )
        for what, ratio, goal, than in wanted:
            reached = 'reached' if ratio >= goal else 'NOT REACHED'
            lines.append(
                f'  {what} is {ratio:.2f} x as fast as {than} '
                f'(goal {goal:g}): {reached}'
            )
    return lines


def main() -> None:
    args = parse_args()
    MMLogger.get_instance('benchmark', log_level='ERROR')
    for network in args.networks or NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            variants = Variants(network, Path(folder))
            measured = measure(
                variants.files(),
                batches=[1],
                threads=args.threads,
                rounds=args.rounds,
            )
        short = [
            replace(each, target=Path(each.target.partition(':')[0]).name)
            for each in measured
        ]
        print(f'{network}, {variants.side} x {variants.side}')
        print(table(short, args.threads))
        print('\n'.join([*what_zeros_gave(short), *goals(measured), '']))


if __name__ == '__main__':
    main()
