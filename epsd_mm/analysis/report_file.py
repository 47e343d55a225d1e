"""``report.json``: what it holds, and how it is written and read."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import (
    Any,
    TypedDict,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from epsd_mm.json_values import check_plain, joined
from epsd_mm.old_spellings import described_in_present_words

#: Raised by a change after which older readers would misread the file.
VERSION = 1


class ReportError(ValueError):
    """A file is no report that can be read; says why."""


class Counts(TypedDict):
    """Of weights, and the share that is removed."""

    kept: int
    total: int
    sparsity: float


class Everything(Counts):
    """Of all weights of a model, and of its parts by name."""

    parts: dict[str, Counts]


class _Mass(TypedDict, total=False):
    mass: float
    mass_kept: float


class Layer(_Mass):
    """Of a scored layer.

    ``mass`` and ``mass_kept`` are the shares of its weights and of its kept
    weights in the sum of the sizes of all scores.
    """

    kept: int
    total: int
    density: float


class _Channels(TypedDict, total=False):
    """Where whole channels go: units of each group, and why others stay."""

    channels: dict[str, Layer]
    whole: dict[str, str]


class Unpruned(TypedDict):
    """A class of layers whose weights are not prunable."""

    layer: str
    names: list[str]
    weights: int
    share: float


class _Overlaps(TypedDict, total=False):
    overlap_with_plain: float
    overlap_noise_floor: float


class FirstReport(_Overlaps):
    """What there was before versions had numbers: version 0."""

    criterion: str
    settings: dict
    allocation: dict | None
    structure: dict | None
    sd_loss: dict | None
    score_weights: dict[str, float]
    draws: int
    batches_per_step: int
    seed: int
    sparsity: float
    kept: int
    total: int
    stability: float | None
    layers: dict[str, Layer]
    steps: list[dict]
    terms: list[dict[str, float]]
    seconds: float
    peak_memory: int
    peak_memory_of: str


class Report(FirstReport, _Channels):
    """How masks were made, at what cost, and what they keep.

    Counts are of weights, ``seconds`` of scoring, ``peak_memory`` in bytes;
    ``steps`` has the notes of each draw and ``terms`` the weighted losses of
    each evaluation. The overlaps are there where the masks were compared
    with those of the plain loss.
    """

    version: int
    sparsity_all: float
    all_weights: Everything
    unpruned: list[Unpruned]
    left_dense: dict[str, int]


def report_json(report: Mapping[str, Any]) -> bytes:
    """The content of a file for a report of this version.

    Raises:
        TypeError: A value is none of JSON's; names its place.
        ValueError: A number is not finite, likewise.
    """
    check_plain(report)
    content = dict(version=VERSION, **report)
    return (json.dumps(content, indent=2, allow_nan=False) + '\n').encode()


def read_report(path: str | Path) -> Report:
    """Read the report of a scoring.

    One that has no version is read as version 0, which lacks what is not in
    :class:`FirstReport`.

    Raises:
        FileNotFoundError: There is no such file.
        ReportError: It is no report, or one of a later version.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError) as error:
        raise ReportError(f'{path} is no JSON: {error}') from error
    if not isinstance(content, dict):
        raise ReportError(f'{path} holds no report but {content!r:.60}')
    content = described_in_present_words(content)
    content.setdefault('version', 0)
    version = content['version']
    if version not in range(VERSION + 1):
        raise ReportError(
            f'{path} is of version {version!r}, this epsd_mm reads up to '
            f'{VERSION}: read it with the version that has written it, or '
            'upgrade this one'
        )
    try:
        _check(content, Report if version else FirstReport, '')
        if version:
            check_plain(content)
    except (TypeError, ValueError) as error:
        raise ReportError(f'{path} is no report: {error}') from error
    return content


def _check(value: Any, hint: Any, place: str) -> None:
    """Raise where a value is not what a type hint says."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is UnionType:
        if value is not None:
            _check(value, inner[0], place)
    elif is_typeddict(hint):
        _require(value, dict, place)
        missing = sorted(hint.__required_keys__ - value.keys())
        if missing:
            raise ValueError(f'{place or "it"} lacks {", ".join(missing)}')
        for name, kind in get_type_hints(hint).items():
            if name in value:
                _check(value[name], kind, joined(place, name))
    elif origin is dict:
        _require(value, dict, place)
        for name, each in value.items():
            _check(each, inner[1], joined(place, name))
    elif origin is list:
        _require(value, list, place)
        for index, each in enumerate(value):
            _check(each, inner[0], joined(place, index))
    else:
        _require(value, (int, float) if hint is float else hint, place)


def _require(value: Any, kind: Any, place: str) -> None:
    if not isinstance(value, kind) or isinstance(value, bool):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = ' or '.join(each.__name__ for each in kinds)
        raise TypeError(f'{place} is {value!r:.60} instead of {names}')
