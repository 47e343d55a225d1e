"""How far a network can be pruned before a criterion empties a layer.

For each criterion the largest compression 10^a, with a on a grid of 0.25, at
which every layer keeps a weight. Nothing is trained and no data set is read:
SNIP and GraSP, the criteria here that look at images, get random ones, once
with batch norm in training mode and once, as SNIP-eval and GraSP-eval, in
evaluation mode.
"""

import argparse
import json
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from cifar_nets import resnet18, vgg16_bn
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from epsd_mm.files import write_text
from epsd_mm.pruning import (
    SNIP,
    Criterion,
    GraSP,
    Magnitude,
    Masks,
    ModuleObjective,
    Random,
    SynFlow,
    Target,
    find_masks,
    prunable_parameters,
)
from epsd_mm.tables import text_table

STEP = 0.25
NETS: dict[str, tuple[Callable, int]] = {
    'vgg16-bn': (vgg16_bn, 100),
    'resnet18': (resnet18, 10),
}
#: A criterion, and whether the network is in training mode meanwhile.
CRITERIA: dict[str, tuple[Callable[[], Criterion], bool]] = {
    'Magnitude': (Magnitude, True),
    'Random': (Random, True),
    'SNIP': (SNIP, True),
    'SNIP-eval': (SNIP, False),
    'GraSP': (GraSP, True),
    'GraSP-eval': (GraSP, False),
    'SynFlow': (SynFlow, True),
}
#: SynFlow's authors, on CIFAR-100 (VGG) and CIFAR-10 (ResNet), with training.
PUBLISHED = {
    ('vgg16-bn', 'Magnitude'): '2.75',
    ('vgg16-bn', 'Random'): '3.25',
    ('vgg16-bn', 'SNIP'): '3.50',
    ('vgg16-bn', 'SNIP-eval'): '3.50',
    ('vgg16-bn', 'GraSP'): '3.50',
    ('vgg16-bn', 'GraSP-eval'): '3.50',
    ('vgg16-bn', 'SynFlow'): '6.00',
    ('resnet18', 'Magnitude'): '1.00',
    ('resnet18', 'Random'): '>= 2.00',
    ('resnet18', 'SNIP'): '>= 2.00',
    ('resnet18', 'SNIP-eval'): '>= 2.00',
    ('resnet18', 'GraSP'): '>= 2.00',
    ('resnet18', 'GraSP-eval'): '>= 2.00',
    ('resnet18', 'SynFlow'): '>= 2.00',
}


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--nets', nargs='+', choices=NETS, default=[*NETS])
    parser.add_argument(
        '--criteria', nargs='+', choices=CRITERIA, default=[*CRITERIA]
    )
    parser.add_argument(
        '--seeds',
        nargs='+',
        type=int,
        default=[0],
        help='seeds of the initial weights and of everything that is drawn',
    )
    parser.add_argument(
        '--images', type=int, default=32, help='random images a criterion sees'
    )
    parser.add_argument('--out', type=Path, help='write results as JSON')
    return parser.parse_args(argv)


def main(argv=None) -> None:
    args = parse_args(argv)
    rows = []
    for name in args.nets:
        build, classes = NETS[name]
        for criterion in args.criteria:
            make, training = CRITERIA[criterion]
            for seed in args.seeds:
                torch.manual_seed(seed)
                net = build(classes).train(training)
                trial = Trial(net, classes, make(), seed)
                row = dict(net=name, criterion=criterion, seed=seed)
                rows.append(row | trial.run(args.images))
                print(json.dumps(rows[-1]), flush=True)
    print(result_table(rows), end='')
    if args.out:
        settings = dict(images=args.images, step=STEP, torch=torch.__version__)
        text = json.dumps(dict(settings=settings, rows=rows), indent=2)
        write_text(args.out, text + '\n')


