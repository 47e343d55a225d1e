"""What half the channels gain: time and memory, dense against compact.

The compact network is cut out of the dense one, half of the units of every
group; beside it stands the same network written by hand, with half the widths
in its config. One run measures all three in turn, round by round, on random
images: a training iteration (forward, backward, step of SGD) and inference on
one image, the fastest round of each, and the peak memory of training above
what is in use before it.
"""

import argparse
import copy
import time
from collections.abc import Callable

import resident_memory
import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from workloads import make_batch, shipped

from epsd_mm.compaction import shrink
from epsd_mm.families import channel_groups
from epsd_mm.structure import Channels

_BASES = {
    'retinanet': 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py',
    'faster-rcnn': 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
}
NETWORKS = [f'{name}-r{depth}' for name in _BASES for depth in (18, 50)]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--networks', nargs='+', choices=NETWORKS)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--image', type=int, default=320, help='its side')
    parser.add_argument('--batch', type=int, default=4)
    parser.add_argument('--rounds', type=int, default=3)
    return parser.parse_args()


def config_of(network: str, divisor: int = 1) -> ConfigDict:
    """mmdet's own model for training from scratch, all widths divided."""
    name, _, depth = network.rpartition('-r')
    cfg = Config.fromfile(shipped(_BASES[name])).model
    cfg.backbone.update(
        depth=int(depth),
        init_cfg=None,
        frozen_stages=-1,
        norm_eval=False,
        stem_channels=64 // divisor,
        base_channels=64 // divisor,
    )
    first = 64 if int(depth) == 18 else 256
    width = 256 // divisor
    stages = [first * 2**stage // divisor for stage in range(4)]
    cfg.neck.update(in_channels=stages, out_channels=width)
    if name == 'retinanet':
        cfg.bbox_head.update(in_channels=width, feat_channels=width)
        return cfg
    cfg.rpn_head.update(in_channels=width, feat_channels=width)
    cfg.roi_head.bbox_roi_extractor.out_channels = width
    cfg.roi_head.bbox_head.update(
        in_channels=width, fc_out_channels=1024 // divisor
    )
    return cfg


def build(cfg: ConfigDict) -> BaseModel:
    import mmdet.models  # noqa: F401

    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg)
        model.init_weights()
    return model


def halved(model: BaseModel) -> tuple[BaseModel, float]:
    """A copy without every second unit, and the seconds that it took."""
    model = copy.deepcopy(model)
    started = time.perf_counter()
    groups = channel_groups(model)
    kept = {n: torch.arange(g.units) % 2 == 0 for n, g in groups.items()}
    shrink(model, groups, Channels(kept))
    return model, time.perf_counter() - started


def seconds(call: Callable[[], None], device: str) -> float:
    synchronize(device)
    started = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - started


def synchronize(device: str) -> None:
    if device != 'cpu':
        torch.cuda.synchronize()


def memory_of(call: Callable[[], None], device: str) -> int:
    if device == 'cpu':
        before = resident_memory.reset_peak()
        call()
        return resident_memory.peak() - before
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return torch.cuda.max_memory_allocated() - before


class Measured:
    """One network with its optimiser, and the best figures so far."""

    def __init__(self, model: BaseModel, args: argparse.Namespace) -> None:
        self.model = model.to(args.device)
        self.device = args.device
        self.train_seconds = self.infer_seconds = float('inf')
        self.memory = 0
        self.weights = sum(p.numel() for p in model.parameters())
        image = (args.image, args.image)
        self._batch = make_batch('faster-rcnn', args.batch, image, seed=0)
        self._single = make_batch('faster-rcnn', 1, image, seed=0)
        for sample in self._single['data_samples']:
            sample.set_metainfo(dict(scale_factor=(1.0, 1.0)))
        self._optimizer = torch.optim.SGD(model.parameters(), 1e-4, 0.9)

    def round(self) -> None:
        self.model.train()
        used = memory_of(self._step, self.device)
        self.memory = max(self.memory, used)
        took = seconds(self._step, self.device)
        self.train_seconds = min(self.train_seconds, took)
        self.model.eval()
        took = seconds(self._infer, self.device)
        self.infer_seconds = min(self.infer_seconds, took)

    def _step(self) -> None:
        batch = copy.deepcopy(self._batch)
        batch = self.model.data_preprocessor(batch, training=True)
        loss, _ = self.model.parse_losses(self.model(**batch, mode='loss'))
        loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad()

    @torch.no_grad()
    def _infer(self) -> None:
        batch = copy.deepcopy(self._single)
        batch = self.model.data_preprocessor(batch, training=False)
        self.model(**batch, mode='predict')


def main() -> None:
    args = parse_args()
    MMLogger.get_instance('benchmark', log_level='ERROR')
    threads = torch.get_num_threads()
    name = 'cpu' if args.device == 'cpu' else torch.cuda.get_device_name()
    print(
        f'{args.image}x{args.image}, batch {args.batch}, {name}, '
        f'{threads} thread{"s" if threads > 1 else ""}, '
        f'fastest of {args.rounds}'
    )
    for network in args.networks or NETWORKS:
        dense = build(config_of(network))
        narrow, cutting = halved(dense)
        measured = dict(
            dense=Measured(dense, args),
            compact=Measured(narrow, args),
            hand=Measured(build(config_of(network, divisor=2)), args),
        )
        for _ in range(args.rounds):
            for each in measured.values():
                each.round()
        print(f'\n{network}: graph and shrinking {cutting:.1f} s')
        for name, each in measured.items():
            base = measured['dense']
            print(
                f'  {name:8}{each.weights / 1e6:6.1f} M weights'
                f'  training {each.train_seconds:6.3f} s'
                f' ({base.train_seconds / each.train_seconds:.2f} x)'
                f'  inference {1e3 * each.infer_seconds:7.1f} ms'
                f' ({base.infer_seconds / each.infer_seconds:.2f} x)'
                f'  peak memory {each.memory / 2**20:6.0f} MiB',
                flush=True,
            )


if __name__ == '__main__':
    main()
