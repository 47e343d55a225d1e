"""Cells wait for those that they come after, whoever runs them."""

import threading

import pytest

from epsd_mm.benchmark.driver import Driver
from epsd_mm.benchmark.jobs import JobError
from epsd_mm.benchmark.listing import read_listing
from epsd_mm.benchmark.overview import failures, sentence
from epsd_mm.benchmark.plan import Costs, plan
from epsd_mm.benchmark.rebuild import rebuild
from epsd_mm.benchmark.store import Store
from epsd_mm.benchmark.suite_folder import STORE, SuiteFolder
from epsd_mm.run_files import last_checkpoint
from tests.helpers.suites import suite_of
from tests.test_benchmark.test_driver import Fake

METHODS = {
    'dense': dict(variant='dense'),
    'IMP': dict(variant='prune-only', rounds='IMP'),
}
FIRST, LAST = 'a/IMP/0.2/seed 0', 'a/IMP/0.4/seed 0'


class Saving(Fake):
    """Leaves checkpoints, too."""

    def submit(self, job):
        future = super().submit(job)
        folder = job.log.parent
        (folder / 'epoch_1.pth').write_bytes(b'')
        (folder / 'last_checkpoint').write_text('/moved/since/epoch_1.pth')
        return future


@pytest.fixture(scope='module')
def suite(tmp_path_factory):
    folder = tmp_path_factory.mktemp('suite')
    return suite_of(folder, METHODS, 1, (0.4,))


@pytest.fixture
def driver(suite, tmp_path):
    return Driver(suite, tmp_path)


def fails_at(name):
    return Saving(
        lambda spec: (
            JobError('status 1: boom') if spec['name'] == name else None
        )
    )


def test_a_cell_runs_after_those_that_it_comes_after(driver):
    ran = Saving()
    driver.run(ran, jobs=4)
    assert ran.ran == [cell.name for cell in driver.suite.cells]
    assert ran.ran[0] == 'a/dense/seed 0' and ran.ran[-1] == LAST


def test_a_store_gives_nothing_out_whose_predecessor_has_not_finished(
    tmp_path,
):
    store, after = Store(tmp_path / STORE), {'b': ['a']}
    store.add([('a', 'a', {}), ('b', 'b', {})])
    assert store.claim('b', 'x', after=after) is None
    assert store.claim('ba', 'x', after=after) == 'a'
    assert store.claim('ba', 'y', after=after) is None  # it runs
    store.finish('a', 'x', {}, {})
    assert store.claim('ba', 'y', after=after) == 'b'


def test_followers_of_a_failure_neither_run_nor_fail(driver):
    ran = fails_at(FIRST)
    driver.run(ran, jobs=4)
    assert ran.ran == ['a/dense/seed 0', FIRST]
    assert list(driver.entries('failed').values())[0].name == FIRST
    said = sentence(driver)
    assert '1 failed, 2 behind failed ones' in said and 'waiting' not in said
    assert (
        f'a/IMP/0.36/seed 0 and 1 more wait for {FIRST}, which failed'
        in failures(driver)
    )
    # Those who only look know it from the list of cells.
    looking = SuiteFolder(
        read_listing(driver.suite.path, driver.folder), driver.folder
    )
    assert failures(looking) == failures(driver)


def test_followers_run_once_the_failure_was_put_right(driver):
    driver.run(fails_at(FIRST), jobs=1)
    again = Saving()
    driver.run(again, jobs=1, retry=True)
    assert again.ran == [c.name for c in driver.suite.cells[1:]]


def test_the_nearest_failure_is_named(driver):
    driver.run(fails_at('a/IMP/0.36/seed 0'), jobs=1)
    (said,) = [line for line in failures(driver) if 'waits' in line]
    assert said == f'{LAST} waits for a/IMP/0.36/seed 0, which failed'


def test_another_driver_waits_for_what_this_one_runs(driver, suite, tmp_path):
    """It does not leave while there will be something to do."""
    first, *_ = suite.cells
    driver.store.add((c.key, c.name, c.spec()) for c in suite.cells)
    assert driver.store.claim([first.key], driver.owner)
    other, ran = Driver(suite, tmp_path), Saving()

    def finish():
        folder = tmp_path / 'cells' / first.key
        folder.mkdir(parents=True)
        (folder / 'epoch_1.pth').write_bytes(b'')
        (folder / 'last_checkpoint').write_text('epoch_1.pth')
        driver.store.finish(first.key, driver.owner, {}, {})

    timer = threading.Timer(1.5, finish)
    timer.start()
    other.run(ran, jobs=1)
    timer.join()
    assert ran.ran == [c.name for c in suite.cells[1:]]


def test_a_rebuilt_store_goes_on_where_it_was(driver, suite, tmp_path):
    driver.run(fails_at(FIRST), jobs=1)
    made = rebuild(tmp_path)
    assert (made.cells, made.finished, made.failed) == (2, 1, 1)
    ran = Saving()
    again = Driver(suite, tmp_path)
    again.run(ran, jobs=1)
    assert ran.ran == [] and 'which failed' in '\n'.join(failures(again))
    assert again.stale() == []


def test_rounds_are_no_cells_that_the_suite_has_no_longer(driver):
    driver.run(Saving(), jobs=1)
    assert driver.clean() == []
    first = driver.suite.cells[0]
    assert last_checkpoint(driver.work_dir(first.key)).is_file()


def test_what_would_run_has_the_rounds(suite):
    text = plan(suite.cells, set(), Costs([]))
    assert '4 cells to run' in text and '0.36' in text
