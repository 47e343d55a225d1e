"""What is done, what runs, what failed, and how long it will take."""

import time
from collections import Counter

from rich.console import Group
from rich.table import Table
from rich.text import Text

from epsd_mm.progress import duration

from .driver import Driver, seconds_left, stale
from .store import Entry

_MARKS = dict(finished='green', running='cyan', failed='red')


def sentence(driver: Driver, jobs: int) -> str:
    """One line for a log."""
    entries = _of_suite(driver)
    counts = Counter(entry.state for entry in entries)
    parts = [f'{counts["finished"]} of {len(entries)} cells finished']
    for state in ('running', 'failed', 'waiting'):
        if counts[state]:
            parts.append(f'{counts[state]} {state}')
    left = seconds_left(entries, jobs)
    if left and counts['finished'] < len(entries):
        parts.append(f'about {duration(left)} left')
    return f'{time.strftime("%H:%M:%S")} ' + ', '.join(parts)


def overview(driver: Driver, jobs: int) -> Group:
    """A table of methods by sparsity, and the cells that run or failed."""
    entries = _of_suite(driver)
    # As Text, since a name is neither markup nor an emoji.
    table = Table(title=Text(driver.suite.title, 'table.title'))
    for header in ('set-up', 'method', 'sparsity', 'done', 'last result'):
        table.add_column(header, justify='right' if header == 'done' else None)
    rows: dict[tuple, list[Entry]] = {}
    for entry in entries:
        spec = entry.spec
        row = spec['setup'], spec['method'], spec['sparsity']
        rows.setdefault(row, []).append(entry)
    for (setup, method, sparsity), cells in rows.items():
        done = [cell for cell in cells if cell.state == 'finished']
        shown = '' if sparsity is None else f'{sparsity:.6g}'
        share = f'{len(done)}/{len(cells)}'
        row = setup, method, shown, share, _last(done)
        table.add_row(*map(Text, row))
    lines = [Text(sentence(driver, jobs))]
    for entry in entries:
        if entry.state == 'running' and entry.started:
            since = duration(time.time() - entry.started)
            lines.append(Text(f'running {since}: {entry.name}', 'cyan'))
        elif entry.state == 'failed':
            where = driver.work_dir(entry.key) / 'log.txt'
            lines.append(
                Text(f'failed: {entry.name}: {entry.error} ({where})', 'red')
            )
    old = stale(driver.suite, driver.store.entries().values())
    if old:
        lines.append(
            Text(
                f'{len(old)} cells of the store are not in the suite as it '
                'is now, and are left out; `clean` deletes them:',
                'yellow',
            )
        )
        lines += [Text(f'  {entry.key} {entry.name}') for entry in old]
    return Group(table, *lines)


def _last(cells: list[Entry]) -> str:
    if not cells:
        return ''
    cell = max(cells, key=lambda each: each.ended or 0)
    name = f'metric/{cell.spec["metric"]}'
    value, unit = cell.metrics.get(name, (float('nan'), ''))
    return f'{value:.4g} {unit if unit != "1" else ""}'.strip()


def _of_suite(driver: Driver) -> list[Entry]:
    entries = driver.store.entries()
    return [
        entries[cell.key] for cell in driver.suite.cells if cell.key in entries
    ]
