"""What runs cost, counted by hand."""

import pytest

from epsd_mm.benchmark.comparison import Arm
from epsd_mm.benchmark.costs import (
    epoch_seconds,
    relative,
    scoring_images,
    total_images,
    total_passes,
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
        if cell.method.name != 'DLB':
            found['training/sparse_share'] = 0.1 if cell.sparsity else 1.0
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


def test_passes_are_counted_by_hand(comparison):
    """CS-KD: 3 for each image and 1 for its partner. ProsPr with 3 steps:
    three quarters of the evaluations have a product with the Hessian."""

    def passes(name, sparsity, **options):
        arm = Arm('a', name, sparsity)
        return total_passes(comparison, arm, **options).get(0)

    scored = 8 * 2 * ((3 + 1) * 128 + 6 * 0.75 * 256)
    assert passes('dense', None) == 400 * 128 * 3
    assert passes('CS-KD', 0.9) == 400 * 128 * 4 + scored
    assert passes('DLB', 0.9) == 800 * 128 * 3 + 8 * 128 * (3 + 6 * 0.75)
    assert passes('dense', None, zeros=False) == 400 * 128 * 3
    assert passes('CS-KD', 0.9, zeros=False) == pytest.approx(
        40 * 128 * 4 + scored
    )
    assert passes('DLB', 0.9, zeros=False) is None  # nobody has counted
