"""What is done, what runs, what failed, and how long it will take."""

import math
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from rich.console import Group
from rich.table import Table
from rich.text import Text

from epsd_mm.progress import duration

from .store import Entry, still_running
from .suite_folder import LOG, SuiteFolder
from .waiting import blocked, why_blocked
from .wording import cell_count

_MARKS = dict(finished='green', running='cyan', failed='red')


def sentence(folder: SuiteFolder, jobs: int | None = None) -> str:
    """One line for a log.

    Args:
        folder: Of the suite.
        jobs: Cells at a time; by default as many as run now.
    """
    entries = current_entries(folder)
    counts = Counter(entry.state for entry in entries)
    parts = [f'{counts["finished"]} of {cell_count(len(entries))} finished']
    behind = blocked({entry.key: entry for entry in entries})
    counts['waiting'] -= len(behind)
    for state in ('running', 'failed', 'waiting'):
        if counts[state]:
            parts.append(f'{counts[state]} {state}')
    if behind:
        parts.append(f'{len(behind)} behind failed ones')
    jobs = jobs or counts['running']
    left = seconds_left([e for e in entries if e.key not in behind], jobs)
    if left and counts['finished'] < len(entries):
        parts.append(f'about {duration(left)} left')
    return f'{time.strftime("%H:%M:%S")} ' + ', '.join(parts)


def failures(folder: SuiteFolder) -> list[str]:
    """Why cells have failed or cannot begin, and what to do about it."""
    entries = current_entries(folder)
    lines = [
        f'failed: {entry.name}: {entry.error} '
        f'({folder.work_dir(entry.key) / LOG})'
        for entry in entries
        if entry.state == 'failed'
    ]
    lines += why_blocked({entry.key: entry for entry in entries})
    if lines:
        lines.append('put it right, and run them again with `run --retry`')
    return lines


def overview(folder: SuiteFolder, jobs: int | None = None) -> Group:
    """A table of methods by sparsity, and the cells that run or failed.

    Args:
        folder: Of the suite.
        jobs: As of :func:`sentence`.
    """
    entries = current_entries(folder)
    # As Text, since a name is neither markup nor an emoji.
    table = Table(title=Text(folder.suite.title, 'table.title'))
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
    lines = [Text(sentence(folder, jobs))]
    for entry in entries:
        if entry.state == 'running' and entry.started:
            since = duration(time.time() - entry.started)
            lines.append(Text(f'running {since}: {entry.name}', 'cyan'))
    lines += [Text(line, 'red') for line in failures(folder)]
    old = folder.stale()
    if old:
        lines.append(
            Text(
                f'left out: {cell_count(len(old))} of the store, not in the '
                'suite as it is now; `clean` deletes:',
                'yellow',
            )
        )
        lines += [Text(f'  {entry.key} {entry.name}') for entry in old]
    return Group(table, *lines)


def seconds_left(entries: Iterable[Entry], jobs: int) -> float | None:
    """A guess at the time that is left, from finished cells; None if none."""
    entries = list(entries)
    spent = [
        e.ended - e.started
        for e in entries
        if e.state == 'finished' and e.started and e.ended
    ]
    if not spent:
        return None
    mean = sum(spent) / len(spent)
    now = time.time()
    left = sum(mean for e in entries if e.state == 'waiting')
    left += sum(
        max(0.0, mean - (now - e.started))
        for e in entries
        if e.state == 'running'
    )
    return left / max(1, jobs)


def _last(cells: list[Entry]) -> str:
    if not cells:
        return ''
    cell = max(cells, key=lambda each: each.ended or 0)
    name = f'metric/{cell.spec["metric"]}'
    value, unit = cell.metrics.get(name, (float('nan'), ''))
    if math.isnan(value):
        return 'no number'
    return f'{value:.4g} {unit if unit != "1" else ""}'.strip()


def current_entries(folder: SuiteFolder) -> list[Entry]:
    """All of its cells, those too that the store does not know yet.

    What a killed process has left behind waits for the next one.
    """
    entries = folder.store.entries()
    runs = {entry.key for entry in still_running(entries.values())}
    found = [
        entries.get(cell.key) or _unknown(cell) for cell in folder.suite.cells
    ]
    return [
        replace(entry, state='waiting')
        if entry.state == 'running' and entry.key not in runs
        else entry
        for entry in found
    ]


def _unknown(cell) -> Entry:
    return Entry(
        *(cell.key, cell.name, cell.spec(), 'waiting', None, 0),
        *(None, None, None, None, {}),
    )
