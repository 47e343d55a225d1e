"""What is said of the paper's claims, and of nothing else."""

import pytest
from scipy import stats

from epsd_mm.benchmark.comparison import Arm
from epsd_mm.benchmark.folders import Folders
from epsd_mm.benchmark.report.claims import CLAIMS
from epsd_mm.benchmark.report.evidence import (
    AGAINST,
    FOR,
    NO_CLAIM,
    NOT_TESTED,
    UNCLEAR,
    Evidence,
    Finding,
    by_weight,
    overall,
)
from tests.helpers.suites import METRIC, compared, lay_masks, suite_of

METHODS = {
    'EPSD': dict(),
    'combination': dict(variant='simple-combination'),
    'plain': dict(variant='prune-only'),
    'random': dict(variant='prune-only', criterion='Random'),
    'random, then SD': dict(criterion='Random'),
    'magnitude': dict(variant='prune-only', criterion='Magnitude'),
    'no steps': dict(criterion=dict(type='ProsPr', steps=0)),
}
TOP1 = {
    'EPSD': 60.0,
    'combination': 59.0,
    'plain': 58.0,
    'random': 50.0,
    'random, then SD': 61.0,
    'magnitude': 40.0,
    'no steps': 60.0,
}
# Seeds differ more than methods do; methods by a little of their own.
NOISE = [0.00, 0.03, -0.02, 0.01]


def metrics(cell, names=None):
    """Effects that every seed shows, but for the inner steps."""
    name = (names or {}).get(cell.method.name, cell.method.name)
    own = NOISE[cell.seed % 4] * (1 + list(TOP1).index(name))
    # EPSD gains 1 at the low sparsity and 3 at the high one.
    gain = 2.0 if name == 'EPSD' and cell.sparsity == 0.98 else 0.0
    if name == 'no steps':
        gain += 0.5 * (-1) ** cell.seed
    sd = {'EPSD': 0.2, 'combination': 0.3}.get(name, 0.4)
    found = {
        METRIC: TOP1[name] + gain + 3 * cell.seed + own,
        'metric/calibration/ece': 0.1 + own / 100 - 0.05 * ('SD' in name),
        'training/first_loss_sd': sd + own / 100,
        'training/iterations': 400.0,
        'training/iteration_time': 1.0,  # epochs of two iterations
        'scoring/time': 0.5 + 0.1 * cell.seed,
    }
    if name == 'EPSD':
        found['scoring/overlap_with_plain'] = 0.90 + own / 100
        found['scoring/noise_floor'] = 0.80
    return found


def answers(comparison, cells='nowhere'):
    evidence = Evidence(comparison, Folders(comparison, cells))
    return {claim.name: list(claim.find(evidence)) for claim in CLAIMS}


@pytest.fixture(scope='module')
def make(tmp_path_factory):
    def made(methods=METHODS, metrics=metrics, **options):
        folder = tmp_path_factory.mktemp('suite')
        return compared(suite_of(folder, methods, **options), metrics)

    return made


@pytest.fixture(scope='module')
def found(make):
    return answers(make(sparsities=(0.9, 0.98)))


def said(findings):
    return {finding.what: finding.verdict for finding in findings}


def test_every_claim_is_asked_once_and_says_what_it_takes():
    assert [claim.name for claim in CLAIMS] == [f'C{i}' for i in range(1, 15)]
    assert all(claim.says and claim.needs for claim in CLAIMS)


def test_epsd_is_compared_with_its_own_combination(found):
    assert said(found['C1']) == {
        'EPSD − combination at 0.9': FOR,
        'EPSD − combination at 0.98': FOR,
        'EPSD − combination at 0.98 beyond that at 0.9': FOR,
    }
    growth = found['C1'][-1]
    assert growth.figures.startswith('+2.00 [') and '4 pairs' in growth.figures


def test_a_claim_of_the_reverse_is_the_test_of_both(make):
    """It was tested once, whichever method was named first."""
    methods = {n: METHODS[n] for n in ('EPSD', 'combination')}
    claim = dict(name='its reverse', setup='a', sparsity=0.9)
    claim |= dict(first='combination', second='EPSD')
    findings = answers(make(methods, seeds=7, claims=[claim]))['C1']
    tested = findings[0]
    assert tested.what == 'EPSD − combination at 0.9'
    assert tested.verdict == 'supported'
    assert 'its reverse, which claims the reverse, is not supp' in (
        tested.figures
    )


