"""The same jobs on a Ray cluster that loses a node, and through submitit."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from epsd_mm.benchmark.driver import Driver
from epsd_mm.benchmark.executors import RayExecutor, SlurmExecutor
from epsd_mm.benchmark.jobs import (
    InterruptedJobError,
    Job,
    JobError,
    PlaceError,
)
from epsd_mm.benchmark.suite import Suite
from epsd_mm.pruning import Masks

TOOLS = Path(__file__).parents[2] / 'tools' / 'analysis_tools'
sys.path.insert(0, str(TOOLS))

from damage.tiny_suite import write_tiny_suite  # noqa: E402

pytestmark = pytest.mark.slow

# Leaves a line at its start and another at its end.
CODE = """
import pathlib, sys, time
path = pathlib.Path(sys.argv[1])
path.open('a').write('started\\n')
time.sleep(float(sys.argv[2]))
path.open('a').write('done\\n')
"""


def job(tmp_path, name, seconds):
    path = tmp_path / name
    command = [sys.executable, '-c', CODE, str(path), str(seconds)]
    return Job(command, tmp_path / f'{name}.log', tmp_path), path


@pytest.fixture
def cluster():
    """Two nodes of one core each."""
    pytest.importorskip('ray')
    from ray.cluster_utils import Cluster

    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
    cluster = Cluster(
        initialize_head=True,
        head_node_args=dict(num_cpus=1, include_dashboard=False),
    )
    node = cluster.add_node(num_cpus=1)
    yield cluster, node
    cluster.shutdown()


def test_a_lost_node_costs_its_running_jobs_alone(cluster, tmp_path):
    nodes, lost = cluster
    with RayExecutor(nodes.address) as executor:
        jobs = [job(tmp_path, f'job{i}', 4) for i in range(4)]
        futures = [executor.submit(each) for each, _ in jobs]
        started = [path for _, path in jobs]
        while sum(path.exists() for path in started) < 2:
            time.sleep(0.1)
        nodes.remove_node(lost)
        for future in futures:
            future.result(timeout=240)
    ends = [path.read_text().split() for path in started]
    assert all(words[-1] == 'done' for words in ends)
    assert sum(words.count('started') for words in ends) == 5


def test_a_node_without_the_folder_is_named(cluster, tmp_path):
    nodes, _ = cluster
    absent = tmp_path / 'absent'
    lost = Job([sys.executable, '-c', ''], absent / 'log', tmp_path)
    killed = Job(
        [sys.executable, '-c', 'import os; os.kill(os.getpid(), 9)'],
        tmp_path / 'log',
        tmp_path,
    )
    with RayExecutor(nodes.address) as executor:
        with pytest.raises(PlaceError, match='has no .*absent'):
            executor.submit(lost).result(timeout=240)
        with pytest.raises(InterruptedJobError, match='SIGKILL'):
            executor.submit(killed).result(timeout=240)
    assert not absent.exists()


def test_a_failed_job_of_ray_is_a_failed_job(cluster, tmp_path):
    nodes, _ = cluster
    failing = Job(
        [sys.executable, '-c', "raise ValueError('lr=-1')"],
        tmp_path / 'log',
        tmp_path,
    )
    with RayExecutor(nodes.address) as executor:
        with pytest.raises(Exception, match='ValueError: lr=-1') as error:
            executor.submit(failing).result(timeout=240)
    assert isinstance(error.value, JobError)


def test_submitit_runs_jobs_and_tells_of_failures(tmp_path):
    pytest.importorskip('submitit')
    good, path = job(tmp_path, 'job', 0.1)
    bad = Job(
        [sys.executable, '-c', "raise ValueError('lr=-1')"],
        tmp_path / 'log',
        tmp_path,
    )
    with SlurmExecutor(tmp_path / 'submitit', cluster='local') as executor:
        futures = [executor.submit(good), executor.submit(bad)]
        futures[0].result(timeout=240)
        with pytest.raises(JobError, match='ValueError: lr=-1'):
            futures[1].result(timeout=240)
        lost = Job([sys.executable, '-c', ''], tmp_path / 'no' / 'log')
        with pytest.raises(PlaceError, match='has no .*/no'):
            executor.submit(lost).result(timeout=240)
    assert path.read_text().split() == ['started', 'done']


@pytest.mark.parametrize(
    'kind, module, extra',
    [(RayExecutor, 'ray', 'ray'), (SlurmExecutor, 'submitit', 'slurm')],
)
def test_an_absent_library_is_named_with_its_install(
    kind, module, extra, monkeypatch
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"{module}: .* '\.\[{extra}\]'`"):
        kind('somewhere')


CHAIN = """
methods = {
    'IMP': dict(variant='prune-only', rounds=dict(share=0.3, rewind=1)),
    'student': dict(student_of='IMP'),
}
"""


def parent_of(process):
    status = Path(f'/proc/{process}/status').read_text()
    (line,) = (x for x in status.splitlines() if x.startswith('PPid:'))
    return int(line.split()[1])


class Killer:
    """Kills one process of each of these cells, once.

    Args:
        victims: By name of a cell, what is killed: of its process, that
            itself or the worker that has started it.
    """

    def __init__(self, driver, victims):
        cells = {cell.name: cell for cell in driver.suite.cells}
        self.locks = {
            driver.work_dir(cells[name].key) / '.cell.lock': victim
            for name, victim in victims.items()
        }

    def __call__(self):
        for lock in [path for path in self.locks if path.exists()]:
            words = lock.read_text().split()  # process N on HOST
            if len(words) == 4:
                os.kill(self.locks.pop(lock)(int(words[1])), signal.SIGKILL)


def run_chain(tmp_path, executor):
    """Run rounds and a student, and kill a worker and a cell on the way."""
    path = write_tiny_suite(tmp_path, 1, 2, [])
    path.write_text(path.read_text() + CHAIN)
    driver = Driver(Suite.load(path), tmp_path / 'work')
    names = [cell.name for cell in driver.suite.cells]
    assert len(names) == 4  # the dense one, two rounds, a student
    killer = Killer(driver, {names[1]: parent_of, names[3]: lambda own: own})
    with executor:
        driver.run(executor, jobs=2, watch=killer)
    assert not killer.locks
    entries = driver.store.entries().values()
    found = {e.name: (e.state, e.error) for e in entries}
    assert found == dict.fromkeys(names, ('finished', None))
    first, second = (
        Masks.load(driver.work_dir(cell.key) / 'epsd' / 'masks.pth')
        for cell in driver.suite.cells[1:3]
    )
    assert second.sparsity == pytest.approx(0.5, abs=1e-3)
    assert all((mask <= first[name]).all() for name, mask in second.items())


def test_a_chain_goes_on_after_kills_on_ray(cluster, tmp_path):
    nodes, _ = cluster
    run_chain(tmp_path, RayExecutor(nodes.address))


def test_a_chain_goes_on_after_kills_through_submitit(tmp_path):
    pytest.importorskip('submitit')
    executor = SlurmExecutor(tmp_path / 'submitit', cluster='local')
    run_chain(tmp_path, executor)
