"""What led to a network is part of what it has cost."""

import pytest

from epsd_mm.benchmark.comparison import Arm
from epsd_mm.benchmark.costs import (
    epoch_seconds,
    total_images,
    total_passes,
    total_seconds,
)
from epsd_mm.benchmark.folders import Folders
from epsd_mm.benchmark.report.claims import CLAIMS
from epsd_mm.benchmark.report.evidence import AGAINST, FOR, UNCLEAR, Evidence
from epsd_mm.benchmark.report.expenses import expenses
from epsd_mm.benchmark.report.published import whole_dataset
from tests.helpers.suites import METRIC, compared, suite_of

PLAIN = dict(variant='prune-only')
SD = dict(variant='simple-combination')
METHODS = {
    'dense': dict(variant='dense'),
    'EPSD': dict(),
    'IMP': dict(PLAIN, rounds='IMP'),
    'rewound + SD': dict(SD, rounds=dict(rewind=3)),
    'after': dict(PLAIN, criterion='Magnitude', weights_of='dense'),
    'taught': dict(sd_loss='KD', masks_of='EPSD', teacher='dense'),
    'student': dict(student_of='after'),
    'pruned twin': dict(sd_loss='KD', masks_of='EPSD', teacher='after'),
}
# A step has 128 images, each forward and, twice as much, backward.
DENSE = 400 * 128 * 3
# Partners of CS-KD are looked at once more.
DISTILLED = 400 * 128 * 4


def metrics(cell):
    found = {
        METRIC: 60.0,
        'training/iterations': 400,
        'training/iteration_time': 0.5,
        'training/sparse_share': 1.0 - (cell.sparsity or 0.0),
    }
    if cell.method.name == 'student':  # half as large as the whole one
        found |= {
            'saved/multiply_adds': 1e6,
            'saved/dense_multiply_adds': 2e6,
            'training/sparse_share': 1.0,
            'teacher/sparse_share': 0.4,
        }
    if cell.method.name in ('EPSD', 'taught', 'pruned twin'):
        found |= {'scoring/evaluations': 8, 'scoring/time': 30.0}
    return found


@pytest.fixture(scope='module')
def comparison(tmp_path_factory):
    folder = tmp_path_factory.mktemp('suite')
    return compared(suite_of(folder, METHODS, 1, (0.4,)), metrics)


def passes(comparison, name, zeros=True):
    arm = Arm('a', name, None if name == 'dense' else 0.4)
    return total_passes(comparison, arm, zeros)[0]


def test_every_round_counts_and_round_0_once(comparison):
    """At 40 %: dense, 20, 36 and 40 %."""
    assert passes(comparison, 'dense') == DENSE
    assert passes(comparison, 'IMP') == 4 * DENSE
    assert passes(comparison, 'rewound + SD') == 4 * DISTILLED
    assert passes(comparison, 'after') == 2 * DENSE
    # A teacher looks at each image once; the scores are those of EPSD.
    taught = DENSE + 400 * 128 * (3 + 1) + passes(comparison, 'EPSD')
    assert passes(comparison, 'taught') == taught - DISTILLED
    # Its own network is half as large, its teacher, trained twice, is not.
    student = 2 * DENSE + 400 * 128 * (3 / 2 + 1)
    assert passes(comparison, 'student') == student
    without = (1 + 0.8 + 0.64 + 0.6) * DENSE
    assert passes(comparison, 'IMP', zeros=False) == pytest.approx(without)


def test_zeros_of_a_teacher_are_those_that_it_ended_with(comparison):
    """Where nobody counted these, those of its training."""
    images, after = 400 * 128, (1 + 0.6) * DENSE
    student = after + images * (3 / 2 + 0.4)
    assert passes(comparison, 'student', zeros=False) == pytest.approx(student)
    scored = passes(comparison, 'EPSD') - DISTILLED
    twin = after + images * 0.6 * 3 + images * 0.6 + scored
    found = passes(comparison, 'pruned twin', zeros=False)
    assert found == pytest.approx(twin)
    taught = DENSE + images * 0.6 * 3 + images + scored
    found = passes(comparison, 'taught', zeros=False)
    assert found == pytest.approx(taught)


def test_a_compact_teacher_looks_at_images_for_less(tmp_path):
    methods = {
        'dense': METHODS['dense'],
        'small': dict(
            PLAIN,
            criterion='SNIP',
            options={'default_hooks.epsd.structure': 'channels'},
        ),
        'taught': dict(sd_loss='KD', masks_of='EPSD', teacher='small'),
        'EPSD': dict(),
    }
    shrunk = {'saved/multiply_adds': 1.0, 'saved/dense_multiply_adds': 4.0}

    def few(cell):
        found = {'training/iterations': 400, 'training/sparse_share': 1.0}
        return found | (shrunk if cell.method.name == 'small' else {})

    found = compared(suite_of(tmp_path, methods, 1, (0.4,)), few)
    small = DENSE / 4
    taught = small + 400 * 128 * (3 + 1 / 4)
    for zeros in (True, False):
        assert passes(found, 'taught', zeros) == taught


