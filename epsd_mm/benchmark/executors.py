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
from pathlib import Path
from types import ModuleType

from . import jobs
from .jobs import InterruptedJobError, Job, JobError, outcome, run_job

_THREAD_VARIABLES = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')
_POLL = 0.2  # seconds between looks at a process


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
        _send_whole(ray.cloudpickle)
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
        _send_whole(import_module('cloudpickle'))  # that it pickles with
        self._executor = submitit.AutoExecutor(folder, cluster=cluster)
        # A job without a result: out of time, or its node is gone.
        self._lost = submitit.core.utils.UncompletedJobError
        self._executor.update_parameters(**(parameters or {}))
        self._jobs: list = []
        self._closed = threading.Event()

    def submit(self, job: Job) -> Future:
        """See :meth:`Executor.submit`."""
        submitted = self._executor.submit(outcome, job)
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


def _required(module: str, extra: str):
    try:
        return __import__(module)
    except ImportError as error:
        raise ImportError(
            f'this executor needs {module}: '
            f"`{sys.executable} -m pip install 'epsd_mm[{extra}]'`"
        ) from error


def _send_whole(pickler: ModuleType) -> None:
    """Let a worker be sent what it runs, and not import this package.

    That would take seconds and hundreds of megabytes on each of them.
    """
    pickler.register_pickle_by_value(jobs)
