"""``report.json`` of an export: what it holds, and how it is read."""

from pathlib import Path
from typing import TypedDict

from epsd_mm.json_values import check_kind, read_object
from epsd_mm.versions import check_version

REPORT = 'report.json'
#: Raised by a change after which older readers would misread the file.
VERSION = 1

_REMEDY = 'export the network again'


class _Int8(TypedDict, total=False):
    calibrated_by: int | None
    found_again_in_int8: list[int] | None


class ExportReport(_Int8):
    """What was exported, and how its file was compared.

    Attributes:
        version: Of this form.
        epsd_mm: Version that exported.
        torch: Likewise.
        config: Of the network.
        checkpoint: Its weights.
        file: Name of the file, beside the report.
        bytes: Of it and of what belongs to it.
        metadata: What the file says of itself.
        calibrated_by: Number of pictures that made it int8, or None.
        found_again_in_int8: How many answers of float32 int8 gives, and of
            how many.
        comparison: Largest differences from the network in double precision.
    """

    version: int
    epsd_mm: str
    torch: str
    config: str
    checkpoint: str
    file: str
    bytes: int
    metadata: dict
    comparison: dict


def is_export(folder: Path) -> bool:
    """Whether a folder is one that an export has made."""
    return all((folder / name).is_file() for name in (REPORT, 'run.py'))


def read_export_report(folder: str | Path) -> ExportReport:
    """Read what the folder of an export says of itself.

    Args:
        folder: That ``tools/export.py`` has made.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no such report, or one of a later version.
    """
    path = Path(folder) / REPORT
    content = read_object(path, _REMEDY)
    check_version(
        content.get('version'),
        VERSION,
        f'{path} is',
        'read it with the version of epsd_mm that wrote it',
    )
    try:
        check_kind(content, ExportReport)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f'{path} is no report of an export ({error}): {_REMEDY}'
        ) from error
    return content
