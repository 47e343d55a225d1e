"""A job: a process that is run to its end, wherever that is.

What a worker of a cluster needs, and nothing else: it is sent there, and runs
where this package need not be imported.
"""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

#: A job ends with this status where another process still does its work.
BUSY = 75
#: Tells a job the process that it must not outlive.
PARENT = 'EPSD_MM_JOB_PARENT'
_POLL = 0.2  # seconds between looks at a process


class JobError(RuntimeError):
    """A job ended otherwise than well."""


class InterruptedJobError(JobError):
    """A job was killed: it may begin again."""


class BusyJobError(InterruptedJobError):
    """Another process still does the work of a job, which begins later."""


class PlaceError(JobError):
    """A machine cannot run any job; says what it lacks."""


@dataclass(frozen=True)
class Job:
    """A process to run.

    Attributes:
        command: Program and arguments.
        log: File that takes what it prints, appended.
        folder: That it starts in; the current one by default.
    """

    command: Sequence[str]
    log: Path
    folder: Path = field(default_factory=Path.cwd)


def run_job(
    job: Job,
    variables: Mapping[str, str] | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Run a job to its end, here and now.

    Args:
        job: The job.
        variables: Of its environment, beside those that are there.
        stop: Ends the job when it is set.

    Raises:
        PlaceError: This machine lacks a folder or the program.
        InterruptedJobError: It was killed.
        BusyJobError: Another process does its work.
        JobError: It ended with another status than 0, or was stopped; with
            the last line of its log.
    """
    _check_place(job)
    environment = {**os.environ, **(variables or {}), PARENT: str(os.getpid())}
    with open(job.log, 'ab') as log:
        process = subprocess.Popen(
            list(job.command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=job.folder,
            env=environment,
            # A group of its own, so that its loaders end with it.
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                if stop is not None and stop.is_set():
                    raise JobError('interrupted')
                time.sleep(_POLL)
        finally:
            # What the job has left behind, too.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    code = process.returncode
    if code:
        kind = InterruptedJobError if code < 0 else JobError
        kind = BusyJobError if code == BUSY else kind
        raise kind(f'{_ending(code)}: {_last_line(job.log)}')


def outcome(job: Job) -> JobError | None:
    """How a job ended: submitit tells of exceptions as text alone."""
    try:
        run_job(job)
    except JobError as error:
        return error
    return None


def end_with_parent() -> None:
    """Watch, in a job, for the end of what has started it, and end then.

    A job whose owner is gone would be in the way of its next owner.
    """
    # It may have gone before this process has come so far.
    parent = int(os.environ.get(PARENT, os.getppid()))
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _check_place(job: Job) -> None:
    """All machines must see the same files under the same paths."""
    here = os.uname().nodename
    for folder in (Path(job.log).parent, Path(job.folder)):
        if not folder.is_dir():
            raise PlaceError(
                f'{here} has no {folder}: all machines must see the folder '
                'of the suite, and the one that it was started in, under '
                'the same paths'
            )
    if shutil.which(job.command[0]) is None:
        raise PlaceError(
            f'{here} has no {job.command[0]}: all machines must see the same '
            'Python under the same path'
        )


def _ending(code: int) -> str:
    if code < 0:
        return f'killed by {signal.Signals(-code).name}'
    return f'ended with status {code}'


def _last_line(log: Path) -> str:
    lines = Path(log).read_text(errors='replace').split('\n')
    return next((x.strip() for x in lines[::-1] if x.strip()), 'no output')
