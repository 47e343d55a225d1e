"""With which code and on which machines cells ran, told for a reader."""

from collections.abc import Iterable

from .store import Entry

_DIRTY = '-dirty'


def told_apart(pairs: Iterable[tuple[Entry, Entry]]) -> list[str]:
    """What may be behind a difference besides what is compared.

    Args:
        pairs: The two runs of each seed.

    Returns:
        A sentence for each version or machine that is not that of the other
        run of a pair, and one for code that no commit has.
    """
    pairs = list(pairs)
    found: dict[str, dict[str, int]] = {}
    for first, second in pairs:
        a, b = first.environment or {}, second.environment or {}
        for name in a.keys() & b.keys():
            if a[name] != b[name]:
                counts = found.setdefault(name, {})
                sides = f'{a[name]} against {b[name]}'
                counts[sides] = counts.get(sides, 0) + 1
    sentences = [
        f'Mind that the two of a pair differ in {name}: '
        + ', '.join(f'{sides} ({n})' for sides, n in counts.items())
        for name, counts in sorted(found.items())
    ]
    commits = changed_commits(entry for pair in pairs for entry in pair)
    if commits:
        sentences.append(
            f'Mind that code was changed since its commit: {_listed(commits)}'
        )
    return sentences


def machine_of(entry: Entry) -> tuple:
    """What decides how long a step takes, as far as the cell has told it.

    Cells did not always name their processor: of those that do not, the ones
    of a commit are taken to be of one machine.
    """
    ran = entry.environment or {}
    known = 'processor' if 'processor' in ran else 'commit'
    return tuple(ran.get(name) for name in (known, 'device', 'threads'))


def changed_commits(entries: Iterable[Entry]) -> dict[str, int]:
    """Commits whose code was changed when cells ran, and how many did."""
    found: dict[str, int] = {}
    for entry in entries:
        commit = str((entry.environment or {}).get('commit'))
        if commit.endswith(_DIRTY):
            found[commit] = found.get(commit, 0) + 1
    return found


def of_changed_code(entries: Iterable[Entry]) -> str:
    """A warning, where cells ran with code that no commit has."""
    commits = changed_commits(entries)
    if not commits:
        return ''
    return (
        'Mind that the code of cells was changed since its commit, so that '
        f'nobody else can have it, and not kept: {_listed(commits)}.'
    )


def _listed(commits: dict[str, int]) -> str:
    return ', '.join(
        f'{commit} ({n} cell{"s" * (n > 1)})' for commit, n in commits.items()
    )
