"""``report.json``: what it holds, and how it is written and read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from epsd_mm.json_values import check_kind, check_plain, read_object
from epsd_mm.old_spellings import described_in_present_words
from epsd_mm.versions import check_version

#: Raised by a change after which older readers would misread the file.
VERSION = 1

_REMEDY = 'name the report.json that a run has written'
_NEWER = 'read it with the version that has written it, or upgrade this one'


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
        content = described_in_present_words(read_object(path, _REMEDY))
        if 'version' in content:
            check_version(content['version'], VERSION, f'{path} is', _NEWER)
    except ValueError as error:
        raise ReportError(str(error)) from error
    version = content.setdefault('version', 0)
    try:
        check_kind(content, Report if version else FirstReport)
        if version:
            check_plain(content)
    except (TypeError, ValueError) as error:
        raise ReportError(
            f'{path} is no report ({error}): {_REMEDY}'
        ) from error
    return content