class Trial:
    """One initial network and one criterion."""

    def __init__(
        self, net: nn.Module, classes: int, criterion: Criterion, seed: int
    ) -> None:
        self.net = net
        self.classes = classes
        self.criterion = criterion
        self.seed = seed
        self.emptied: dict[float, list[str]] = {}

    def run(self, images: int) -> dict:
        """The largest exponent, and what the next one of the grid empties."""
        started = time.perf_counter()
        prunable = Masks.ones_like(prunable_parameters(self.net))
        grid = exponents(prunable.total, len(prunable))
        batch = random_batch(images, self.classes, self.seed)

        def collapses(exponent: float) -> bool:
            self.emptied[exponent] = self.empty_layers(exponent, batch)
            return bool(self.emptied[exponent])

        if self.criterion.schedule.rounds == 1:
            # Masks of the same scores contain each other.
            place = bisect_left(grid, True, key=collapses)
        else:
            # The first point of the grid removes nothing.
            place = len(grid)
            while place > 1 and collapses(grid[place - 1]):
                place -= 1
        next_one = self.emptied.get(grid[place]) if place < len(grid) else []
        return dict(
            largest=grid[place - 1],
            limit=grid[-1],
            layers=len(prunable),
            emptied_next=next_one,
            seconds=round(time.perf_counter() - started, 1),
        )

    def empty_layers(self, exponent: float, batch: Sequence) -> list[str]:
        """Layers of which a compression of ``10 ** exponent`` leaves none.

        What a round empties stays empty, so later rounds are left out.
        Scores that vanish though no layer is empty, because no path is
        left, count as the collapse of all layers.
        """
        prunable = prunable_parameters(self.net)
        try:
            found = find_masks(
                ModuleObjective(self.net, loss),
                Watched(self.criterion),
                dict(self.net.named_parameters()),
                Masks.ones_like(prunable),
                lambda draw: iter(lambda: batch, None),
                Target.over(prunable, 1 - 10**-exponent),
                seed=self.seed,
                allow_empty_layers=True,
            )
        except CollapseError as e:
            return e.layers
        except ValueError as e:
            if 'exactly zero' not in str(e):
                raise
            return [*prunable]
        return found.masks.empty_layers()


class CollapseError(Exception):
    """A round has emptied layers."""

    def __init__(self, layers: list[str]) -> None:
        super().__init__(f'empty layers: {", ".join(layers)}')
        self.layers = layers


class Watched(Criterion):
    """A criterion that stops where a round has emptied a layer."""

    def __init__(self, criterion: Criterion) -> None:
        self.criterion = criterion
        self.schedule = criterion.schedule
        self.signed = criterion.signed

    def scores(self, objective, params, masks, batches):
        if empty := masks.empty_layers():
            raise CollapseError(empty)
        return self.criterion.scores(objective, params, masks, batches)


def exponents(weights: int, layers: int) -> list[float]:
    """The grid, as far as there is a weight for each layer."""
    grid = [0.0]
    while round(weights / 10 ** (grid[-1] + STEP)) >= layers:
        grid.append(grid[-1] + STEP)
    return grid


def random_batch(images: int, classes: int, seed: int) -> list[Tensor]:
    """Normally distributed images and uniformly drawn labels."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(images, 3, 32, 32, generator=generator),
        torch.randint(classes, (images,), generator=generator),
    ]


def loss(net: nn.Module, batch: Sequence[Tensor]) -> Tensor:
    images, labels = batch
    return cross_entropy(net(images), labels)


def result_table(rows: list[dict]) -> str:
    """A line for each network and criterion, its seeds side by side."""
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault((row['net'], row['criterion']), []).append(row)
    headings = {
        'network': 'l',
        'criterion': 'l',
        'ours, by seed': 'r',
        "SynFlow's authors": 'r',
        'possible': 'r',
        'emptied one step further (first seed)': 'l',
    }
    return text_table(
        'Largest a for which a compression of 10^a empties no layer',
        list(headings),
        [
            [
                *key,
                ' '.join(f'{row["largest"]:.2f}' for row in group),
                PUBLISHED.get(key, '-'),
                f'{group[0]["limit"]:.2f}',
                _emptied(group[0]),
            ]
            for key, group in groups.items()
        ],
        align=''.join(headings.values()),
    )


def _emptied(row: dict) -> str:
    if len(row['emptied_next']) == row['layers']:
        return 'all: no path is left'
    names = (name.removesuffix('.weight') for name in row['emptied_next'])
    return ', '.join(names) or '-'


if __name__ == '__main__':
    main()
