"""What the work dir of a run holds, whether it ended or not."""

import json
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from epsd_mm.analysis import Report, read_report
from epsd_mm.config_types import policy_of
from epsd_mm.deploy.export_report import (
    ExportReport,
    is_export,
    read_export_report,
)
from epsd_mm.pruning import Masks
from epsd_mm.results import Log
from epsd_mm.run_files import MASKS, REPORT, last_checkpoint


@dataclass(frozen=True)
class RunFolder:
    """A run's files, as far as they are there.

    Attributes:
        path: The work dir.
        cfg: The config of its latest training.
        log: Of its training.
        report: Of its scoring.
        masks: That it was scored for, or given, or that a policy has come to.
        scores: Whether it was scoring when it stopped.
        tested: What ``tools/test.py`` has found last, here or in a folder
            of its own inside.
        checkpoint: The latest.
        exported: Reports of exported files, by their folders.
    """

    path: Path
    cfg: Config
    log: Log | None
    report: Report | None
    masks: Masks | None
    scores: bool
    tested: dict
    checkpoint: Path | None
    exported: dict[Path, ExportReport]

    @property
    def policy(self) -> str | None:
        """Name of what changes its masks in training, if anything does."""
        return policy_of(self.cfg)

    @classmethod
    def of(cls, path: str | Path) -> 'RunFolder':
        """Read a work dir.

        Raises:
            FileNotFoundError: It is the work dir of no run.
            ValueError: A file in it is damaged, or of a later version.
        """
        path = Path(path)
        try:
            log = Log.of(path)
        except FileNotFoundError:
            log = None
        report, masks = path / REPORT, path / MASKS
        return cls(
            path=path,
            cfg=Config.fromfile(_config_of(path)),
            log=log,
            report=read_report(report) if report.is_file() else None,
            masks=Masks.load(masks) if masks.is_file() else None,
            scores=(path / 'scoring').is_dir(),
            tested=_last_test(path),
            checkpoint=last_checkpoint(path),
            exported=_exports_of(path),
        )


def _config_of(path: Path) -> Path:
    """Of the latest start that has logged something, or else the latest."""
    if not path.is_dir():
        raise FileNotFoundError(
            f'{path} is no folder: give the work dir of a run'
        )
    starts = sorted(path.glob('*/vis_data/config.py'))
    logged = [c for c in starts if c.with_name('scalars.json').is_file()]
    found = logged[-1:] or starts[-1:] or sorted(path.glob('*.py'))[-1:]
    if not found:
        raise FileNotFoundError(
            f'{path} holds no config of a run: give the work dir of '
            'tools/train.py or tools/prune.py'
        )
    return found[0]


def _last_test(path: Path) -> dict:
    """tools/test.py names its file as the folder of its start."""
    files = [*path.glob('*/*.json'), *path.glob('*/*/*.json')]
    files = [file for file in files if file.stem == file.parent.name]
    if not files:
        return {}
    return json.loads(max(files, key=lambda file: file.stem).read_text())


def _exports_of(path: Path) -> dict[Path, ExportReport]:
    """Folders that tools/export.py has made in this one."""
    return {
        folder: read_export_report(folder)
        for folder in sorted(path.iterdir())
        if is_export(folder)
    }
