"""What each self-distillation method costs in a training step, in one run.

A step is preprocessing, forward, backward and the optimiser's step, and what
the teacher does before and after it. Every method trains on the same number
of images a step; CS-KD's batches hold as many partners beside them, half of
DLB's images are those of the step before, and PS-KD knows each image from an
epoch ago. Loading images is not part of it: CS-KD loads twice as many. The
methods take turns; shares are medians of the step's time over that of the
plain step just before.
"""

import argparse  # noqa: I001  (workloads repairs broken environments)
import itertools
import statistics

import torch
import workloads

from epsd_mm.distillation import CSKDLoss, DLBLoss, PSKDLoss
from epsd_mm.engine.self_distillation import SelfDistillation
from epsd_mm.engine.training_tap import TrainingTap

METHODS = {
    'plain': None,
    'CS-KD': CSKDLoss,
    'PS-KD': PSKDLoss,
    'DLB': DLBLoss,
}
EPOCH = 4  # batches until PS-KD sees an image again


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--batch-size', type=int, default=64)
    parser.add_argument('--iterations', type=int, default=10)
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    return parser.parse_args()


def main() -> None:
    from mmengine.logging import MMLogger

    from epsd_mm.tables import text_table

    args = parse_args()
    MMLogger.get_instance('benchmark', log_level='ERROR')
    rows, seconds = [], measure(args)
    for name, own in seconds.items():
        shares = [a / b for a, b in zip(own, seconds['plain'])]
        row = [
            name,
            f'{1e3 * statistics.median(own):.1f}',
            f'{statistics.median(shares):.3f}',
            f'{min(shares):.3f}',
            f'{max(shares):.3f}',
        ]
        rows.append(row)
    headings = ['method', 'ms', 'x plain (median)', 'lowest', 'highest']
    title = 'A training step of ResNet-18 at 32x32'
    print(text_table(title, headings, rows), end='')


def measure(args: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of each step, by method."""
    from mmengine.optim import OptimWrapper

    model = workloads.build_model('resnet18', args.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    wrapper = OptimWrapper(optimizer)
    methods = {
        name: loss and TrainingTap(SelfDistillation(model, loss()))
        for name, loss in METHODS.items()
    }
    streams = {name: batches(name, args.batch_size) for name in METHODS}
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    for _ in range(EPOCH + args.iterations):
        for name, distillation in methods.items():
            batch = next(streams[name])
            if distillation:
                distillation.attach()
            seconds[name].append(
                workloads.timed(
                    lambda b=batch, d=distillation: step(model, wrapper, b, d)
                )
            )
            if distillation:
                distillation.detach()
    # In the first epoch PS-KD knows no image, and caches fill.
    return {name: own[EPOCH:] for name, own in seconds.items()}


def step(model, wrapper, batch, distillation) -> None:
    model.train_step(batch, wrapper)
    if distillation:
        distillation.learn()


def batches(name: str, size: int):
    """Endless batches as the method's sampler gives them."""
    for t in itertools.count():
        t = t % EPOCH
        batch = workloads.make_batch('resnet18', size, (32, 32), t)
        keys = [t * size + i for i in range(size)]
        if name == 'DLB':
            half = size // 2
            before = (t - 1) % EPOCH
            keys = [t * half + i for i in range(half)]
            keys += [before * half + i for i in range(half)]
        for key, sample in zip(keys, batch['data_samples']):
            sample.set_metainfo(dict(sample_idx=key))
        if name == 'CS-KD':
            partners = batch['data_samples']
            batch = dict(
                inputs=torch.cat([batch['inputs'], batch['inputs'].flip(0)]),
                data_samples=partners + [s.clone() for s in partners],
            )
        yield batch


if __name__ == '__main__':
    main()
