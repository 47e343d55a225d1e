"""What runs cost, counted by hand."""

import pytest

from epsd_mm.benchmark.comparison import Arm
from epsd_mm.benchmark.costs import (
    epoch_over_dense,
    epoch_seconds,
    relative,
    scoring_images,
    total_images,
    total_over_dense,
    total_passes,
    total_seconds,
    training_images,
    widths,
)
from epsd_mm.benchmark.report.expenses import expenses
from epsd_mm.benchmark.report.trade_offs import trade_offs
from tests.helpers.suites import (
    METRIC,
    compared,
    suite_of,
    with_environments,
)

METHODS = {
    'dense': dict(variant='dense'),
    'CS-KD': dict(options={'default_hooks.epsd.batches_per_step': 2}),
    'DLB': dict(sd_loss='DLBLoss'),
    'NTK-SAP': dict(variant='prune-only', criterion='NTKSAP'),
    'combined': dict(variant='simple-combination'),
    'PS-KD': dict(sd_loss='PSKDLoss'),
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
        if cell.method.name == 'NTK-SAP':
            found['scoring/evaluations'] = 0
            found['scoring/output_images'] = 500
            found['scoring/output_passes'] = 900
        if cell.method.name != 'DLB':
            found['training/sparse_share'] = 0.1 if cell.sparsity else 1.0
        return found

    suite = suite_of(tmp_path_factory.mktemp('suite'), METHODS, seeds=2)
    return compared(suite, metrics)


@pytest.mark.parametrize(
    'name, sparsity, scored, trained',
    [
        ('dense', None, None, 400 * 128),
        ('CS-KD', 0.9, 8 * 256, 400 * 256),
        # Two draws of four steps, and a batch that is shown before each.
        ('DLB', 0.9, (8 + 2) * 128, 800 * 128),
        ('NTK-SAP', 0.9, 500, 400 * 128),
        # The plain loss is scored without a look at partners.
        ('combined', 0.9, 8 * 128, 400 * 256),
        # It is shown the images of a step, and scores the same ones then.
        ('PS-KD', 0.9, 8 * 128, 400 * 128),
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
    images = 8 * 256 + 400 * 256
    assert total_images(comparison, epsd) == {0: images, 1: images}


def test_costs_are_compared_at_the_same_seed():
    assert relative({0: 2.0, 1: 9.0, 2: 1.0}, {0: 1.0, 1: 3.0}) == {
        0: 2.0,
        1: 3.0,
    }


def test_passes_are_counted_by_hand(comparison):
    """CS-KD: 3 for each image and 1 for its partner. ProsPr with 3 steps:
    three quarters of the evaluations are made again, for 2, and have a
    product with the Hessian, for 6; partners have no part in these. PS-KD is
    shown each batch before its score, DLB one batch before each draw.
    """

    def passes(name, sparsity, **options):
        arm = Arm('a', name, sparsity)
        return total_passes(comparison, arm, **options).get(0)

    scored = 8 * ((3 + 1) * 128 + (2 + 6) * 0.75 * 128)
    assert passes('dense', None) == 400 * 128 * 3
    assert passes('CS-KD', 0.9) == 400 * 128 * 4 + scored
    plain = 8 * 128 * (3 + (2 + 6) * 0.75)
    assert passes('combined', 0.9) == 400 * 128 * 4 + plain
    assert passes('PS-KD', 0.9) == 400 * 128 * 3 + plain + 8 * 128
    assert passes('DLB', 0.9) == 800 * 128 * 3 + plain + 2 * 128
    assert passes('dense', None, zeros=False) == 400 * 128 * 3
    assert passes('CS-KD', 0.9, zeros=False) == pytest.approx(
        40 * 128 * 4 + scored
    )
    assert passes('NTK-SAP', 0.9) == 400 * 128 * 3 + 900
    assert passes('DLB', 0.9, zeros=False) is None  # nobody has counted


def test_a_narrower_network_costs_its_share_of_the_dense_one(tmp_path):
    """Scoring too; where it is as wide, other proposals are no difference."""
    narrow = {'model.backbone.base_channels': 32}
    methods = {
        'dense': dict(variant='dense'),
        'narrow': dict(variant='dense', options=narrow),
        'EPSD': dict(),
        'narrow EPSD': dict(options=narrow),
    }

    def metrics(cell):
        small = cell.method.name.startswith('narrow')
        found = {
            'training/iterations': 400,
            'training/weights': 25 if small else 100,
            'training/multiply_adds': 300 if small else 1000 + cell.seed,
        }
        if not small and cell.method.prunes:
            found['training/multiply_adds'] = 1010
        if cell.method.prunes:
            found['scoring/evaluations'] = 8
        return found

    found = compared(suite_of(tmp_path, methods, 1), metrics)

    def passes(name, sparsity=None):
        return total_passes(found, Arm('a', name, sparsity))[0]

    assert passes('dense') == 400 * 128 * 3
    assert passes('narrow') == pytest.approx(0.3 * passes('dense'))
    assert passes('EPSD', 0.9) > passes('dense')
    assert passes('narrow EPSD', 0.9) == pytest.approx(
        0.3 * passes('EPSD', 0.9)
    )


def test_passes_of_another_network_are_not_guessed(tmp_path):
    """Of cells that have not counted what theirs multiplies by."""
    narrow = dict(
        variant='dense', options={'model.backbone.base_channels': 32}
    )
    methods = {'dense': dict(variant='dense'), 'narrow': narrow}
    suite = suite_of(tmp_path, methods, seeds=1)
    found = compared(suite, lambda cell: {'training/iterations': 400})
    assert total_passes(found, Arm('a', 'narrow', None)) == {}
    assert total_passes(found, Arm('a', 'dense', None)) == {0: 400 * 384}


@pytest.fixture(scope='module')
def fine_tuned(tmp_path_factory):
    """A dense network that goes on from another stands before that one.

    Of both an iteration takes as long; SD reaches 62, and 60 and 65 they.
    """
    methods = {
        'fine': dict(variant='dense', weights_of='dense'),
        'dense': dict(variant='dense'),
        'SD': dict(variant='sd-only'),
        'narrow': dict(
            variant='dense', options={'model.backbone.base_channels': 32}
        ),
        'units': dict(options={'default_hooks.epsd.structure': 'channels'}),
    }
    reached = dict(dense=60.0, fine=65.0, SD=62.0)

    def metrics(cell):
        name = cell.method.name
        found = {
            METRIC: reached.get(name, 50.0),
            'training/iterations': 400,
            'training/iteration_time': 2.0 if name == 'fine' else 1.0,
            'training/weights': 25 if name == 'narrow' else 100,
            # Of a detector, say: what it multiplies by has changed.
            'training/multiply_adds': dict(narrow=30, fine=200).get(name, 100),
        }
        if name == 'units':
            found['saved/multiply_adds'] = 1e6
            found['saved/dense_multiply_adds'] = 2e6
        return found

    folder = tmp_path_factory.mktemp('fine')
    return compared(suite_of(folder, methods, seeds=1), metrics)


def shown(section, heading):
    """A column of the table of a section, by method."""
    table = section.blocks[-1]
    column = table.headings.index(heading)
    return {row[0]: row[column] for row in table.rows}


def test_what_goes_on_from_the_dense_network_is_not_what_costs_are_told_by(
    fine_tuned,
):
    assert fine_tuned.dense('a') == [Arm('a', 'dense', None)]
    section = expenses(fine_tuned, 'a')
    passes = shown(section, '× dense, passes')
    # The dense one before it, and as many steps of its own.
    assert (passes['dense'], passes['fine']) == ('1.00', '2.00')
    times = shown(section, '× dense, time')
    assert (times['dense'], times['fine']) == ('1.00', '3.00')
    assert widths(fine_tuned, Arm('a', 'narrow', None)) == {0: 0.3}
    epochs = shown(trade_offs(fine_tuned, 'a'), '× dense, time')
    assert (epochs['dense'], epochs['fine']) == ('1.00', '2.00')


@pytest.mark.parametrize(
    ('ran', 'totals', 'epochs'),
    [
        # What it goes on from is the dense network, which ran elsewhere.
        (dict(fine='Xeon'), dict(fine='', narrow='1.00'), dict(fine='')),
        (dict(SD='Xeon'), dict(fine='3.00', SD=''), dict(SD='', fine='2.00')),
        (
            dict(dense='Xeon'),
            dict(dense='1.00', fine='', narrow=''),
            dict(dense='1.00', fine=''),
        ),
    ],
)
def test_seconds_of_two_processors_are_not_compared(
    ran, totals, epochs, fine_tuned
):
    told = with_environments(
        fine_tuned, lambda cell: dict(processor=ran.get(cell.method.name, 'A'))
    )
    times = shown(expenses(told, 'a'), '× dense, time')
    assert totals.items() <= times.items()
    assert shown(expenses(told, 'a'), 'in all')['fine'] == '1,200 s'
    times = shown(trade_offs(told, 'a'), '× dense, time')
    assert epochs.items() <= times.items()


def test_nor_those_of_an_earlier_cell_that_ran_elsewhere(tmp_path):
    methods = {
        'dense': dict(variant='dense'),
        'SD': dict(variant='sd-only'),
        'fine': dict(variant='dense', weights_of='SD'),
    }
    found = compared(
        suite_of(tmp_path, methods, 1),
        lambda cell: {
            METRIC: 1.0,
            'training/iterations': 400,
            'training/iteration_time': 1.0,
        },
    )
    told = with_environments(
        found, lambda cell: dict(processor=cell.method.name == 'SD')
    )
    arm = Arm('a', 'fine', None)
    assert total_over_dense(found, arm) == {0: 2.0}
    assert total_over_dense(told, arm) == {}
    assert epoch_over_dense(told, arm) == {0: 1.0}


@pytest.mark.parametrize('name', ['threads', 'device', 'commit'])
def test_cells_of_an_unnamed_processor_are_alike_by_commit(name, fine_tuned):
    told = with_environments(
        fine_tuned, lambda cell: {name: cell.method.name == 'dense'}
    )
    assert epoch_over_dense(told, Arm('a', 'fine', None)) == {}
    known = with_environments(
        fine_tuned,
        lambda cell: {name: cell.method.name == 'dense', 'processor': 'A'},
    )
    same = {} if name != 'commit' else {0: 2.0}
    assert epoch_over_dense(known, Arm('a', 'fine', None)) == same


def test_nor_what_self_distillation_is_seen_to_help_by(fine_tuned):
    ((distilled, gain),) = fine_tuned.dense_benefit('a')
    assert (distilled.method, gain.mean) == ('SD', 2.0)


def test_nor_a_narrower_one_that_is_listed_first(tmp_path):
    methods = {
        'narrow': dict(variant='dense', options={'model.head.in_channels': 4}),
        'dense': dict(variant='dense'),
    }
    found = compared(suite_of(tmp_path, methods, 1), lambda cell: {})
    assert found.dense('a') == [Arm('a', 'dense', None)]


def test_where_every_dense_network_goes_on_the_first_one_is_it(tmp_path):
    methods = {
        'fine': dict(variant='dense', weights_of='SD'),
        'finer': dict(variant='dense', weights_of='fine'),
        'SD': dict(variant='sd-only'),
    }
    found = compared(suite_of(tmp_path, methods, 1), lambda cell: {})
    assert found.dense('a') == [Arm('a', 'fine', None)]
