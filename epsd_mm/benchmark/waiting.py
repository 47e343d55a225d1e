"""Cells that wait for others."""

from collections.abc import Mapping

from .store import Entry


def blocked(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """What has failed before a cell could begin, by the key of the cell.

    Args:
        entries: Of a suite, by key.
    """
    found: dict[str, Entry | None] = {}

    def failed_before(key: str) -> Entry | None:
        if key not in found:
            found[key] = None
            for earlier in entries[key].spec.get('after', ()):
                other = entries.get(earlier)
                if other is None or found[key] is not None:
                    continue
                if other.state == 'failed':
                    found[key] = other
                elif other.state == 'waiting':
                    found[key] = failed_before(earlier)
        return found[key]

    waiting = [key for key, e in entries.items() if e.state == 'waiting']
    whose = {key: failed_before(key) for key in waiting}
    return {key: other for key, other in whose.items() if other is not None}


def why_blocked(entries: Mapping[str, Entry]) -> list[str]:
    """A sentence for each failed cell that others wait for."""
    behind: dict[str, list[str]] = {}
    for key, failed in blocked(entries).items():
        behind.setdefault(failed.name, []).append(entries[key].name)
    return [
        f'{names[0]} waits for {failed}, which failed'
        if len(names) == 1
        else f'{names[0]} and {len(names) - 1} more wait for {failed}, which '
        'failed'
        for failed, names in behind.items()
    ]
