"""The state of a suite: one SQLite file that many processes may write.

They are those of one machine: SQLite keeps its write-ahead log in order by
shared memory, which machines do not share (https://sqlite.org/wal.html).
Others may look at a copy.
"""

import json
import os
import shutil
import socket
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

from epsd_mm.versions import check_version

SCHEMA_VERSION = 1
#: Seconds without a heartbeat after which a running cell counts as lost.
LOST_AFTER = 120.0
_BUSY = 60.0  # seconds that a writer waits for the others
_TRIES = 20  # to copy a file while nobody writes it

_SCHEMA = (
    """
    CREATE TABLE cells (
        key TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        spec TEXT NOT NULL,
        state TEXT NOT NULL DEFAULT 'waiting'
            CHECK (state IN ('waiting', 'running', 'finished', 'failed')),
        owner TEXT,
        heartbeat REAL,
        attempts INTEGER NOT NULL DEFAULT 0,
        started REAL,
        ended REAL,
        error TEXT,
        environment TEXT
    )
    """,
    """
    CREATE TABLE metrics (
        key TEXT NOT NULL REFERENCES cells (key) ON DELETE CASCADE,
        metric TEXT NOT NULL,
        value REAL NOT NULL,
        unit TEXT NOT NULL,
        PRIMARY KEY (key, metric)
    )
    """,
)


class StoreError(RuntimeError):
    """A store that cannot be read or written; says what to do."""


class TakenError(StoreError):
    """Another process has taken a cell meanwhile."""


@dataclass(frozen=True)
class Entry:
    """What a store knows of a cell.

    Attributes:
        key: Hash of all that decides the cell's result.
        name: For people.
        spec: What the cell is, in plain values.
        state: ``waiting``, ``running``, ``finished`` or ``failed``.
        owner: Process that runs it, or ran it last.
        attempts: How often it was begun.
        started: When it was begun last, seconds since 1970.
        ended: When it ended.
        error: Why it failed.
        environment: Versions of code and stack that it ran with.
        metrics: Value and unit by name.
        heartbeat: When its owner was heard of last, seconds since 1970.
    """

    key: str
    name: str
    spec: dict
    state: str
    owner: str | None
    attempts: int
    started: float | None
    ended: float | None
    error: str | None
    environment: dict | None
    metrics: dict[str, tuple[float, str]]
    heartbeat: float | None = None


