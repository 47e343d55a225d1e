"""What masks cost in a training iteration, both measured in one run.

The masks of every convolution and linear layer at 90 % sparsity, timed where
they work, in the middle of the iterations: applied to gradients as they
accumulate, to weights and momentum after each step of the optimiser, and
counted for the log every 50th iteration; against the rest of the iteration:
preprocessing, forward, backward, optimiser's step.
"""

import argparse
import statistics
from collections import Counter

import torch
import workloads

from epsd_mm.pruning import MaskKeeper, Masks, prunable_parameters

COUNTED_EVERY = 50  # iterations, as EPSDHook does


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--workloads',
        nargs='+',
        choices=workloads.WORKLOADS,
        default=['resnet18', 'faster-rcnn', 'faster-rcnn-r50'],
    )
    parser.add_argument('--batch-size', type=int, help='images a batch')
    parser.add_argument('--image', nargs=2, type=int, metavar=('H', 'W'))
    parser.add_argument('--iterations', type=int, default=5)
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    return parser.parse_args()


def main() -> None:
    from mmengine.logging import MMLogger

    from epsd_mm.tables import text_table

    args = parse_args()
    MMLogger.get_instance('benchmark', log_level='ERROR')
    headings = [
        'workload',
        'iteration ms',
        'gradients ms',
        'weights ms',
        'momentum ms',
        'count ms',
        'masks / iteration',
    ]
    rows = []
    for name in args.workloads:
        iteration, *each, count = (1e3 * t for t in measure(args, name))
        share = (sum(each) + count / COUNTED_EVERY) / iteration
        times = [f'{time:.2f}' for time in (*each, count)]
        rows.append([name, f'{iteration:.1f}', *times, f'{share:.2%}'])
    title = 'Masks in a training iteration (medians)'
    print(text_table(title, headings, rows), end='')


class TimedKeeper(MaskKeeper):
    """Knows how long its work takes in the middle of a training step."""

    PARTS = ('clear_gradient', 'apply', 'clear_state')

    def __init__(self, model: torch.nn.Module, masks: Masks) -> None:
        self.spent: Counter = Counter()
        super().__init__(model, masks)

    def clear_gradient(self, weight: torch.Tensor) -> None:
        self._timed('clear_gradient', weight)

    def apply(self) -> None:
        self._timed('apply')

    def clear_state(self, optimizer: torch.optim.Optimizer) -> None:
        self._timed('clear_state', optimizer)

    def _timed(self, part: str, *args) -> None:
        work = getattr(super(), part)
        self.spent[part] += workloads.timed(lambda: work(*args))


def measure(args: argparse.Namespace, name: str) -> tuple[float, ...]:
    """Median seconds of an iteration, and of what is done with masks.

    That is masking gradients, weights and momentum, and counting.
    """
    from mmengine.optim import OptimWrapper

    model = workloads.build_model(name, args.device)
    masks = Masks(
        {
            n: torch.rand(p.shape) < 0.1
            for n, p in prunable_parameters(model).items()
        }
    )
    keeper = TimedKeeper(model, masks)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)
    keeper.watch(optimizer)
    wrapper = OptimWrapper(optimizer)
    image = tuple(args.image or workloads.default_image(name))
    size = args.batch_size or workloads.default_batch_size(name)
    times = []
    for seed in range(args.iterations + 1):
        batch = workloads.make_batch(name, size, image, seed)
        keeper.spent.clear()
        iteration = workloads.timed(
            lambda b=batch: model.train_step(b, wrapper)
        )
        each = [keeper.spent[part] for part in TimedKeeper.PARTS]
        count = workloads.timed(keeper.measured_sparsity)
        times.append([iteration - sum(each), *each, count])
    # The first iteration fills caches.
    return tuple(statistics.median(column) for column in zip(*times[1:]))


if __name__ == '__main__':
    main()