def test_so_do_their_images_and_seconds(comparison):
    imp = Arm('a', 'IMP', 0.4)
    assert total_images(comparison, imp) == {0: 4 * 400 * 128}
    assert total_seconds(comparison, imp) == {0: 4 * 200.0}


def test_an_epoch_of_a_rewound_round_is_as_long_as_one_of_round_0(tmp_path):
    """CIFAR-100 in batches of 128: 391 steps an epoch, of 200, or of 150."""
    rounds = dict(share=0.4, rewind=50)
    methods = dict(dense=METHODS['dense'], IMP=dict(PLAIN, rounds=rounds))

    def steps(cell):
        epochs = 150 if cell.run.rewound_to else 200
        return {
            'training/iterations': 391 * epochs,
            'training/iteration_time': 0.5,
        }

    found = compared(suite_of(tmp_path, methods, 1, (0.4,)), steps)
    for arm in found.arms:
        assert epoch_seconds(found, arm) == {0: 391 * 0.5}
        assert whole_dataset(found, arm) == 'CIFAR-100'
    traits = [found.traits(arm) for arm in found.arms]
    assert [each.epochs for each in traits] == [200, 200]
    assert [each.epochs_trained for each in traits] == [200, 150]


def test_a_round_that_is_not_known_leaves_the_seed_out(comparison):
    entries = dict(comparison.entries)
    first = next(c for c in comparison.suite.cells if c.sparsity == 0.2)
    del entries[first.key]
    less = type(comparison)(comparison.suite, entries)
    assert total_passes(less, Arm('a', first.method.name, 0.4)) == {}


def test_rounds_that_nobody_asked_for_are_no_rows(comparison):
    assert [(a.method, a.sparsity) for a in comparison.arms] == [
        (name, None if name == 'dense' else 0.4) for name in METHODS
    ]
    assert len(comparison.finished) == len(comparison.suite.cells) == 13


def test_what_it_costs_is_drawn_in_trainings_of_the_dense_one(comparison):
    figure, table = expenses(comparison, 'a').blocks
    assert [row[0] for row in table.rows] == [
        'dense',
        'EPSD at 0.4',
        'after at 0.4',
        'taught at 0.4',
        'student at 0.4',
        'pruned twin at 0.4',
        'IMP at 0.4',
        'rewound + SD at 0.4',
    ]
    (text,) = expenses(comparison, 'a').text
    assert 'from the step that it goes back to' in text
    column = table.headings.index('× dense, passes')
    shown = {row[0]: row[column] for row in table.rows}
    assert (shown['IMP at 0.4'], shown['after at 0.4']) == ('4.00', '2.00')
    assert figure.name == 'a_costs' and '× dense, passes' in figure.svg


def test_claim_11_is_answered_by_counting(comparison, tmp_path):
    """EPSD scores in 8 evaluations of batches with their partners."""
    scored = 8 * ((3 + 1) * 128 + (2 + 6) * 0.75 * 128)
    epsd = DISTILLED + scored
    assert passes(comparison, 'EPSD') == epsd
    claim = next(claim for claim in CLAIMS if claim.name == 'C11')
    found = claim.find(Evidence(comparison, Folders(comparison, tmp_path)))
    said = {each.what: (each.figures, each.verdict) for each in found}
    less = 0.6 * DISTILLED + scored
    images = 400 * 128
    by_hand = {
        'IMP': (4 * DENSE, 3.04 * DENSE),
        'after': (2 * DENSE, 1.6 * DENSE),
        'student': (
            2 * DENSE + images * 2.5,
            1.6 * DENSE + images * (1.5 + 0.4),
        ),
        'rewound + SD': (4 * DISTILLED, 3.04 * DISTILLED),
    }
    assert said == {
        f'passes of {name} over those of EPSD at 0.4': (
            f'{passes / epsd:.3g}, without zeros {fewer / less:.3g}',
            FOR if passes >= 2 * epsd else AGAINST,
        )
        for name, (passes, fewer) in by_hand.items()
    }
    after, *others = 'after', 'IMP', 'student', 'rewound + SD'
    verdicts = {name: verdict for name, (_, verdict) in said.items()}
    start = 'passes of {} over those of EPSD at 0.4'
    # 1.44 times as many, where twice as many are far more.
    assert verdicts[start.format(after)] == AGAINST
    assert {verdicts[start.format(name)] for name in others} == {FOR}


