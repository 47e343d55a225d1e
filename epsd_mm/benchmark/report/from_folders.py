"""What a report says of masks and first steps, from the cells' folders."""

import json
import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from epsd_mm.pruning import Masks
from epsd_mm.results import Log

from ..comparison import Arm, Comparison
from . import figures
from .blocks import Figure, Section, Table

_FIRST_STEPS = 200


def folder_sections(comparison: Comparison, cells: Path) -> Iterator[Section]:
    """Sections for which masks, reports or logs are still there.

    Args:
        comparison: The finished cells.
        cells: Holds the work dir of each under its key.
    """
    folders: dict[Arm, dict[int, Path]] = {}
    for cell, entry in comparison.finished:
        arm = Arm(cell.setup.name, cell.method.name, cell.sparsity)
        folders.setdefault(arm, {})[cell.seed] = cells / entry.key
    for setup in comparison.suite.setups:
        here = {arm: f for arm, f in folders.items() if arm.setup == setup}
        for sparsity in comparison.suite.sparsities:
            at = {a: f for a, f in here.items() if a.sparsity == sparsity}
            yield from _masks(setup, sparsity, at)
        yield from _first_steps(setup, here)


def _masks(
    setup: str, sparsity: float, folders: dict[Arm, dict[int, Path]]
) -> Iterator[Section]:
    masks = {
        arm.method: {
            seed: Masks.load(folder / 'epsd' / 'masks.pth')
            for seed, folder in by_seed.items()
            if (folder / 'epsd' / 'masks.pth').is_file()
        }
        for arm, by_seed in folders.items()
    }
    masks = {method: found for method, found in masks.items() if found}
    if not masks:
        return
    names = list(masks)
    overlaps = np.array(
        [[_overlap(masks[a], masks[b]) for b in names] for a in names]
    )
    floors = _noise_floors(folders)
    layers = list(next(iter(masks[names[0]].values())))
    density = {
        name: [
            statistics.mean(
                m.layers()[layer]['density'] for m in each.values()
            )
            for layer in layers
        ]
        for name, each in masks.items()
    }
    empty = [
        [name, str(seed), ', '.join(found.empty_layers())]
        for name, each in masks.items()
        for seed, found in each.items()
        if found.empty_layers()
    ]
    blocks: list = [
        Figure(
            f'{setup}_{sparsity:g}_overlap',
            figures.heat_map(names, overlaps, 'shared kept weights'),
            'Overlap |A ∩ B| / |A| of the masks of two methods at the same '
            'seed, hence the same initialisation; mean over seeds.',
        ),
        Figure(
            f'{setup}_{sparsity:g}_density',
            figures.densities([_short(x) for x in layers], density),
            'Density by layer, from input to output; mean over seeds. An '
            'empty layer has no point.',
        ),
    ]
    if floors:
        rows = [[name, f'{value:.3f}'] for name, value in floors.items()]
        blocks.insert(1, Table(('method', 'halves of its draws share'), rows))
    if empty:
        blocks.append(Table(('method', 'seed', 'empty layers'), empty))
    text = [
        'Noise floor: the masks of two halves of the draws of one method. '
        'Where methods agree as far as halves do, they chose the same '
        'weights as far as these data can tell.'
    ]
    yield Section(f'Masks at {sparsity:.6g} ({setup})', text, blocks)


def _noise_floors(folders: dict[Arm, dict[int, Path]]) -> dict[str, float]:
    floors = {}
    for arm, by_seed in folders.items():
        reports = [f / 'epsd' / 'report.json' for f in by_seed.values()]
        found = [json.loads(p.read_text()) for p in reports if p.is_file()]
        values = [r['stability'] for r in found if r.get('stability')]
        if values:
            floors[arm.method] = statistics.mean(values)
    return floors


def _first_steps(
    setup: str, folders: dict[Arm, dict[int, Path]]
) -> Iterator[Section]:
    curves = {}
    for arm, by_seed in folders.items():
        logs = [_sd_losses(folder) for folder in by_seed.values()]
        logs = [log for log in logs if log]
        if not logs:
            continue
        steps = sorted(set.intersection(*map(set, logs)))
        means = [statistics.mean(log[s] for log in logs) for s in steps]
        curves[str(arm)] = (steps, means)
    if curves:
        yield Section(
            f'Self-distillation in the first steps after pruning ({setup})',
            ['The logged term, smoothed as the log is; mean over seeds.'],
            [
                Figure(
                    f'{setup}_first_steps',
                    figures.first_steps(curves, 'loss_sd'),
                    f'The first {_FIRST_STEPS} iterations.',
                )
            ],
        )


def _sd_losses(folder: Path) -> dict[int, float]:
    try:
        lines = Log.of(folder).training
    except FileNotFoundError:
        return {}
    return {
        line['step']: line['loss_sd']
        for line in lines
        if 'loss_sd' in line and line['step'] <= _FIRST_STEPS
    }


def _overlap(first: dict[int, Masks], second: dict[int, Masks]) -> float:
    seeds = first.keys() & second.keys()
    if not seeds:
        return float('nan')
    return statistics.mean(first[s].overlap(second[s]) for s in seeds)


def _short(name: str) -> str:
    return name.removesuffix('.weight').replace('backbone.', '')
