"""The report of a scoring: a table, a figure, files."""

import io
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch

from epsd_mm.evaluation.sparsity import (
    density_table,
    part_sparsity_table,
    sparsity_text,
)
from epsd_mm.files import atomic_write
from epsd_mm.pruning import Masks
from epsd_mm.structure import Channels

from .parts import part_table
from .report_file import report_json


def report_text(report: dict) -> str:
    """Density by layer and part, of all weights too, and costs, as text."""
    units = report.get('channels')
    return (
        (density_table('Units kept', _counts(units)) if units else '')
        + density_table('Weights kept', _counts(report['layers']))
        + part_table('Of the scored weights, by part', report['layers'])
        + part_sparsity_table(report['all_weights'])
        + summary(report)
    )


def _counts(layers: dict) -> dict[str, tuple[int, int]]:
    return {n: (layer['kept'], layer['total']) for n, layer in layers.items()}


def summary(report: dict) -> str:
    """The figures of a report that are not of a layer, a line each."""
    what = 'units' if 'channels' in report else 'weights'
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
            f'{len(weights)} layers with {sum(weights.values()):,} {what}'
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
            f'{report["stability"]:.3f} of their {what}'
        )
    if 'overlap_with_plain' in report:
        lines.append(
            'overlap with the mask of the plain loss '
            f'{report["overlap_with_plain"]:.3f}; of two masks of the plain '
            f'loss from different batches {report["overlap_noise_floor"]:.3f}'
        )
    return '\n'.join(lines)


def density_figure(report: dict, file: Path | BinaryIO) -> None:
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
    figure.savefig(file, format='png', dpi=120)


class Written(NamedTuple):
    """What became of the files of a scoring.

    Attributes:
        masks: Where the masks are; None if they could not be written.
        problems: A sentence for each file that is not where it should be.
    """

    masks: Path | None
    problems: list[str]


def require_folder(folder: Path) -> None:
    """Raise where files could not be put into a folder, before hours pass.

    It is made when there is something to put into it.

    Raises:
        NotADirectoryError: Something else has its name.
        OSError: It, or the folder that it shall be in, cannot be written to.
    """
    folder = Path(folder)
    if (folder.exists() or folder.is_symlink()) and not folder.is_dir():
        raise NotADirectoryError(
            f'{folder} is where masks and their report shall be written, but '
            'it is no folder: move it, or choose another work_dir'
        )
    there = next(f for f in (folder, *folder.absolute().parents) if f.is_dir())
    with tempfile.TemporaryFile(dir=there):
        pass


def write_masks(folder: Path, masks: Masks) -> Written:
    """Write ``masks.pth``: into the folder, or else beside it."""
    problems = []
    places = (folder / 'masks.pth', folder.with_name(f'{folder.name}.pth'))
    for path in places:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            masks.save(path)
        except (OSError, RuntimeError) as error:  # torch's for a full disk
            problems.append(f'the masks cannot be written to {path}: {error}')
            continue
        if problems:
            problems.append(f'the masks are in {path} instead')
        return Written(path, problems)
    problems.append('the masks are in the checkpoints of the run alone')
    return Written(None, problems)


def write_unscored(folder: Path, masks: Masks) -> Written:
    """Write ``masks.pth`` of masks that nothing was scored for.

    What says how other masks of an earlier run were made goes.
    """
    try:
        told = Masks.load(folder / 'masks.pth') == masks
    except (OSError, ValueError):
        told = False
    if not told:
        for name in ('report.json', 'density.png', 'channels.pth'):
            with suppress(OSError):
                (folder / name).unlink()
    return write_masks(folder, masks)


def write_report(
    folder: Path,
    masks: Masks,
    report: dict,
    channels: Channels | None = None,
) -> Written:
    """Write ``masks.pth``, then ``report.json`` and ``density.png``.

    And ``channels.pth``, where the masks are made of some. Each takes the
    place of an earlier one; other files stay. Masks may be the work of
    hours, so whatever goes wrong is told and not raised.
    """
    folder = Path(folder)
    written = write_masks(folder, masks)
    contents = {
        'report.json': partial(report_json, report),
        'density.png': partial(_density_png, report),
    }
    if channels is not None:
        contents['channels.pth'] = partial(_packed, channels)
    else:
        with suppress(OSError):
            (folder / 'channels.pth').unlink()  # of other masks
    for name, content in contents.items():
        path = folder / name
        try:
            with atomic_write(path) as file:
                file.write(content())
        except Exception as error:  # a figure has many ways to fail
            written.problems.append(f'{path} cannot be written: {error}')
            with suppress(OSError):
                path.unlink()  # an earlier one would be of other masks
    return written


def _packed(channels: Channels) -> bytes:
    file = io.BytesIO()
    torch.save(channels.pack(), file)
    return file.getvalue()


def _density_png(report: dict) -> bytes:
    figure = io.BytesIO()
    density_figure(report, figure)
    return figure.getvalue()