def test_networks_that_were_trained_before_are_told_by_what_they_do(
    comparison,
):
    traits = {a.method: comparison.traits(a) for a in comparison.arms}
    roles = {name: each.role for name, each in traits.items()}
    assert roles['IMP'] == roles['after'] == 'prune-only'
    assert roles['rewound + SD'] == 'simple-combination'
    # No self-distillation, of which the regime would be judged.
    assert roles['taught'] == roles['student'] == 'taught'
    assert {n for n, each in traits.items() if each.after_training} == {
        'IMP',
        'rewound + SD',
        'after',
        'student',
    }
    assert traits['IMP'].criterion == 'Magnitude after training'
    assert traits['IMP'].scorer != traits['after'].scorer


def findings(comparison, folder):
    evidence = Evidence(comparison, Folders(comparison, folder))
    return {
        claim.name: [each.what for each in claim.find(evidence)]
        for claim in CLAIMS
    }


def test_claim_8_is_of_what_prunes_later_and_of_what_is_taught_too(tmp_path):
    """Each with the loss of EPSD, with a teacher or with none at all."""
    methods = {
        'EPSD': dict(),
        'early': dict(PLAIN, criterion='SNIP'),
        'early + SD': dict(SD, criterion='SNIP'),
        'GMP': dict(PLAIN, policy='GMP'),
        'GMP + SD': dict(SD, policy='GMP'),
        'GMP + other SD': dict(SD, policy='GMP', sd_loss='DLBLoss'),
        'IMP': dict(PLAIN, rounds='IMP'),
        'IMP + SD': dict(SD, rounds='IMP'),
        'dense': dict(variant='dense'),
        'taught': dict(sd_loss='KD', masks_of='EPSD', teacher='dense'),
        'taught SNIP': dict(sd_loss='KD', criterion='SNIP', teacher='dense'),
        'taught whole': dict(variant='sd-only', sd_loss='KD', teacher='dense'),
        'student': dict(student_of='GMP'),
    }
    found = compared(suite_of(tmp_path, methods, 3, (0.36,)), metrics)
    assert findings(found, tmp_path)['C8'] == [
        'EPSD − early at 0.36',
        'EPSD − early + SD at 0.36',
        'EPSD − GMP at 0.36',
        'EPSD − GMP + SD at 0.36',
        'EPSD − IMP at 0.36',
        'EPSD − IMP + SD at 0.36',
        'EPSD − taught at 0.36',
        'EPSD − taught SNIP at 0.36',
        'EPSD − student at 0.36',
    ]


def test_epsd_prunes_before_training_alone(tmp_path):
    """What starts from its scores, or scores later, is what it meets."""
    methods = {
        'dense': dict(variant='dense'),
        'EPSD': dict(),
        'RigL from EPSD': dict(policy='RigL', criterion='ProsPr'),
        'EPSD after': dict(weights_of='dense'),
        'GMP after': dict(PLAIN, policy='GMP', weights_of='dense'),
        'masks after': dict(PLAIN, masks_of='EPSD', weights_of='dense'),
        'shuffled after': dict(
            masks_of='EPSD', shuffled=True, weights_of='dense'
        ),
    }

    def scored(cell):
        own = {METRIC: 60.0 + cell.seed, 'training/iterations': 400}
        own |= {'training/iteration_time': 0.5, 'scoring/time': 1.0}
        return own

    found = compared(suite_of(tmp_path, methods, 3, (0.36,)), scored)
    assert [a.method for a in found.with_role('a', 'epsd')] == ['EPSD']
    said = findings(found, tmp_path)
    assert said['C8'][2:] == [
        'EPSD − RigL from EPSD at 0.36',
        'EPSD − EPSD after at 0.36',
        'EPSD − GMP after at 0.36',
        'EPSD − masks after at 0.36',
        'EPSD − shuffled after at 0.36',
    ]
    assert said['C10'] == ['scoring by EPSD at 0.36, in epochs']
    assert said['C11'] == [
        f'passes of {name} over those of EPSD at 0.36'
        for name in ('GMP after', 'masks after', 'EPSD after')
    ] + ['passes of shuffled after over those of EPSD at 0.36']
    assert said['C13'] == []  # not the places alone: another start, too
    evidence = Evidence(found, Folders(found, tmp_path))
    (after,) = (
        each
        for claim in CLAIMS
        if claim.name == 'C11'
        for each in claim.find(evidence)
        if each.what.startswith('passes of GMP after')
    )
    # Two trainings by the plain loss over one with partners.
    assert after.figures == f'{2 * DENSE / DISTILLED:.3g}'


