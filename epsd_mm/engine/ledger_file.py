"""A scoring that is killed goes on where it was."""

import math
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.logging import MMLogger

from epsd_mm.files import atomic_write, check_saved, remove_drafts
from epsd_mm.pruning import Ledger

#: Names of the searches that have a ledger: the scoring's own, and those
#: that it is compared with.
OWN, PLAIN = 'scoring', ('plain', 'plain_again')

# Writing takes a hundredth of the time at most, and this is assumed of the
# disk before it was tried.
_SHARE, _BYTES_PER_SECOND = 0.01, 1e9


class LedgerFile:
    """Keeps a search's ledger on the disk, if the search is long.

    One process of a job has one. A file that belongs to another
    search, or is damaged, is as good as none, and is replaced.

    Args:
        path: Of the file.
        key: Digests of what the sums depend on, by name; a file with
            another one is not used.
        logger: Is told what was found.

    Attributes:
        start: What an earlier run has left, or None.
        seconds: What that took.
    """

    def __init__(
        self, path: Path, key: Mapping[str, str], logger: MMLogger
    ) -> None:
        self.path = path
        self.key = dict(key)
        self.logger = logger
        self.start: Ledger | None = None
        self.seconds = 0.0
        self._begun = self._written = time.perf_counter()
        self._cost: float | None = None
        if path.exists():
            self._read()

    def keep(self, ledger: Ledger) -> None:
        """Write it, unless that was done just now."""
        packed = ledger.pack()
        if self._cost is None:
            halves = [*packed['even'].values(), *packed['odd'].values()]
            self._cost = sum(t.nbytes for t in halves) / _BYTES_PER_SECOND
        started = time.perf_counter()
        if started - self._written < self._cost / _SHARE:
            return
        seconds = self.seconds + started - self._begun
        try:
            self._write(packed, seconds)
        except (OSError, RuntimeError) as e:  # torch's own for a full disk
            self.logger.warning(
                f'the draws made so far cannot be kept in {self.path} ({e}): '
                'a scoring that is killed would begin anew. Scoring goes on'
            )
            self._cost = math.inf  # said once, and not tried again
            return
        self._written = time.perf_counter()
        self._cost = self._written - started

    def _write(self, packed: dict, seconds: float) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = dict(key=self.key, ledger=packed, seconds=seconds)
        with atomic_write(self.path) as file:
            torch.save(content, file)

    def _read(self) -> None:
        try:
            check_saved(self.path)
            saved = torch.load(
                self.path, map_location='cpu', weights_only=True
            )
            other = _differences(self.key, saved['key'])
            if not other:
                self.start = Ledger.unpack(saved['ledger'])
                self.seconds = saved['seconds']
        except Exception as e:  # whatever a damaged file leads to
            what = f'{type(e).__name__}: {e}'.splitlines()[0]
            self.logger.warning(
                f'{self.path} is damaged and not used ({what}): scoring '
                'begins anew'
            )
            return
        if self.start is None:
            self.logger.warning(
                f'{self.path} is of a scoring with other '
                f'{" and ".join(other)}, and not used: scoring begins anew'
            )
            return
        self.logger.info(
            f'scoring goes on: {self.path} holds {self.start.draws} draws '
            'that an earlier run has made'
        )


def _differences(key: dict[str, str], other: dict[str, str]) -> list[str]:
    """Names of what is not the same."""
    names = dict.fromkeys([*key, *other])
    return [name for name in names if key.get(name) != other.get(name)]


def remove_ledgers(folder: Path) -> None:
    """Remove ledgers, and what was being written when a run was killed.

    What else is there stays. What cannot be removed is warned about: a later
    scoring of the same key finds the same masks with it.
    """
    if not folder.is_dir():
        return
    try:
        for search in (OWN, *PLAIN):
            (folder / f'{search}.pth').unlink(missing_ok=True)
        remove_drafts(folder)
        if not any(folder.iterdir()):
            folder.rmdir()
    except OSError as e:
        MMLogger.get_current_instance().warning(
            f'what scoring has kept in {folder} cannot be removed ({e}): it '
            'is of no use any more, remove it'
        )
