"""Jobs run apart, share what there is, and end when they are told."""

import os
import pickle
import subprocess
import sys
import time

import pytest

from epsd_mm.benchmark import executors
from epsd_mm.benchmark.executors import LocalExecutor
from epsd_mm.benchmark.jobs import (
    BUSY,
    PARENT,
    BusyJobError,
    InterruptedJobError,
    Job,
    JobError,
    PlaceError,
    outcome,
    run_job,
)
from tests.helpers.processes import gone


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


def test_gpus_and_threads_are_shared_out(tmp_path, monkeypatch):
    monkeypatch.setattr('torch.cuda.device_count', lambda: 6)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
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
        (dict(workers=3, gpus=[0], per_gpu=2), r'more than gpus=\[0\] hold'),
        (dict(threads='abc'), "threads='abc' must be a whole number"),
        (dict(threads=1.5), 'threads=1.5 must be a whole number'),
        (dict(per_gpu=True), 'per_gpu=True must be a whole number'),
    ],
)
def test_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        LocalExecutor(**options)


def test_cores_are_not_shared_by_default():
    with LocalExecutor(threads=1) as executor:
        assert executor.workers == os.cpu_count()


@pytest.mark.parametrize(
    'code, kind',
    [
        ('import os; os.kill(os.getpid(), 9)', InterruptedJobError),
        ('import os; os.kill(os.getpid(), 15)', InterruptedJobError),
        (f'raise SystemExit({BUSY})', BusyJobError),
        ('raise SystemExit(1)', JobError),
    ],
)
def test_a_job_that_was_killed_or_had_to_wait_may_begin_again(
    code, kind, tmp_path
):
    with pytest.raises(JobError) as error:
        run_job(job(tmp_path, code))
    assert type(error.value) is kind


def test_a_job_knows_whom_it_must_not_outlive(tmp_path):
    code = f"import os; print(os.environ['{PARENT}'], os.getppid())"
    run_job(job(tmp_path, code))
    named, parent = (tmp_path / 'log.txt').read_text().split()
    assert named == parent == str(os.getpid())


SHORT_LIVED = f"""
import os, subprocess, sys, time
os.environ[{PARENT!r}] = str(os.getpid())
subprocess.Popen([sys.executable, *sys.argv[2:]])
time.sleep(float(sys.argv[1]))
"""
# Comes to watch for its parent only after a while, as what imports much does.
WATCHING = f"""
import os, runpy, sys, time
open(sys.argv[1], 'w').write(str(os.getpid()))
time.sleep(0.5)
runpy.run_path({executors.__file__!r})['end_with_parent']()
"""


@pytest.mark.parametrize('seconds', [0.2, 1.5], ids=['early', 'late'])
def test_a_job_ends_with_its_parent(seconds, tmp_path):
    """Also where that dies before the job has come to look for it."""
    told = tmp_path / 'pid'
    watching = ['-c', WATCHING, str(told)]
    parent = [sys.executable, '-c', SHORT_LIVED, str(seconds), *watching]
    subprocess.run(parent, check=True)
    deadline = time.monotonic() + 20
    while not told.exists() or not gone(told.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_a_job_leaves_behind_ends_with_it(tmp_path):
    code = SLEEPER.replace('time.sleep(60)\n', 'raise SystemExit(1)\n')
    with pytest.raises(JobError):
        run_job(job(tmp_path, code))
    _, child = (tmp_path / 'pids').read_text().split()
    deadline = time.monotonic() + 10
    while not gone(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    'change, said',
    [
        (dict(log='absent/log.txt'), 'has no .*absent: all machines must see'),
        (dict(folder='absent'), 'has no .*absent: all machines must see'),
        (dict(command=['/opt/python']), 'has no /opt/python: .*same Python'),
    ],
)
def test_a_machine_without_the_files_says_so_and_makes_none(
    change, said, tmp_path
):
    """A Ray or Slurm node, say, that does not share the folder."""
    parts = dict(command=[sys.executable, '-c', ''], log='log', folder='.')
    parts |= change
    wrong = Job(
        parts['command'], tmp_path / parts['log'], tmp_path / parts['folder']
    )
    with pytest.raises(PlaceError, match=said):
        run_job(wrong)
    assert not (tmp_path / 'absent').exists()


# A worker of a cluster: what it is sent, and the name of what came of it.
WORKER = """
import pickle, sys
sys.modules['epsd_mm'] = None
task, job = pickle.load(sys.stdin.buffer)
sys.stdout.buffer.write(pickle.dumps(repr(task(job))))
assert not {'torch', 'mmengine', 'numpy'} & sys.modules.keys()
"""


@pytest.mark.parametrize(
    'code, said',
    [('', 'None'), ("raise ValueError('lr=-1')", "JobError('ended with st")],
)
def test_a_worker_runs_jobs_without_this_package(code, said, tmp_path):
    cloudpickle = pytest.importorskip('cloudpickle')
    executors._send_whole(cloudpickle)
    try:
        sent = cloudpickle.dumps((outcome, job(tmp_path, code)))
    finally:
        cloudpickle.unregister_pickle_by_value(executors.jobs)
    worker = subprocess.run(
        [sys.executable, '-c', WORKER], input=sent, stdout=subprocess.PIPE
    )
    assert worker.returncode == 0
    assert pickle.loads(worker.stdout).startswith(said)