def test_a_claim_of_two_parts_is_not_answered_by_one(make):
    """One sparsity shows no growth, one random control no fair one."""
    methods = {n: METHODS[n] for n in ('EPSD', 'combination', 'random')}
    at = dict(setup='a', first='EPSD', sparsity=0.9)
    claims = [dict(at, name=n, second=n) for n in ('combination', 'random')]
    found = answers(make(methods, seeds=7, claims=claims))
    open_ = dict(
        C1=['the growth'],
        C8=['the fair control', 'what prunes later, or is taught'],
    )
    for name, parts in open_.items():
        assert [said(found[name])[part] for part in parts] == [
            NOT_TESTED for _ in parts
        ]
        assert overall(found[name]) == (
            f'in part: supported (1); not tested here ({len(parts)})'
        )


def test_a_part_that_is_open_is_no_description():
    verdicts = (NO_CLAIM, NOT_TESTED)
    found = [Finding('what', 'figures', v, ()) for v in verdicts]
    assert overall(found) == 'no claim (1); not tested here (1)'


def test_the_plain_twin_is_compared_at_the_highest_sparsity(found):
    assert said(found['C2']) == {'plain − combination at 0.98': AGAINST}


def test_a_lower_loss_points_to_the_claim(found):
    assert said(found['C3']) == {
        f'combination − EPSD at {s}': FOR for s in (0.9, 0.98)
    }


def test_a_mask_that_shares_more_than_the_floor_is_the_same(found):
    assert set(said(found['C4']).values()) == {AGAINST}
    assert found['C4'][0].figures.startswith('0.9')


def test_steps_are_compared_with_the_fewest(found):
    what = 'EPSD − no steps at 0.9'
    assert said(found['C5'])[what] == UNCLEAR


def test_baselines_are_those_of_other_criteria_and_the_plain_twin(found):
    at = {w: v for w, v in said(found['C8']).items() if w.endswith('0.9')}
    epsd = {w: v for w, v in at.items() if w.startswith('EPSD')}
    assert epsd == {
        'EPSD − plain at 0.9': FOR,
        'EPSD − random at 0.9': FOR,
        'EPSD − magnitude at 0.9': FOR,
        'EPSD − random, then SD at 0.9': AGAINST,
    }


@pytest.mark.parametrize(
    'seeds, said_',
    [
        (
            3,
            '3 pairs; so few can show no difference at 0.05; 6 pairs of this '
            'spread would show a difference of 2 four times in five',
        ),
        (6, '6 pairs; a difference of 2 would have been seen four times in'),
    ],
)
def test_what_is_not_told_apart_says_what_would_have_been(make, seeds, said_):
    """Six pairs reach .05 where all of one sign, and only there."""
    std = 2 / stats.norm.ppf(0.8 ** (1 / 6))
    # Half of the six are as far apart, so that (n − 1) makes 1.2 of 1.
    size = std if seeds == 3 else std * (5 / 4) ** 0.5

    def value(cell):
        own = size * (cell.seed % 3 - 1) * (cell.method.name == 'EPSD')
        return {METRIC: 50.0 + own, 'training/first_loss_sd': 50.0 - own}

    methods = {n: METHODS[n] for n in ('EPSD', 'combination', 'random')}
    found = answers(make(methods, value, seeds=seeds))
    for name in ('C1', 'C3', 'C8'):
        assert found[name][0].verdict == UNCLEAR
        assert said_ in found[name][0].figures


def test_what_is_told_apart_says_nothing_of_it(found):
    told = [f for each in found.values() for f in each if f.verdict == FOR]
    assert told and not any('four times' in f.figures for f in told)


def test_what_speaks_against_a_claim_is_shown_before_what_does_not():
    verdicts = (FOR, UNCLEAR, AGAINST, 'undecided')
    found = [Finding('', '', verdict, (ARM,)) for verdict in verdicts]
    shown = [each.verdict for each in by_weight(found)]
    assert shown == ['undecided', AGAINST, FOR, UNCLEAR]


