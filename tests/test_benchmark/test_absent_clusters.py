"""What a cluster has against a suite is one sentence with the remedy.

Its library is a stub that raises what the library raises.
"""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from epsd_mm.benchmark.driver import Driver
from epsd_mm.benchmark.executors import RayExecutor, SlurmExecutor
from epsd_mm.benchmark.jobs import JobError
from epsd_mm.benchmark.suite import Suite
from epsd_mm.benchmark.suite_folder import SuiteError
from tests.test_benchmark.test_driver import CONTENT


def raising(error):
    def call(*args, **options):
        raise error

    return call


@pytest.fixture
def submitit(monkeypatch):
    """Replaces functions of the executor of submitit."""
    made = SimpleNamespace(
        update_parameters=lambda **options: None,
        submit=lambda *args: pytest.fail(),
    )
    utils = SimpleNamespace(UncompletedJobError=RuntimeError)
    stub = SimpleNamespace(
        AutoExecutor=lambda folder, cluster: made,
        core=SimpleNamespace(utils=utils),
    )
    pickler = ModuleType('cloudpickle')
    pickler.register_pickle_by_value = lambda module: None
    monkeypatch.setitem(sys.modules, 'submitit', stub)
    monkeypatch.setitem(sys.modules, 'cloudpickle', pickler)

    def replace(**functions):
        for name, function in functions.items():
            setattr(made if hasattr(made, name) else stub, name, function)

    return replace


def test_a_machine_without_slurm_is_said_to_be_so(submitit, tmp_path):
    error = RuntimeError('Could not detect "srun", are you on a cluster?')
    submitit(AutoExecutor=raising(error))
    with pytest.raises(ConnectionError, match='no Slurm .*srun.* without `--'):
        SlurmExecutor(tmp_path)


@pytest.mark.parametrize(
    'option, error',
    [
        ({'foo': 1}, NameError("'foo' need to be prefixed\nKnown: {…}")),
        ({'slurm_foo': 1}, NameError("Unknown argument 'foo'")),
        ({'timeout_min': 'abc'}, AssertionError('timeout_min expected int')),
    ],
)
def test_options_that_submitit_refuses_are_named(
    option, error, submitit, tmp_path
):
    submitit(update_parameters=raising(error))
    ((name, value),) = option.items()
    with pytest.raises(
        ValueError, match=f'`--option {name}={value}` is not'
    ) as told:
        SlurmExecutor(tmp_path, parameters=option)
    said = str(told.value)
    assert str(error).splitlines()[0] in said and 'slurm_partition' in said
    assert '\n' not in said


@pytest.mark.parametrize(
    'error, said',
    [
        (RuntimeError('sbatch: invalid partition\n'), 'invalid partition'),
        (FileNotFoundError(2, 'No such file', 'sbatch'), 'sbatch'),
        (RuntimeError(''), 'RuntimeError'),
    ],
)
def test_cells_that_slurm_does_not_take_go_on_waiting(
    error, said, submitit, tmp_path
):
    path = tmp_path / 'suite.py'
    path.write_text(CONTENT)
    driver = Driver(Suite.load(path), tmp_path / 'work')
    submitit(submit=raising(error))
    with SlurmExecutor(tmp_path) as executor:
        with pytest.raises(
            SuiteError, match=f'not taken a job .*{said}.*still'
        ):
            driver.run(executor, jobs=4)
    states = {entry.state for entry in driver.store.entries().values()}
    assert states == {'waiting'}


def test_a_refusal_without_words_has_those_of_its_cause(submitit, tmp_path):
    error = RuntimeError('')
    error.__cause__ = ValueError("Command ['sbatch'] returned 1.")
    submitit(submit=raising(error))
    with SlurmExecutor(tmp_path) as executor:
        with pytest.raises(
            Exception, match=r"\(Command \['sbatch'\] returned"
        ):
            executor.submit(None)


def test_a_job_of_which_submitit_cannot_tell_is_waited_for_no_longer(
    submitit, tmp_path
):
    error = AssertionError('You should use `results()`')
    job = SimpleNamespace(done=lambda: True, exception=raising(error))
    submitit(submit=lambda *args: job)
    with SlurmExecutor(tmp_path) as executor:
        future = executor.submit(None)
        with pytest.raises(JobError, match='cannot tell .*results'):
            future.result(timeout=5)


@pytest.fixture
def ray(monkeypatch):
    told = 'Could not find any instance. Set the `--address` flag'
    stub = SimpleNamespace(
        cloudpickle=SimpleNamespace(register_pickle_by_value=id),
        is_initialized=lambda: False,
        init=raising(ConnectionError(told)),
    )
    monkeypatch.setitem(sys.modules, 'ray', stub)


def test_an_absent_ray_cluster_is_named_with_the_option_for_it(ray):
    said = "address='auto' .*ray start --head.*`--option address=HOST:PORT`"
    with pytest.raises(ConnectionError, match=said) as told:
        RayExecutor()
    assert '--address' not in str(told.value)


@pytest.mark.parametrize(
    'option', [dict(cpus='abc'), dict(gpus=-1), dict(cpus=True)]
)
def test_shares_of_a_ray_cluster_are_numbers(option, ray):
    ((name, value),) = option.items()
    with pytest.raises(ValueError, match=f'{name}={value!r} must be a number'):
        RayExecutor(**option)
