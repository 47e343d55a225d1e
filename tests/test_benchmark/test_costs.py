"""What runs cost, counted by hand."""

import pytest

from epsd_mm.benchmark.comparison import Arm
from epsd_mm.benchmark.costs import (
    epoch_seconds,
    relative,
    scoring_images,
    total_images,
    total_seconds,
    training_images,
)
from tests.helpers.suites import compared, suite_of

METHODS = {
    'dense': dict(variant='dense'),
    'CS-KD': dict(options={'default_hooks.epsd.batches_per_step': 2}),
    'DLB': dict(sd_loss='DLBLoss'),
}


@pytest.fixture(scope='module')
def comparison(tmp_path_factory):
    def metrics(cell):
        found = {
            'training/iterations': 400 if cell.method.name != 'DLB' else 800,
            'training/iteration_time': 0.5 + cell.seed,
        }
        if cell.method.prunes:
            found |= {'scoring/evaluations': 8, 'scoring/time': 30.0}
        return found

    suite = suite_of(tmp_path_factory.mktemp('suite'), METHODS, seeds=2)
    return compared(suite, metrics)


@pytest.mark.parametrize(
    'name, sparsity, scored, trained',
    [
        ('dense', None, None, 400 * 128),
        ('CS-KD', 0.9, 8 * 2 * 256, 400 * 256),
        ('DLB', 0.9, 8 * 128, 800 * 128),
    ],
)
def test_images_are_counted(name, sparsity, scored, trained, comparison):
    arm = Arm('a', name, sparsity)
    assert training_images(comparison, arm) == {0: trained, 1: trained}
    expected = {} if scored is None else {0: scored, 1: scored}
    assert scoring_images(comparison, arm) == expected


def test_an_epoch_is_its_share_of_all_iterations(comparison):
    found = epoch_seconds(comparison, Arm('a', 'dense', None))
    # 200 epochs of two iterations
    assert found == pytest.approx({0: 1.0, 1: 3.0})


def test_all_of_a_run_is_scoring_and_training(comparison):
    dense, epsd = Arm('a', 'dense', None), Arm('a', 'CS-KD', 0.9)
    assert total_seconds(comparison, dense) == pytest.approx({0: 200, 1: 600})
    assert total_seconds(comparison, epsd) == pytest.approx({0: 230, 1: 630})
    images = 8 * 2 * 256 + 400 * 256
    assert total_images(comparison, epsd) == {0: images, 1: images}


def test_costs_are_compared_at_the_same_seed():
    assert relative({0: 2.0, 1: 9.0, 2: 1.0}, {0: 1.0, 1: 3.0}) == {
        0: 2.0,
        1: 3.0,
    }
