"""What the parts of a suite must be, so that a mistake is one sentence."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from numbers import Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from epsd_mm.pruning.allocation import check_sparsity

_WORDS = {
    str: 'a string',
    bool: 'True or False',
    float: 'a number',
    Mapping: 'a dict by names',
    NoneType: 'None',
}
# Of fields whose type does not tell what is in them.
_EXAMPLES = dict(
    score_weights=', such as dict(task=1, sd=10)',
    options=", such as {'train_cfg.max_epochs': 7}",
)


def check_types(
    content: Mapping[str, Any], kinds: Mapping[str, type], path: Path
) -> None:
    """Refuse a suite whose parts are of other types than they must be.

    Args:
        content: What the file says.
        kinds: Dataclass of ``setups``, ``methods`` and ``claims``.
        path: The file, for messages.

    Raises:
        ValueError: Names the first such part, and what it must be.
    """
    for said in _mistakes(content, kinds):
        raise ValueError(f'{path}: {said}')


def close_to(name: str, known: Iterable[str]) -> str:
    """What was meant by a name that is not known; a part of a sentence."""
    known = sorted(known)
    near = get_close_matches(str(name), known, 1)
    meant = f'did you mean {near[0]!r}? ' if near else ''
    return f'{meant}known are {", ".join(known)}'


def _mistakes(content: Mapping, kinds: Mapping[str, type]) -> Iterator[str]:
    if not isinstance(content['title'], str):
        yield f'title={content["title"]!r} must be a string'
    for name in ('setups', 'methods'):
        entries = content[name]
        if not _fits(entries, Mapping):
            yield f'{name}={entries!r:.60} must be a dict by name'
        for each, options in entries.items():
            yield from _of_part(kinds[name], options, f'{name}[{each!r}]')
    for name, example in (('sparsities', 0.95), ('seeds', 3)):
        values = content[name]
        if not isinstance(values, (list, tuple)):
            yield f'{name}={values!r} must be a list, such as ' + (
                f'list({values!r})'
                if isinstance(values, range)
                else f'[{example}]'
            )
    for seed in content['seeds']:
        whole = isinstance(seed, int) and not isinstance(seed, bool)
        if not whole or seed < 0:
            yield f'the seed {seed!r} must be a whole number, not below 0'
    for sparsity in content['sparsities']:
        try:
            check_sparsity(sparsity)
        except ValueError as error:
            yield str(error)
    claims = content.get('claims', ())
    if not isinstance(claims, (list, tuple)):
        yield (
            f'claims={claims!r:.60} must be a list of dicts: [dict(name=…, '
            'setup=…, first=…, second=…)], or be left out'
        )
    for place, claim in enumerate(claims):
        yield from _of_part(kinds['claims'], claim, f'claims[{place}]')


def _of_part(kind: type, options: Any, where: str) -> Iterator[str]:
    """What is wrong with the fields of a dataclass, but for its ``name``.

    A name is the key where parts are told by name.
    """
    hints = get_type_hints(kind)
    by_name = not where.startswith('claims')
    known = [f for f in fields(kind) if not (by_name and f.name == 'name')]
    names = [field.name for field in known]
    if not _fits(options, Mapping):
        yield f'{where}={options!r:.60} must be a dict of {", ".join(names)}'
    for name, value in options.items():
        if name not in names:
            yield f'{where} has no {name!r}: {close_to(name, names)}'
        if not _fits(value, hints[name]):
            words = ' or '.join(map(_word, _members(hints[name])))
            such = _EXAMPLES.get(name, '')
            yield f'{where}: {name}={value!r:.60} must be {words}{such}'
    lacks = [name for name in _required(known) if name not in options]
    if lacks:
        yield f'{where} lacks {", ".join(lacks)}'


def _required(known: list) -> list[str]:
    return [
        field.name
        for field in known
        if field.default is MISSING and field.default_factory is MISSING
    ]


def _members(hint: Any) -> list[Any]:
    return list(get_args(hint)) if isinstance(hint, UnionType) else [hint]


def _fits(value: Any, hint: Any) -> bool:
    for kind in _members(hint):
        kind = get_origin(kind) or kind
        if kind is Any:
            return True
        if kind is float:
            if isinstance(value, Real) and not isinstance(value, bool):
                return True
        elif isinstance(value, kind):
            names = value if kind is Mapping else ()
            return all(isinstance(name, str) for name in names)
    return False


def _word(kind: Any) -> str:
    return _WORDS[get_origin(kind) or kind]
