"""Globs of parameter names, such as ``'backbone.*'``."""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from fnmatch import fnmatchcase

#: Below this likeness a name is not offered in place of another.
_LIKENESS = 0.6


def matching(
    names: Iterable[str],
    globs: Sequence[str],
    option: str,
    never: Mapping[str, str],
) -> set[str]:
    """The names that globs match.

    Args:
        names: All that may be matched.
        globs: The globs.
        option: Name of the option that has them, for messages.
        never: Why what else has a name cannot be matched, by name.

    Raises:
        TypeError: ``globs`` is one string.
        ValueError: A glob matches nothing.
    """
    if isinstance(globs, str):
        raise TypeError(
            f'{option}={globs!r} must be a list of globs: {option}=[{globs!r}]'
        )
    names, found = list(names), set()
    for glob in globs:
        matched = {name for name in names if fnmatchcase(name, glob)}
        if not matched:
            raise ValueError(
                f'{option} glob {glob!r} matches no prunable weight'
                + _instead(glob, names, never)
            )
        found |= matched
    return found


def matches(name: str, globs: Iterable[str]) -> bool:
    """Whether one of the globs matches a name."""
    return any(fnmatchcase(name, glob) for glob in globs)


def summary(names: Iterable[str], among: Iterable[str]) -> list[str]:
    """Globs that match some names, and no others among more names.

    Names that differ in numbers alone share a glob where that is
    possible: ``'layer*.*.conv*.weight'``.
    """
    left = list(names)
    others = set(among).difference(left)
    globs: list[str] = []
    for number in (r'\d+', r'(?<![^.])\d+(?![^.])'):
        groups: dict[str, list[str]] = {}
        for name in left:
            groups.setdefault(re.sub(number, '*', name), []).append(name)
        for glob, group in groups.items():
            alone = not any(fnmatchcase(other, glob) for other in others)
            if len(group) > 1 and alone:
                globs.append(glob)
                left = [name for name in left if name not in group]
    return globs + left


def _instead(glob: str, names: Sequence[str], never: Mapping[str, str]) -> str:
    matched = [name for name in never if fnmatchcase(name, glob)]
    if matched:
        return f', only {matched[0]}, which {never[matched[0]]}: remove it'
    return '; ' + likely(glob, names)


def likely(glob: str, names: Sequence[str]) -> str:
    """What may have been meant by a glob that matches nothing."""
    if found := near_globs(glob, names):
        return f'did you mean {" or ".join(map(repr, found))}?'
    return 'names look like ' + ', '.join(list(names)[:3])


def near_globs(glob: str, names: Iterable[str], most: int = 3) -> list[str]:
    """Globs like one that matches nothing, which match something.

    Paths are compared letter by letter, for typing errors, and part by
    part, for parts left out: ``'neck.0.fpn_convs.*'`` is near
    ``'neck.fpn_convs.*'``.

    Args:
        glob: The glob.
        names: What is to be matched.
        most: How many to give at most.

    Returns:
        The nearest first.
    """
    names = list(names)
    parts = glob.split('.')
    inner = [i for i, part in enumerate(parts) if part != '*']
    if not inner:
        return []
    head, tail = parts[: inner[0]], parts[inner[-1] + 1 :]
    wanted = parts[inner[0] : inner[-1] + 1]
    paths = {path for name in names for path in _paths(name, bool(head))}
    ranked = sorted((-_likeness(wanted, path), path) for path in paths)
    found: list[str] = []
    for unlike, path in ranked:
        if -unlike < _LIKENESS or len(found) == most:
            break
        text = '.'.join((*head, *path, *tail))
        if not any(fnmatchcase(name, text) for name in names):
            text += '.*'
        covered = any(fnmatchcase(text, other) for other in found)
        if not covered and any(fnmatchcase(name, text) for name in names):
            found.append(text)
    return found


def _paths(name: str, anywhere: bool) -> Iterable[tuple[str, ...]]:
    """The paths that lead to a parameter, or the pieces of that path."""
    parts = name.split('.')
    for start in range(len(parts) if anywhere else 1):
        for stop in range(start + 1, len(parts) + 1):
            yield tuple(parts[start:stop])


def _likeness(wanted: Sequence[str], path: Sequence[str]) -> float:
    """Of two paths, 1 where they are the same."""
    letters = SequenceMatcher(None, '.'.join(wanted), '.'.join(path)).ratio()
    blocks = SequenceMatcher(None, wanted, path).get_matching_blocks()
    shared = sum(block.size for block in blocks) / len(wanted)
    return max(letters, shared - 0.02 * abs(len(path) - len(wanted)))