def test_scoring_is_told_in_epochs(found):
    (first, *_) = found['C10']
    assert (first.figures, first.verdict) == ('0.25 – 0.4', FOR)


def test_calibration_is_compared_with_the_plain_twin(found):
    assert said(found['C12'])['random − random, then SD at 0.9'] == FOR


@pytest.mark.parametrize('name', ['C6', 'C7', 'C9', 'C11', 'C13', 'C14'])
def test_what_a_suite_lacks_is_not_tested(name, found):
    assert found[name] == [] and overall(found[name]) == NOT_TESTED


def test_nothing_is_supported_that_was_not_named_before(found):
    verdicts = {f.verdict for findings in found.values() for f in findings}
    assert verdicts <= {FOR, AGAINST, UNCLEAR, NO_CLAIM, NOT_TESTED}


def test_what_was_named_before_has_the_verdict_of_its_test(make):
    claim = dict(setup='a', first='EPSD', second='combination', sparsity=0.98)
    comparison = make(
        seeds=6,
        sparsities=(0.9, 0.98),
        claims=[dict(claim, name='ours')],
    )
    c1 = answers(comparison)['C1']
    assert said(c1) == {
        'EPSD − combination at 0.9': FOR,
        'EPSD − combination at 0.98': 'supported',
        'EPSD − combination at 0.98 beyond that at 0.9': FOR,
    }
    assert (
        overall(c1) == 'in part: supported (1); descriptive: points to it (2)'
    )
    (tested,) = (f for f in c1 if f.verdict == 'supported')
    assert 'p = 0.0312' in tested.figures
    assert tested.arms == comparison.claim_arms(comparison.suite.claims[0])


def test_names_of_methods_decide_nothing(make):
    names = {f'm{i}': name for i, name in enumerate(METHODS)}
    renamed = {new: METHODS[old] for new, old in names.items()}
    other = answers(
        make(renamed, lambda cell: metrics(cell, names), sparsities=(0.9,))
    )
    same = answers(make(sparsities=(0.9,)))
    for name, findings in same.items():
        assert [(f.figures, f.verdict) for f in findings] == [
            (f.figures, f.verdict) for f in other[name]
        ]


def test_two_pairs_claim_nothing(make):
    compared_ = answers(make(seeds=2, sparsities=(0.9, 0.98)))
    for name in ('C1', 'C2', 'C3', 'C4', 'C5', 'C8', 'C12'):
        # A part that has no cells is not tested, whatever the pairs.
        verdicts = {f.verdict for f in compared_[name] if f.arms}
        assert verdicts == {NO_CLAIM}


def test_all_three_losses_are_needed(make):
    losses = ('CSKDLoss', 'PSKDLoss', 'DLBLoss')
    methods = {}
    for loss in losses:
        methods[loss] = dict(sd_loss=loss)
        methods[f'{loss}, combined'] = dict(
            sd_loss=loss, variant='simple-combination'
        )

    def value(cell):
        better = 1.0 * ('combined' not in cell.method.name)
        return {METRIC: 50.0 + 3 * cell.seed + better}

    c6 = answers(make(methods, value))['C6']
    assert said(c6) == {
        f'{loss} − {loss}, combined at 0.9': FOR for loss in losses
    }
    del methods['DLBLoss']
    assert answers(make(methods, value))['C6'] == []


def lent(cell):
    worse = {'foreign': 1.0, 'foreign, too': 2.0, 'shuffled': 0.5}
    own = NOISE[cell.seed] * len(cell.method.name)
    return {METRIC: 50 - worse.get(cell.method.name, 0) + own + 3 * cell.seed}


BORROWERS = {
    'CS-KD': dict(sd_loss='CSKDLoss'),
    'PS-KD': dict(sd_loss='PSKDLoss'),
    'plain': dict(variant='simple-combination'),
    'foreign': dict(sd_loss='CSKDLoss', masks_of='PS-KD'),
    'foreign, too': dict(sd_loss='PSKDLoss', masks_of='CS-KD'),
    # These say nothing of a loss: a plain mask, another way to train.
    'of plain': dict(masks_of='plain'),
    'untaught': dict(variant='prune-only', masks_of='CS-KD'),
    'shuffled': dict(masks_of='CS-KD', shuffled=True),
}


