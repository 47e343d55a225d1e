"""The same jobs on a Ray cluster that loses a node, and through submitit."""

import os
import sys
import time

import pytest

from epsd_mm.benchmark.executors import RayExecutor, SlurmExecutor
from epsd_mm.benchmark.jobs import (
    InterruptedJobError,
    Job,
    JobError,
    PlaceError,
)

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
    with pytest.raises(ImportError, match=rf"{module}: .*epsd_mm\[{extra}\]'"):
        kind('somewhere')