def test_what_comes_from_a_file_is_not_said_to_cost_nothing(tmp_path):
    """A teacher, masks or weights that no cell of the suite has made."""
    hook = 'default_hooks.epsd.'
    teacher = dict(config='a.py', checkpoint='a.pth')
    from_file = {f'{hook}sd_loss.teacher': teacher}
    methods = {
        'dense': dict(variant='dense'),
        'EPSD': dict(),
        'cell': dict(sd_loss='KD', masks_of='EPSD', teacher='dense'),
        'file': dict(sd_loss='KD', masks_of='EPSD', options=from_file),
        'scored': dict(sd_loss='KD', options=from_file),
        'lent': dict(PLAIN, masks_of='scored'),
        'pruned': dict(PLAIN, criterion='SNIP', weights_of='lesson'),
        'lesson': dict(variant='sd-only', sd_loss='KD', options=from_file),
        'start': dict(PLAIN, options={f'{hook}start': 'masks.pth'}),
        'weights': dict(PLAIN, options={'load_from': 'b.pth'}),
        'part': dict(
            PLAIN,
            options={
                'model.backbone.init_cfg': dict(
                    type='Pretrained', checkpoint='c.pth'
                )
            },
        ),
        'IMP': dict(PLAIN, rounds='IMP'),
        'student': dict(student_of='IMP'),
        'on': dict(PLAIN, policy='GMP', weights_of='dense'),
    }
    found = compared(suite_of(tmp_path, methods, 1, (0.36,)), metrics)
    unknown = {
        'file': 'a teacher',
        'scored': 'a teacher',
        'lent': 'a teacher',
        'pruned': 'a teacher',
        'lesson': 'a teacher',
        'start': 'masks',
        'weights': 'weights',
        'part': 'weights',
    }
    figure, table = expenses(found, 'a').blocks
    totals = [
        table.headings.index(f'× dense, {what}')
        for what in ('time', 'images', 'passes')
    ]
    for row in table.rows:
        method = row[0].removesuffix(' at 0.36')
        for total in totals:
            assert row[total].startswith('> ') == (method in unknown), row
    (text,) = expenses(found, 'a').text
    for arm in found.arms:
        said = f'{unknown.get(arm.method)} of {arm}'
        assert (said in text) == (arm.method in unknown)
    claim = next(claim for claim in CLAIMS if claim.name == 'C11')
    answers = {
        each.what: (each.figures, each.verdict)
        for each in claim.find(Evidence(found, Folders(found, tmp_path)))
    }
    figures, verdict = answers['passes of pruned over those of EPSD at 0.36']
    # Less than twice as many as are counted, and nobody knows of the rest.
    assert figures.endswith(', without a teacher from a file')
    assert verdict == UNCLEAR


@pytest.mark.parametrize('loaded', [False, True])
def test_epsd_from_a_file_is_not_said_to_be_far_cheaper(loaded, tmp_path):
    """What made the file belongs to its costs, and is not known."""
    methods = {
        'dense': dict(variant='dense'),
        'EPSD': dict(options={'load_from': 'b.pth'} if loaded else {}),
        'IMP': dict(PLAIN, rounds='IMP'),
    }
    found = compared(suite_of(tmp_path, methods, 1, (0.8,)), metrics)
    claim = next(claim for claim in CLAIMS if claim.name == 'C11')
    (answer,) = (
        each
        for each in claim.find(Evidence(found, Folders(found, tmp_path)))
        if each.what.startswith('passes of IMP over those of EPSD')
    )
    assert answer.verdict == (UNCLEAR if loaded else FOR)
    assert ('weights of EPSD from a file' in answer.figures) == loaded


def test_nothing_is_said_of_files_where_there_are_none(comparison):
    figure, table = expenses(comparison, 'a').blocks
    assert not any('>' in str(shown) for row in table.rows for shown in row)
    assert 'file' not in expenses(comparison, 'a').text[0]


def test_a_teacher_costs_what_it_is_while_scoring_too(tmp_path):
    """A quarter of the network: 3 of SNIP, and a quarter of a look."""
    methods = {
        'dense': METHODS['dense'],
        'small': dict(
            PLAIN,
            criterion='SNIP',
            options={'default_hooks.epsd.structure': 'channels'},
        ),
        'taught': dict(sd_loss='KD', criterion='SNIP', teacher='small'),
    }

    def few(cell):
        found = {'training/iterations': 0, 'training/sparse_share': 1.0}
        if cell.method.name == 'small':
            found['saved/multiply_adds'] = 1.0
            found['saved/dense_multiply_adds'] = 4.0
        if cell.method.name == 'taught':
            found['scoring/evaluations'] = 2
        return found

    found = compared(suite_of(tmp_path, methods, 1, (0.4,)), few)
    assert passes(found, 'taught') == 2 * 128 * (3 + 1 / 4)
