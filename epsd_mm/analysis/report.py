"""The report of a scoring: a table, a figure, files."""

import json
import shutil
import tempfile
from pathlib import Path

from epsd_mm.evaluation.sparsity import (
    density_table,
    part_sparsity_table,
    sparsity_text,
)
from epsd_mm.pruning import Masks

from .parts import part_table


def report_text(report: dict) -> str:
    """Density by layer and part, of all weights too, and costs, as text."""
    layers = {
        name: (layer['kept'], layer['total'])
        for name, layer in report['layers'].items()
    }
    return (
        density_table('Weights kept', layers)
        + part_table('Of the scored weights, by part', report['layers'])
        + part_sparsity_table(report['all_weights'])
        + summary(report)
    )


def summary(report: dict) -> str:
    """The figures of a report that are not of a layer, a line each."""
    lines = [
        sparsity_text(report['kept'], report['total'], report['all_weights']),
        f'scored by {report["criterion"]} in {report["seconds"]:.1f} s',
    ]
    lines.append(
        f'peak memory {report["peak_memory"] / 2**30:.2f} GiB '
        f'({report["peak_memory_of"]})'
    )
    if report.get('left_dense'):
        weights = report['left_dense']
        lines.append(
            f'left dense, because all their scores are exactly zero: '
            f'{len(weights)} layers with {sum(weights.values()):,} weights'
        )
    losses = [n['losses'] for n in report['steps'] if 'losses' in n]
    if losses:
        first = ', '.join(f'{loss:.4f}' for loss in losses[0])
        lines.append(f'loss of the inner steps of draw 0: {first}')
    growth = [n['growth'] for n in report['steps'] if 'growth' in n]
    if growth:
        lines.append(f'largest growth of the meta-gradient {max(growth):.2f}')
    if report.get('stability') is not None:
        lines.append(
            'stability: the masks of the two halves of the draws share '
            f'{report["stability"]:.3f} of their weights'
        )
    if 'overlap_with_plain' in report:
        lines.append(
            'overlap with the mask of the plain loss '
            f'{report["overlap_with_plain"]:.3f}; of two masks of the plain '
            f'loss from different batches {report["overlap_noise_floor"]:.3f}'
        )
    return '\n'.join(lines)


def density_figure(report: dict, path: Path) -> None:
    """Draw the density of each layer into a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(report['layers'])
    densities = [layer['density'] for layer in report['layers'].values()]
    figure = Figure(figsize=(7, 1.5 + 0.18 * len(names)), layout='tight')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.barh(range(len(names)), densities, color='#3b6ea5')
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale('log')
    axes.axvline(
        report['kept'] / report['total'],
        color='#c0504d',
        linestyle='--',
        label='all layers together',
    )
    axes.set_xlabel('density (kept / total)')
    axes.set_title(
        f'{report["criterion"]}, sparsity {report["sparsity"]:.2%}',
        fontsize=10,
    )
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def write_report(folder: Path, masks: Masks, report: dict) -> None:
    """Write ``report.json``, ``masks.pth`` and ``density.png``.

    The folder appears complete or not at all; an earlier one of that name
    is replaced.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(
        tempfile.mkdtemp(prefix=f'.{folder.name}-', dir=folder.parent)
    )
    try:
        text = json.dumps(report, indent=2, default=str)
        (draft / 'report.json').write_text(text + '\n')
        masks.save(draft / 'masks.pth')
        density_figure(report, draft / 'density.png')
        draft.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