def test_a_mask_for_another_loss_is_compared_with_the_right_one(make):
    found = answers(make(BORROWERS, lent, sparsities=(0.9, 0.98)))
    assert said(found['C7']) == {
        f'{own} − {foreign} at {s}': FOR
        for s in (0.9, 0.98)
        for own, foreign in (('CS-KD', 'foreign'), ('PS-KD', 'foreign, too'))
    }


def test_a_shuffled_mask_is_compared_with_its_own(make):
    found = answers(make(BORROWERS, lent))
    assert said(found['C13']) == {'CS-KD − shuffled at 0.9': FOR}


def test_borrowed_masks_speak_of_no_other_claim(make):
    own = {n: m for n, m in BORROWERS.items() if 'masks_of' not in m}
    with_, without = (answers(make(m, lent)) for m in (BORROWERS, own))
    for name in with_.keys() - {'C7', 'C13'}:
        assert said(with_[name]) == said(without[name])


class TestMasks:
    """Claims that take the masks of the cells."""

    @pytest.fixture
    def comparison(self, make):
        methods = {n: METHODS[n] for n in ('EPSD', 'combination', 'magnitude')}
        return make(
            methods, lambda cell: {'scoring/stability': 0.7 + NOISE[cell.seed]}
        )

    def lay(self, comparison, cells, shift):
        for cell, _ in comparison.finished:
            name = cell.method.name
            start = shift if name == 'EPSD' else 0
            kept = dict(conv=range(start, start + 10), fc=range(3))
            if name == 'magnitude':
                kept.pop('fc')
            lay_masks(cells, cell, kept)

    def test_a_mask_is_another_one_where_halves_agree_more(
        self, comparison, tmp_path
    ):
        self.lay(comparison, tmp_path, shift=6)
        (found,) = answers(comparison, tmp_path)['C4']
        # 4 of 10 in one layer and 3 of 3 in the other
        assert found.figures.startswith(
            f'{7 / 13:.3f}, halves of its draws 0.705'
        )
        assert found.verdict == FOR

    def test_halves_cannot_say_that_masks_are_the_same(
        self, comparison, tmp_path
    ):
        """Whole draws agree more than halves do."""
        self.lay(comparison, tmp_path, shift=0)
        (found,) = answers(comparison, tmp_path)['C4']
        assert found.figures.startswith('1.000, halves of its draws 0.705')
        assert found.verdict == UNCLEAR

    def test_empty_layers_are_counted(self, comparison, tmp_path):
        self.lay(comparison, tmp_path, shift=0)
        (found,) = answers(comparison, tmp_path)['C9']
        assert (found.figures, found.verdict) == ('0 and 1', FOR)

    def test_empty_layers_of_epsd_speak_against_it(self, comparison, tmp_path):
        self.lay(comparison, tmp_path, shift=0)
        cell = next(
            c for c, _ in comparison.finished if c.method.name == 'EPSD'
        )
        lay_masks(tmp_path, cell, dict(conv=range(3)))
        (found,) = answers(comparison, tmp_path)['C9']
        assert (found.figures, found.verdict) == ('0 – 1 and 1', AGAINST)


ARM = Arm('a', 'm', None)


@pytest.mark.parametrize(
    'verdicts, expected',
    [
        ([], NOT_TESTED),
        ([FOR, FOR], FOR),
        ([UNCLEAR, FOR], 'descriptive: not told apart (1), points to it (1)'),
        (['supported', 'supported'], 'supported'),
        (['supported', 'undecided'], 'in part: supported (1), undecided (1)'),
        (
            [FOR, 'undecided', AGAINST],
            'in part: undecided (1); descriptive: points to it (1), '
            'points against it (1)',
        ),
        ([NO_CLAIM], NO_CLAIM),
    ],
)
def test_a_test_of_a_part_does_not_support_the_whole(verdicts, expected):
    findings = [Finding('', '', verdict, (ARM,)) for verdict in verdicts]
    assert overall(findings) == expected
