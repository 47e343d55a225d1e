"""Where cells run: this machine, a Ray cluster, or Slurm.

An executor is given a job, a command line with a folder that all machines
see, and answers with a future. Whatever runs it, the job is a process of its
own: it leaves its result in that folder and can be killed without harm.
"""

import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

#: A job ends with this status where another process still does its work.
BUSY = 75
#: Tells a job the process that it must not outlive.
PARENT = 'EPSD_MM_JOB_PARENT'
_THREAD_VARIABLES = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')
_POLL = 0.2  # seconds between looks at a process


class JobError(RuntimeError):
    """A job ended otherwise than well."""


class InterruptedJobError(JobError):
    """A job was killed, or had to wait for another: it may begin again."""


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


class Executor(ABC):
    """Runs jobs, so many at a time."""

    @abstractmethod
    def submit(self, job: Job) -> Future:
        """Run a job as soon as there is room.

        Returns:
            A future without a value; :class:`JobError` where the job fails.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop what runs, and start nothing that waits."""

    def __enter__(self) -> 'Executor':
        return self

    def __exit__(self, *unused) -> None:
        self.close()


class LocalExecutor(Executor):
    """Processes on this machine.

    Args:
        workers: Jobs at a time; by default one a core divided by
            ``threads``, or ``per_gpu`` on each GPU.
        threads: Threads of each job.
        gpus: Indices of the GPUs to share out; none by default.
        per_gpu: Jobs at a time on one GPU.

    Raises:
        ValueError: An option has no effect or makes no sense.
    """

    def __init__(
        self,
        workers: int | None = None,
        threads: int = 1,
        gpus: Sequence[int] = (),
        per_gpu: int = 1,
    ) -> None:
        for name, value in (('threads', threads), ('per_gpu', per_gpu)):
            if value < 1:
                raise ValueError(f'{name}={value} must be at least 1')
        if per_gpu > 1 and not gpus:
            raise ValueError(f'per_gpu={per_gpu} has no effect without gpus')
        places = [str(gpu) for gpu in gpus for _ in range(per_gpu)]
        if workers is None:
            workers = len(places) or max(1, (os.cpu_count() or 1) // threads)
        if workers < 1:
            raise ValueError(f'workers={workers} must be at least 1')
        if places and workers > len(places):
            raise ValueError(
                f'workers={workers} are more than the {len(places)} places '
                f'on {len(gpus)} GPUs: raise per_gpu or lower workers'
            )
        self.workers = workers
        self.threads = threads
        # With no GPU to share out, jobs see what this process sees.
        self._places = (places or [None] * workers)[:workers]
        self._waiting: queue.Queue = queue.Queue()
        self._closed = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(place,), daemon=True)
            for place in self._places
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> Future:
        """See :meth:`Executor.submit`."""
        future: Future = Future()
        self._waiting.put((job, future))
        return future

    def close(self) -> None:
        """See :meth:`Executor.close`."""
        self._closed.set()
        for thread in self._threads:
            thread.join()
        while not self._waiting.empty():
            self._waiting.get()[1].cancel()

    def _work(self, place: str | None) -> None:
        variables = dict.fromkeys(_THREAD_VARIABLES, str(self.threads))
        if place is not None:
            variables['CUDA_VISIBLE_DEVICES'] = place
        while not self._closed.is_set():
            try:
                job, future = self._waiting.get(timeout=_POLL)
            except queue.Empty:
                continue
            if not future.set_running_or_notify_cancel():
                continue
            try:
                run_job(job, variables, self._closed)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(None)


class RayExecutor(Executor):
    """Tasks of a Ray cluster; jobs of a lost node run again elsewhere.

    All nodes must see the same files under the same paths.

    Args:
        address: Of the cluster, ``'auto'`` for the one this machine is in.
        cpus: Cores that a job takes.
        gpus: GPUs, or the share of one, that a job takes.
    """

    def __init__(
        self, address: str = 'auto', cpus: float = 1, gpus: float = 0
    ) -> None:
        ray = _required('ray', 'ray')
        self._ray = ray
        self._own = not ray.is_initialized()
        if self._own:
            ray.init(address=address, log_to_driver=False)
        threads = dict.fromkeys(_THREAD_VARIABLES, str(max(1, int(cpus))))
        self._task = ray.remote(
            num_cpus=cpus,
            num_gpus=gpus,
            # As often as nodes are lost; what fails by itself stays failed.
            max_retries=-1,
            retry_exceptions=False,
        )(run_job)
        self._variables = threads
        self._references: list = []

    def submit(self, job: Job) -> Future:
        """See :meth:`Executor.submit`."""
        reference = self._task.remote(job, self._variables)
        self._references.append(reference)
        return reference.future()

    def close(self) -> None:
        """See :meth:`Executor.close`."""
        for reference in self._references:
            self._ray.cancel(reference, force=True)
        if self._own:
            self._ray.shutdown()


class SlurmExecutor(Executor):
    """Jobs of a Slurm cluster, through submitit.

    Args:
        folder: Where submitit keeps its files; all nodes must see it.
        cluster: ``'slurm'``, or ``'local'`` to try without one.
        parameters: What submitit's ``update_parameters`` takes, such as
            ``slurm_partition`` or ``timeout_min``.
    """

    def __init__(
        self,
        folder: str | Path,
        cluster: str = 'slurm',
        parameters: Mapping | None = None,
    ) -> None:
        submitit = _required('submitit', 'slurm')
        self._executor = submitit.AutoExecutor(folder, cluster=cluster)
        # A job without a result: out of time, or its node is gone.
        self._lost = submitit.core.utils.UncompletedJobError
        self._executor.update_parameters(**(parameters or {}))
        self._jobs: list = []
        self._closed = threading.Event()

    def submit(self, job: Job) -> Future:
        """See :meth:`Executor.submit`."""
        submitted = self._executor.submit(_outcome, job)
        self._jobs.append(submitted)
        future: Future = Future()
        future.set_running_or_notify_cancel()
        threading.Thread(
            target=self._wait, args=(submitted, future), daemon=True
        ).start()
        return future

    def close(self) -> None:
        """See :meth:`Executor.close`."""
        self._closed.set()
        for job in self._jobs:
            if not job.done():
                job.cancel()

    def _wait(self, submitted, future: Future) -> None:
        while not submitted.done():
            if self._closed.is_set():
                future.set_exception(JobError('interrupted'))
                return
            time.sleep(_POLL)
        error = submitted.exception()
        if error is None:
            error = submitted.result()
        elif isinstance(error, self._lost):
            error = InterruptedJobError(str(error))
        else:
            error = JobError(str(error))
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


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
        InterruptedJobError: It was killed, or another does its work.
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
        kind = InterruptedJobError if code < 0 or code == BUSY else JobError
        raise kind(f'{_ending(code)}: {_last_line(job.log)}')


def _outcome(job: Job) -> JobError | None:
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


def _required(module: str, extra: str):
    try:
        return __import__(module)
    except ImportError as error:
        raise ImportError(
            f'this executor needs {module}: '
            f"`{sys.executable} -m pip install 'epsd_mm[{extra}]'`"
        ) from error
