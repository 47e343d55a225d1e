"""What a report says of masks and first steps, from the cells' folders."""

import statistics
from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np

from epsd_mm.pages import Block, Figure, Section, Table
from epsd_mm.pages.drawing import densities
from epsd_mm.pruning import Masks

from ..comparison import Arm, Comparison
from ..folders import Folders
from . import figures

# So many logged values are the first steps.
_FIRST = 10

_Seeds = Mapping[int, Masks]


def folder_sections(
    comparison: Comparison, folders: Folders
) -> Iterator[Section]:
    """Sections for which masks or logs are still there."""
    for setup in comparison.suite.setups:
        here = comparison.arms_of(setup)
        for sparsity in comparison.suite.sparsities:
            at = [arm for arm in here if arm.sparsity == sparsity]
            yield from _masks(comparison, folders, setup, sparsity, at)
        yield from _first_steps(comparison, folders, setup, here)


def _masks(
    comparison: Comparison,
    folders: Folders,
    setup: str,
    sparsity: float,
    arms: list[Arm],
) -> Iterator[Section]:
    found = {arm: folders.masks(arm) for arm in arms}
    masks = {arm.method: each for arm, each in found.items() if each}
    if not masks:
        return
    floors, plain = (
        [comparison.summary(a, metric) for a, each in found.items() if each]
        for metric in ('scoring/stability', 'scoring/noise_floor')
    )
    names = list(masks)
    overlaps = np.array(
        [[_overlap(masks[a], masks[b]) for b in names] for a in names]
    )
    # A mask shares all with itself: its place shows what chance leaves.
    for index, floor in enumerate(floors):
        overlaps[index, index] = np.nan if floor is None else floor.mean
    rows = [
        [
            name,
            '' if floor is None else f'{floor.mean:.3f}',
            '' if other is None else f'{other.mean:.3f}',
            _share(_between_seeds(masks[name])),
            _share(_by_chance(masks[name])),
        ]
        for name, floor, other in zip(names, floors, plain)
    ]
    layers = list(next(iter(masks[names[0]].values())))
    density = {}
    for name, each in masks.items():
        counts = [m.layers() for m in each.values()]
        density[name] = [
            statistics.mean(c[layer]['density'] for c in counts)
            for layer in layers
        ]
    empty = [
        [name, str(seed), ', '.join(each.empty_layers())]
        for name, by_seed in masks.items()
        for seed, each in by_seed.items()
        if each.empty_layers()
    ]
    floor_headings = (
        'method',
        'halves of its draws share',
        'plain masks of other batches share',
        'its seeds share',
        'chance would share',
    )
    blocks: list[Block] = [
        Figure(
            f'{setup}_{sparsity:g}_overlap',
            figures.heat_map(names, overlaps, 'shared kept weights'),
            'Overlap |A ∩ B| / |A| of the masks of two methods at the same '
            'seed, hence the same initialisation; mean over seeds. On the '
            'diagonal: what two halves of the draws of one method share.',
        ),
        Table(floor_headings, rows),
        Figure(
            f'{setup}_{sparsity:g}_density',
            densities([_short(x) for x in layers], density),
            'Density by layer, from input to output; mean over seeds. An '
            'empty layer has no point.',
        ),
    ]
    if empty:
        blocks.append(Table(('method', 'seed', 'empty layers'), empty))
    text = [
        'Where two methods share as much as halves of the draws of one do, '
        'they chose the same weights as far as these data can tell. Whole '
        'draws would share more than halves. Other seeds have another '
        'initialisation; chance keeps the density of each layer.'
    ]
    yield Section(
        f'Masks at {sparsity:.6g}{comparison.place(setup)}', text, blocks
    )


def _first_steps(
    comparison: Comparison, folders: Folders, setup: str, arms: list[Arm]
) -> Iterator[Section]:
    curves = {}
    for arm in arms:
        logs = list(folders.sd_losses(arm, first=_FIRST).values())
        steps = sorted(set.intersection(*map(set, logs))) if logs else []
        if steps:
            values = np.array([[log[s] for s in steps] for log in logs])
            curves[str(arm)] = steps, values
    if curves:
        yield Section(
            'Self-distillation in the first steps after pruning'
            + comparison.place(setup),
            [
                'The term as it is logged: a mean over the last iterations '
                'before each point.'
            ],
            [
                Figure(
                    f'{setup}_first_steps',
                    figures.first_steps(curves, 'loss_sd'),
                    f'The first {_FIRST} logged values; mean over seeds, '
                    'and a band of one standard deviation to each side.',
                )
            ],
        )


def _overlap(first: _Seeds, second: _Seeds) -> float:
    seeds = first.keys() & second.keys()
    if not seeds:
        return float('nan')
    return statistics.mean(first[s].overlap(second[s]) for s in seeds)


def _between_seeds(masks: _Seeds) -> list[float]:
    return [a.overlap(b) for a, b in combinations(masks.values(), 2)]


def _by_chance(masks: _Seeds) -> list[float]:
    """Expected overlap of independent masks of the same densities."""
    shares = []
    for each in masks.values():
        layers = each.layers().values()
        shared = sum(x['kept'] ** 2 / x['total'] for x in layers)
        shares.append(shared / each.kept)
    return shares


def _share(values: list[float]) -> str:
    return f'{statistics.mean(values):.3f}' if values else ''


def _short(name: str) -> str:
    return name.removesuffix('.weight').replace('backbone.', '')
