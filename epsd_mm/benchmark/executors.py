"""Where cells run: this machine, a Ray cluster, or Slurm.

An executor is given a job, a command line with a folder that all machines
see, and answers with a future. Whatever runs it, the job is a process of its
own: it leaves its result in that folder and can be killed without harm.
"""

import os
import queue
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from importlib import import_module
from numbers import Real
from pathlib import Path
from types import ModuleType
from typing import Any

from . import jobs
from .gpus import VISIBLE, told_by
from .jobs import (
    InterruptedJobError,
    Job,
    JobError,
    PlaceError,
    outcome,
    run_job,
)

_THREAD_VARIABLES = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')
_POLL = 0.2  # seconds between looks at a process


class Executor(ABC):
    """Runs jobs, so many at a time."""

    @abstractmethod
    def submit(self, job: Job) -> Future:
        """Run a job as soon as there is room.

        Returns:
            A future without a value; :class:`JobError` where the job fails.

        Raises:
            PlaceError: No job is taken.
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
        gpus: GPUs to share out, as of :func:`~.gpus.told_by`; none by
            default.
        per_gpu: Jobs at a time on one GPU.

    Raises:
        ValueError: An option has no effect or makes no sense, or there is
            no such GPU.
    """

    def __init__(
        self,
        workers: int | None = None,
        threads: int = 1,
        gpus: Sequence[int | str] | int | str = (),
        per_gpu: int = 1,
    ) -> None:
        _check_count('threads', threads)
        _check_count('per_gpu', per_gpu)
        one = isinstance(gpus, str) or not isinstance(gpus, Sequence)
        gpus = [gpus] if one else list(gpus)
        if per_gpu > 1 and not gpus:
            raise ValueError(f'per_gpu={per_gpu} has no effect without gpus')
        room = len(gpus) * per_gpu
        if workers is None:
            workers = room or max(1, (os.cpu_count() or 1) // threads)
        _check_count('workers', workers)
        if gpus and workers > room:
            raise ValueError(
                f'workers={workers} is more than gpus={gpus} hold, '
                f'with per_gpu={per_gpu} {room}: raise per_gpu or '
                'lower workers'
            )
        self.workers = workers
        self.threads = threads
        # With no GPU to share out, jobs see what this process sees.
        places = [place for place in told_by(gpus) for _ in range(per_gpu)]
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
            variables[VISIBLE] = place
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

    Raises:
        ValueError: ``cpus`` or ``gpus`` is no such number.
        ConnectionError: No cluster is found.
    """

    def __init__(
        self, address: str = 'auto', cpus: float = 1, gpus: float = 0
    ) -> None:
        for name, value in (('cpus', cpus), ('gpus', gpus)):
            number = isinstance(value, Real) and not isinstance(value, bool)
            if not number or value < 0:
                raise ValueError(
                    f'{name}={value!r} must be a number, 0 or more'
                )
        ray = _required('ray', 'ray')
        _send_whole(ray.cloudpickle)
        self._ray = ray
        self._own = not ray.is_initialized()
        if self._own:
            try:
                ray.init(address=address, log_to_driver=False)
            except Exception as error:  # each kind of address has its own
                # What ray advises next are options of its own tools.
                why = _in_short(error).partition('. ')[0]
                raise ConnectionError(
                    f'no Ray cluster is found at address={address!r} '
                    f'({why}): start one by `ray start --head`, '
                    'or name it by `--option address=HOST:PORT`'
                ) from error
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

    Raises:
        ValueError: submitit does not take one of the parameters.
        ConnectionError: This machine is in no such cluster.
    """

    def __init__(
        self,
        folder: str | Path,
        cluster: str = 'slurm',
        parameters: Mapping | None = None,
    ) -> None:
        submitit = _required('submitit', 'slurm')
        _send_whole(import_module('cloudpickle'))  # that it pickles with
        try:
            self._executor = submitit.AutoExecutor(folder, cluster=cluster)
        except RuntimeError as error:
            raise ConnectionError(
                f'no Slurm is found here ({_in_short(error)}): start this on '
                'a machine that has srun and sbatch, or run the cells here, '
                'without `--executor slurm`'
            ) from error
        # A job without a result: out of time, or its node is gone.
        self._lost = submitit.core.utils.UncompletedJobError
        try:
            self._executor.update_parameters(**(parameters or {}))
        except Exception as error:  # NameError, AssertionError and others
            told = ' '.join(f'{k}={v}' for k, v in parameters.items())
            raise ValueError(
                f'`--option {told}` is not taken by submitit '
                f'({_in_short(error)}): it takes timeout_min, mem_gb, '
                'cpus_per_task and gpus_per_node as numbers, and what sbatch '
                'takes after slurm_, such as slurm_partition'
            ) from error
        self._jobs: list = []
        self._closed = threading.Event()

    def submit(self, job: Job) -> Future:
        """See :meth:`Executor.submit`."""
        try:
            submitted = self._executor.submit(outcome, job)
        except Exception as error:  # whatever sbatch has against it
            raise PlaceError(
                f'Slurm has not taken a job ({_in_short(error)}): see what '
                '`--option` asks of it, and whether `sbatch` works here; '
                'what has not run still waits'
            ) from error
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
        try:
            error = self._error(submitted)
        except Exception as wrong:  # or the future would never be done
            error = JobError(f'submitit cannot tell of it: {_in_short(wrong)}')
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def _error(self, submitted) -> BaseException | None:
        """What a job has ended with, once it has."""
        while not submitted.done():
            if self._closed.is_set():
                return JobError('interrupted')
            time.sleep(_POLL)
        error = submitted.exception()
        if error is None:
            return submitted.result()
        if isinstance(error, self._lost):
            return InterruptedJobError(str(error))
        return JobError(str(error))


def _check_count(name: str, value: Any) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < 1:
        raise ValueError(
            f'{name}={value!r} must be a whole number, at least 1'
        )


def _in_short(error: BaseException) -> str:
    """The first line of what an error says, or else of its cause."""
    for each in (error, error.__cause__):
        for line in str(each or '').splitlines():
            if line.strip():
                return line.strip().rstrip('.')
    return type(error).__name__


def _required(module: str, extra: str):
    try:
        return __import__(module)
    except ImportError as error:
        raise ImportError(
            f'this executor needs {module}: in a clone of epsd_mm, '
            f"`{sys.executable} -m pip install '.[{extra}]'`"
        ) from error


def _send_whole(pickler: ModuleType) -> None:
    """Let a worker be sent what it runs, and not import this package.

    That would take seconds and hundreds of megabytes on each of them.
    """
    pickler.register_pickle_by_value(jobs)
