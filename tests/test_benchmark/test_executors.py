"""Jobs run apart, share what there is, and end when they are told."""

import os
import sys
import time
from pathlib import Path

import pytest

from epsd_mm.benchmark.executors import Job, JobError, LocalExecutor, run_job


def job(tmp_path, code, log='log.txt'):
    return Job([sys.executable, '-c', code], tmp_path / log, tmp_path)


def test_a_job_leaves_its_output_in_its_log(tmp_path):
    code = "import os; print(os.getcwd()); print(os.environ['SIZE'])"
    run_job(job(tmp_path, code), dict(SIZE='7'))
    assert (tmp_path / 'log.txt').read_text().split() == [str(tmp_path), '7']


@pytest.mark.parametrize(
    'code, said',
    [
        ("raise ValueError('sparsity=2')", 'status 1: ValueError: sparsity=2'),
        ('import os; os.kill(os.getpid(), 9)', 'killed by SIGKILL'),
        ('raise SystemExit(3)', 'status 3: no output'),
    ],
)
def test_a_failed_job_says_how_it_ended(code, said, tmp_path):
    with pytest.raises(JobError, match=said):
        run_job(job(tmp_path, code))


SLEEPER = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
open('pids', 'w').write(f'{os.getpid()} {child.pid}')
time.sleep(60)
"""


def gone(pid):
    status = Path('/proc', pid, 'stat')
    return not status.exists() or status.read_text().split()[2] == 'Z'


def test_what_runs_ends_with_its_executor(tmp_path):
    with LocalExecutor(workers=1) as executor:
        running = executor.submit(job(tmp_path, SLEEPER))
        waiting = executor.submit(job(tmp_path, SLEEPER))
        while not (tmp_path / 'pids').exists() or not (
            pids := (tmp_path / 'pids').read_text().split()
        ):
            time.sleep(0.02)
    assert isinstance(running.exception(), JobError)
    assert waiting.cancelled()
    assert len(pids) == 2
    deadline = time.monotonic() + 10
    while not all(gone(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_gpus_and_threads_are_shared_out(tmp_path):
    code = (
        'import os, time; time.sleep(0.5);'
        "print(os.environ['CUDA_VISIBLE_DEVICES'],"
        " os.environ['OMP_NUM_THREADS'])"
    )
    with LocalExecutor(threads=3, gpus=[2, 5], per_gpu=2) as executor:
        assert executor.workers == 4
        jobs = [job(tmp_path, code, f'{i}.txt') for i in range(4)]
        for future in [executor.submit(each) for each in jobs]:
            future.result()
    seen = sorted(each.log.read_text().strip() for each in jobs)
    assert seen == ['2 3', '2 3', '5 3', '5 3']


@pytest.mark.parametrize(
    'options, said',
    [
        (dict(workers=0), 'workers=0'),
        (dict(threads=0), 'threads=0'),
        (dict(per_gpu=2), 'no effect without gpus'),
        (dict(workers=3, gpus=[0], per_gpu=2), 'more than the 2 places'),
    ],
)
def test_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        LocalExecutor(**options)


def test_cores_are_not_shared_by_default():
    with LocalExecutor(threads=1) as executor:
        assert executor.workers == os.cpu_count()
