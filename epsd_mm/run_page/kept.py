"""What is left of a network: weights by layer, units, a smaller network."""

from collections.abc import Iterator, Mapping

from epsd_mm.analysis.parts import by_part
from epsd_mm.config_types import narrowed_layers
from epsd_mm.pages import Block, Figure, Section, Table
from epsd_mm.pages.drawing import bars, svg_of

from .run_folder import RunFolder


def weights_kept(run: RunFolder) -> Section | None:
    """Masks by layer; None for a run without any."""
    changed = run.policy is not None and run.masks is not None
    if run.report is not None and not changed:
        layers = run.report['layers']
    elif run.masks is not None:
        layers = run.masks.layers()
    else:
        return None
    text = []
    if run.report is not None:
        text += [*_of_scoring(run.report)]
    if changed:
        text.append(
            f'By policy {run.policy}, as of the newest checkpoint'
            + (': the scores are those of the start.' if text else '.')
        )
    empty = [name for name, layer in layers.items() if not layer['kept']]
    if empty:
        text.append(f'Empty: {", ".join(empty)}')
    whole = all('mass' in layer for layer in layers.values())
    drawn = {
        'density (kept / total)': {n: x['density'] for n, x in _of(layers)}
    }
    if whole:
        drawn['share in the sum of all scores'] = {
            name: layer['mass'] for name, layer in _of(layers)
        }
    blocks: list[Block] = [
        Figure(
            'masks',
            svg_of(bars(drawn)),
            'From input to output. '
            + whole * 'A large layer has a large share by many small scores.',
        ),
        _counts('part', by_part(layers)),
        _counts('layer', layers, folded='Every layer'),
    ]
    return Section('Masks by layer', text, blocks)


def units_kept(run: RunFolder) -> Section | None:
    """Whole channels, where those are what was scored."""
    units = (run.report or {}).get('channels')
    if not units:
        return None
    drawn = {'kept / all': {n: x['density'] for n, x in _of(units)}}
    blocks: list[Block] = [
        Figure(
            'units',
            svg_of(bars(drawn)),
            'Channels, heads and neurons by group.',
        ),
        _counts('group', units, folded='Every group'),
    ]
    whole = (run.report or {}).get('whole') or {}
    if whole:
        rows = [[name, why] for name, why in whole.items()]
        blocks.append(Table(('stays whole', 'why'), rows, 'What stays whole'))
    return Section('Units that are kept', (), blocks)


def smaller(run: RunFolder) -> Section | None:
    """Channels that are gone for good, and exported files."""
    text, blocks = [], []
    table = narrowed_layers(run.cfg)
    if table:
        before, after = (sum(w[i] for w in table.values()) for i in (0, 1))
        text.append(
            f'Channels were removed for good before training: of {before:,} '
            f'outputs of {len(table)} layers {after:,} are left.'
        )
        drawn = {'outputs left': {n: b / a for n, (a, b) in table.items()}}
        rows = [[n, str(a), str(b)] for n, (a, b) in table.items()]
        headings = ('layer', 'outputs before', 'outputs left')
        blocks += [
            Figure('widths', svg_of(bars(drawn)), 'Layers that lost outputs.'),
            Table(headings, rows, folded='Every such layer'),
        ]
    if run.exported:
        headings = ('file', 'precision', 'megabytes', 'largest difference')
        blocks.append(Table(headings, [*_files(run)]))
    if not blocks:
        return None
    title = 'A smaller network' if table else 'Exported files'
    return Section(title, text, blocks)


def _of_scoring(report: Mapping) -> Iterator[str]:
    loss = (report.get('sd_loss') or {}).get('type')
    yield (
        f'Scored by {report["criterion"]}'
        + (f' with {loss}' if loss else '')
        + f', {_counted(report["draws"], "draw")}, in '
        f'{report["seconds"]:.1f} s.'
    )
    if report.get('stability') is not None:
        yield (
            'Masks of the two halves of the draws share '
            f'{report["stability"]:.3f} of their weights.'
        )
    if report.get('left_dense'):
        yield (
            'Left dense, because all their scores are exactly zero: '
            + ', '.join(report['left_dense'])
        )


def _counted(number: int, what: str) -> str:
    return f'{number} {what}' if number == 1 else f'{number} {what}s'


def _of(layers: Mapping[str, Mapping]) -> Iterator[tuple[str, Mapping]]:
    return ((n.removesuffix('.weight'), layer) for n, layer in layers.items())


def _counts(what: str, layers: Mapping, folded: str = '') -> Table:
    headings = [what, 'all', 'kept', 'density']
    scored = all('mass' in layer for layer in layers.values())
    if scored:
        headings += ['score mass', 'of it kept']
    rows = []
    for name, layer in _of(layers):
        row = [name, f'{layer["total"]:,}', f'{layer["kept"]:,}']
        row.append(f'{layer["density"]:.4f}')
        if scored:
            row += [f'{layer["mass"]:.2%}', f'{layer["mass_kept"]:.2%}']
        rows.append(row)
    return Table(headings, rows, folded)


def _files(run: RunFolder) -> Iterator[list[str]]:
    for folder, report in run.exported.items():
        compared = report['comparison'].get('file') or {}
        errors = {k: v for k, v in compared.items() if isinstance(v, float)}
        yield [
            f'{folder.name}/{report["file"]}',
            report['metadata'].get('precision', ''),
            f'{report["bytes"] / 1e6:.1f}',
            ', '.join(f'{name} {v:.1e}' for name, v in errors.items()),
        ]