class Store:
    """Cells and their results in a file.

    A cell is ``waiting`` until a process claims it; then it is ``running``
    and its owner sends heartbeats. A running cell without a heartbeat for
    :data:`LOST_AFTER` seconds may be claimed again: its owner is dead.

    Args:
        path: The file; made where there is none.

    Raises:
        StoreError: The file is damaged, of another version, or no store, or
            cannot be written; or a process of another machine writes it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._copy: TemporaryDirectory | None = None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for entry in _running_elsewhere(self.path):
            raise StoreError(
                f'{self.path} is written by {_host(entry.owner)}, which runs '
                f'{entry.name!r}, and SQLite keeps it whole on one machine '
                f'alone: begin there, let that one reach others (--executor '
                'ray or slurm), or stop it; one that is gone is forgotten '
                f'{LOST_AFTER:.0f} seconds after its last heartbeat'
            )
        with self._connected() as db:
            if _is_new(db):
                # Unless another process is making the same file just now.
                with suppress(sqlite3.OperationalError):
                    db.execute('PRAGMA journal_mode = WAL')
        with self._writing() as db:
            if _is_new(db):
                for statement in _SCHEMA:
                    db.execute(statement)
                db.execute(f'PRAGMA user_version = {SCHEMA_VERSION}')
            self._check(db)

    @classmethod
    def existing(cls, path: str | Path, copied: bool = False) -> 'Store':
        """One to look at: nothing is made, and nothing need be writable.

        Args:
            path: The file.
            copied: Look at a copy: SQLite tidies up what it opens, which
                takes from a damaged file what others might still read. So
                is one that another machine writes.

        Raises:
            StoreError: There is none, or it is damaged.
        """
        store = cls.__new__(cls)
        store.path, store._copy = Path(path), None
        if not store.path.is_file():
            raise StoreError(
                f'there is no {path}: nothing of this suite has run in that '
                'folder yet; `benchmark.py run` begins'
            )
        # SQLite wants to write beside what it reads.
        copied = copied or not os.access(store.path.parent, os.W_OK)
        if copied or _running_elsewhere(store.path):
            store._copy = TemporaryDirectory()
            store.path = _copied(store.path, Path(store._copy.name))
        with store._connected() as db:
            store._check(db)
        return store

    def add(self, cells: Iterable[tuple[str, str, Mapping]]) -> int:
        """Add cells that are not there yet; returns their number.

        Args:
            cells: Key, name and spec of each.
        """
        rows = [(key, name, json.dumps(spec)) for key, name, spec in cells]
        with self._writing() as db:
            before = db.total_changes
            db.executemany(
                'INSERT OR IGNORE INTO cells (key, name, spec) '
                'VALUES (?, ?, ?)',
                rows,
            )
            return db.total_changes - before

    def claim(
        self,
        keys: Iterable[str],
        owner: str,
        dead: Iterable[str] = (),
        after: Mapping[str, Collection[str]] = MappingProxyType({}),
    ) -> str | None:
        """Take the first of these cells that waits or was lost.

        Args:
            keys: In the order in which they shall run.
            owner: Who takes it.
            dead: Owners that are known to be gone, heartbeat or not.
            after: By key, the cells that must have finished before.

        Returns:
            Its key; None where nothing is left to take.
        """
        with self._writing() as db:
            now = time.time()
            db.executemany(
                "UPDATE cells SET state = 'waiting', owner = NULL "
                "WHERE owner = ? AND state = 'running'",
                [(each,) for each in dead],
            )
            free = {
                key
                for (key,) in db.execute(
                    "SELECT key FROM cells WHERE state = 'waiting' OR "
                    "(state = 'running' AND heartbeat < ?)",
                    (now - LOST_AFTER,),
                )
            }
            finished = _keys_in(db, 'finished')
            ready = (k for k in keys if finished.issuperset(after.get(k, ())))
            key = next((key for key in ready if key in free), None)
            if key is not None:
                db.execute(
                    "UPDATE cells SET state = 'running', owner = ?, "
                    'heartbeat = ?, started = ?, ended = NULL, error = NULL, '
                    'attempts = attempts + 1 WHERE key = ?',
                    (owner, now, now, key),
                )
            return key

    def heartbeat(self, key: str, owner: str) -> bool:
        """Say that a cell still runs; False where another has taken it."""
        with self._writing() as db:
            return bool(
                db.execute(
                    'UPDATE cells SET heartbeat = ? WHERE key = ? AND '
                    "owner = ? AND state = 'running'",
                    (time.time(), key, owner),
                ).rowcount
            )

    def finish(
        self,
        key: str,
        owner: str,
        metrics: Mapping[str, tuple[float, str]],
        environment: Mapping[str, Any],
    ) -> None:
        """Store the results of a cell, all or nothing.

        Args:
            key: The cell.
            owner: Who ran it.
            metrics: Value and unit by name.
            environment: Versions that it ran with.

        Raises:
            TakenError: Another process has taken the cell meanwhile.
        """
        with self._writing() as db:
            self._end(db, key, owner, 'finished', None, environment)
            _write_metrics(db, key, metrics)

    def take(
        self,
        key: str,
        metrics: Mapping[str, tuple[float, str]],
        environment: Mapping[str, Any],
        started: float,
        ended: float,
    ) -> bool:
        """Store what was run elsewhere, or earlier.

        Args:
            key: A cell that neither runs nor has finished.
            metrics: Value and unit by name.
            environment: Versions that it ran with.
            started: When it was begun, seconds since 1970.
            ended: When it ended.

        Returns:
            Whether it was taken; not where it runs or has finished here.
        """
        with self._writing() as db:
            taken = db.execute(
                "UPDATE cells SET state = 'finished', error = NULL, "
                'environment = ?, started = ?, ended = ? WHERE key = ? '
                "AND state IN ('waiting', 'failed')",
                (json.dumps(environment), started, ended, key),
            ).rowcount
            if taken:
                _write_metrics(db, key, metrics)
            return bool(taken)

    def fail(self, key: str, owner: str, error: str) -> None:
        """Store why a cell has failed.

        Raises:
            TakenError: Another process has taken the cell meanwhile.
        """
        with self._writing() as db:
            self._end(db, key, owner, 'failed', error, None)

    def release(self, key: str, owner: str) -> None:
        """Let a cell wait again, as one that was interrupted."""
        with self._writing() as db:
            db.execute(
                "UPDATE cells SET state = 'waiting', owner = NULL "
                "WHERE key = ? AND owner = ? AND state = 'running'",
                (key, owner),
            )

    def retry(self, keys: Iterable[str]) -> int:
        """Let failed cells wait again; returns their number."""
        with self._writing() as db:
            return sum(
                db.execute(
                    "UPDATE cells SET state = 'waiting', error = NULL "
                    "WHERE key = ? AND state = 'failed'",
                    (key,),
                ).rowcount
                for key in keys
            )

    def begin_again(self, keys: Iterable[str]) -> None:
        """Let finished cells wait again, and forget their results."""
        with self._writing() as db:
            for key in keys:
                db.execute(
                    "UPDATE cells SET state = 'waiting', owner = NULL, "
                    'environment = NULL, started = NULL, ended = NULL '
                    "WHERE key = ? AND state = 'finished'",
                    (key,),
                )
                db.execute('DELETE FROM metrics WHERE key = ?', (key,))

    def remove(self, keys: Iterable[str]) -> int:
        """Forget cells and their results; returns their number."""
        with self._writing() as db:
            return sum(
                db.execute('DELETE FROM cells WHERE key = ?', (key,)).rowcount
                for key in keys
            )

    def entries(self) -> dict[str, Entry]:
        """All cells by key, in the order in which they were added."""
        with self._connected() as db:
            metrics: dict[str, dict] = {}
            for key, name, value, unit in db.execute(
                'SELECT * FROM metrics ORDER BY rowid'
            ):
                metrics.setdefault(key, {})[name] = (float(value), unit)
            rows = db.execute(
                'SELECT key, name, spec, state, owner, attempts, started, '
                'ended, error, environment, heartbeat FROM cells '
                'ORDER BY rowid'
            ).fetchall()
            return {
                key: Entry(
                    key,
                    name,
                    json.loads(spec),
                    *rest,
                    None if environment is None else json.loads(environment),
                    metrics.get(key, {}),
                    heartbeat,
                )
                for key, name, spec, *rest, environment, heartbeat in rows
            }

    def check(self) -> None:
        """Look at every page of the file.

        Raises:
            StoreError: It is damaged.
        """
        with self._connected() as db:
            ((found,),) = db.execute('PRAGMA quick_check(1)').fetchall()
            if found != 'ok':
                found = ' '.join(found.split())
                raise sqlite3.DatabaseError(f'it is damaged ({found})')
        self.entries()

    def _check(self, db: sqlite3.Connection) -> None:
        try:
            check_version(
                _version(db),
                SCHEMA_VERSION,
                f'{self.path} is a store',
                'name another folder with --work-dir, or '
                '`benchmark.py rebuild SUITE` sets it aside and makes another '
                "from the cells' folders",
            )
        except ValueError as error:
            raise StoreError(str(error)) from None

    def _end(self, db, key, owner, state, error, environment) -> None:
        ended = db.execute(
            'UPDATE cells SET state = ?, ended = ?, error = ?, '
            'environment = ? WHERE key = ? AND owner = ? AND '
            "state = 'running'",
            (
                state,
                time.time(),
                error,
                None if environment is None else json.dumps(environment),
                key,
                owner,
            ),
        )
        if not ended.rowcount:
            raise TakenError(
                f'cell {key} is no longer run by {owner}: it sent no '
                f'heartbeat for {LOST_AFTER:.0f} seconds, and another process '
                'has taken it'
            )

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that has the file to itself from its start."""
        with self._connected() as db:
            db.execute('BEGIN IMMEDIATE')
            try:
                yield db
            except BaseException:
                if db.in_transaction:  # a full disk has ended it already
                    db.execute('ROLLBACK')
                raise
            db.execute('COMMIT')

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own: they may not be shared by processes."""
        db = None
        try:
            db = sqlite3.connect(
                self.path, timeout=_BUSY, isolation_level=None
            )
            db.execute('PRAGMA foreign_keys = ON')
            yield db
        except (sqlite3.Error, ValueError) as error:
            raise StoreError(
                f'{self.path}: {error}; {_remedy(error)}'
            ) from error
        finally:
            if db is not None:
                db.close()


def _keys_in(db: sqlite3.Connection, state: str) -> set[str]:
    rows = db.execute('SELECT key FROM cells WHERE state = ?', (state,))
    return {key for (key,) in rows}


def _write_metrics(db: sqlite3.Connection, key: str, metrics: Mapping) -> None:
    db.execute('DELETE FROM metrics WHERE key = ?', (key,))
    db.executemany(
        'INSERT INTO metrics VALUES (?, ?, ?, ?)',
        [
            # NaN would be NULL: a run that diverged has no result.
            (key, m, 'nan' if value != value else value, unit)
            for m, (value, unit) in metrics.items()
        ],
    )


def _remedy(error: Exception) -> str:
    said = str(error)
    if 'full' in said:
        return 'make room on the disk and go on: no finished cell is lost'
    if 'readonly' in said or 'unable to open' in said:
        return (
            'see that the file and its folder can be written, or name '
            'another folder with --work-dir'
        )
    if 'locked' in said:
        return f'another process has kept it for {_BUSY:.0f} seconds'
    return (
        '`benchmark.py rebuild SUITE` sets the file aside and makes another '
        "from the cells' folders"
    )


def _version(db: sqlite3.Connection) -> int:
    return db.execute('PRAGMA user_version').fetchone()[0]


def _is_new(db: sqlite3.Connection) -> bool:
    (tables,) = db.execute('SELECT count(*) FROM sqlite_master').fetchone()
    return not tables and _version(db) == 0


def this_process() -> str:
    """A name of this process among those of all machines."""
    return f'{_machine()}:{os.getpid()}'


def dead_owners(entries: Iterable[Entry]) -> set[str]:
    """Owners of running cells that were processes of this machine."""
    here = _machine()
    owners = {e.owner for e in entries if e.state == 'running' and e.owner}
    return {
        owner
        for owner in owners
        if owner.rpartition(':')[0] == here and not _alive(owner)
    }


def still_running(entries: Iterable[Entry]) -> list[Entry]:
    """Running cells but for those whose owner is gone or silent."""
    entries = list(entries)
    dead, now = dead_owners(entries), time.time()
    return [
        entry
        for entry in entries
        if entry.state == 'running'
        and entry.owner not in dead
        and now - (entry.heartbeat or 0) < LOST_AFTER
    ]


def _running_elsewhere(path: Path) -> list[Entry]:
    """Cells of a store that a process of another machine runs now."""
    here = {_host(this_process()), ''}
    try:
        entries = Store.existing(path, copied=True).entries().values()
    except StoreError:  # absent or damaged, as whoever opens it is told
        return []
    return [e for e in still_running(entries) if _host(e.owner) not in here]


def _copied(path: Path, folder: Path) -> Path:
    """Copy a store as it was at one time, though others may write it."""

    def files() -> dict[Path, tuple[int, int]]:
        found = {}
        for each in path.parent.glob(f'{path.name}*'):
            # The index of the log, which SQLite makes anew, changes unseen.
            if not each.name.endswith('-shm'):
                with suppress(FileNotFoundError):
                    stat = each.stat()
                    found[each] = stat.st_mtime_ns, stat.st_size
        return found

    for _ in range(_TRIES):
        before = files()
        for old in folder.iterdir():
            old.unlink()
        for each in before:
            with suppress(FileNotFoundError):
                shutil.copy(each, folder)
        if files() == before:
            break
        time.sleep(0.01)
    return folder / path.name


def _host(owner: str) -> str:
    """Of a process; empty where its name has none."""
    return owner.rpartition(':')[0].partition('/')[0]


def _machine() -> str:
    """Where numbers of processes mean the same: containers count anew."""
    with suppress(OSError):
        space = os.stat('/proc/self/ns/pid').st_ino
        return f'{socket.gethostname()}/{space}'
    return socket.gethostname()


def _alive(owner: str) -> bool:
    try:
        os.kill(int(owner.rpartition(':')[2]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
