"""What a method is stands in the report in words, whatever its name."""

from epsd_mm.benchmark.report.method_table import method_table
from epsd_mm.benchmark.report.verdicts import in_short
from tests.helpers.suites import METRIC, compared, suite_of

PLAIN = dict(variant='prune-only')
SD = dict(variant='simple-combination')
LATE = 'masks change while it is '
AFTER = 'pruned after training, '
SAID = {
    'dense': (dict(variant='dense'), 'dense, trained by the plain loss'),
    'EPSD': (dict(), 'scored and trained with self-distillation'),
    'NTK-SAP': (
        dict(PLAIN, criterion='NTKSAP'),
        'scored without images, trained by the plain loss',
    ),
    'Random + SD': (
        dict(SD, criterion='Random'),
        'scored without images, trained with self-distillation',
    ),
    'SNIP': (
        dict(PLAIN, criterion='SNIP'),
        'scored and trained by the plain loss',
    ),
    'GMP': (
        dict(PLAIN, policy='GMP'),
        LATE + 'trained by the plain loss',
    ),
    'SET + SD': (
        dict(SD, policy='SET'),
        LATE + 'trained with self-distillation',
    ),
    'RigL from EPSD': (
        dict(policy='RigL', criterion='ProsPr'),
        f'scored with self-distillation, {LATE}trained with self-distillation',
    ),
    'taught GMP': (
        dict(policy='GMP', sd_loss='KD', teacher='dense'),
        LATE + 'taught by dense',
    ),
    'IMP': (
        dict(PLAIN, rounds='IMP'),
        'pruned in rounds after training, then trained by the plain loss',
    ),
    'IMP + SD': (
        dict(SD, rounds='IMP'),
        'pruned in rounds after training, then trained with self-distillation',
    ),
    'EPSD after': (
        dict(weights_of='dense', score_weights=dict(task=0, sd=1)),
        f'{AFTER}scored with self-distillation (scores: 0 × the task + 1 × '
        'self-distillation), then trained with self-distillation',
    ),
    'GMP after': (
        dict(PLAIN, policy='GMP', weights_of='dense'),
        f'{AFTER}{LATE}trained by the plain loss',
    ),
    'twin': (
        dict(sd_loss='KD', masks_of='EPSD', teacher='dense'),
        'masks of EPSD, taught by dense',
    ),
    'shuffled': (
        dict(PLAIN, masks_of='EPSD', shuffled=True),
        'masks of EPSD, shuffled',
    ),
    'masks after': (
        dict(PLAIN, masks_of='EPSD', weights_of='dense'),
        'masks of EPSD, on the trained network of dense',
    ),
    'taught scores': (
        dict(sd_loss='KD', criterion='SNIP', teacher='dense'),
        'scored with its teacher, taught by dense',
    ),
    'taught SNIP': (
        dict(SD, sd_loss='KD', criterion='SNIP', teacher='dense'),
        'scored by the plain loss, taught by dense',
    ),
    'taught whole': (
        dict(variant='sd-only', sd_loss='KD', teacher='dense'),
        'dense, taught by dense',
    ),
    'student': (
        dict(student_of='GMP'),
        'dense, as large as what GMP keeps, taught by GMP',
    ),
}


def suite(folder, *names):
    methods = {name: SAID[name][0] for name in names}
    return compared(
        suite_of(folder, methods, 1, (0.36,)), lambda cell: {METRIC: 1.0}
    )


def test_a_row_says_when_it_prunes_by_what_and_how_it_trains(tmp_path):
    rows = method_table(suite(tmp_path, *SAID)).rows
    assert {row[0]: row[1] for row in rows} == {
        name: what for name, (_, what) in SAID.items()
    }
    by_name = {row[0]: row[2:] for row in rows}
    assert by_name['GMP after'] == ['Gradual after training', '']
    assert by_name['twin'] == ['', 'KD']


def test_simple_combination_is_explained_where_there_is_one(tmp_path):
    """What trains with the loss and prunes later is none."""
    text = in_short(suite(tmp_path, 'EPSD', 'SET + SD', 'RigL from EPSD')).text
    assert any(line.startswith('EPSD removes') for line in text)
    assert not any(line.startswith('Simple Combination') for line in text)
