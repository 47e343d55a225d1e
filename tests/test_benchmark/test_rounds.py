"""Rounds of training and pruning are cells, each after the one before."""

import json

import pytest

from epsd_mm.benchmark.rounds import MOST_ROUNDS, Rounds
from epsd_mm.runs import Run
from tests.helpers.suites import suite_of

PLAIN = dict(variant='prune-only')
IMP = dict(PLAIN, rounds='IMP')


def suite(folder, sparsities=(0.5,), seeds=1, **methods):
    return suite_of(folder, methods, seeds, sparsities)


def sparsities_of(found, method):
    cells = [c for c in found.cells if c.method.name == method]
    return [c.sparsity for c in cells]


def test_each_round_removes_a_fifth_of_what_is_left():
    rounds, found, at = Rounds(), [], 0.9
    while (at := rounds.before(at)) is not None:
        found.append(at)
    left = [0.8**n for n in range(10, 0, -1)]
    assert found == pytest.approx([1 - x for x in left], abs=1e-9)


@pytest.mark.parametrize('asked', [0.2, 0.36, 1 - 0.8**2, 1 - 0.8 * 0.8])
def test_a_round_that_is_asked_for_is_no_extra_one(asked):
    before = Rounds().before(asked)
    assert before is None if asked == 0.2 else before == 0.2


def test_many_rounds_have_keys(tmp_path):
    method = dict(PLAIN, rounds=dict(share=0.05, rewind=1))
    found = suite(tmp_path, (0.994,), IMP=method)
    assert len({cell.key for cell in found.cells}) == MOST_ROUNDS + 1
    spec = json.loads(json.dumps(found.cells[-1].spec(), indent=2))
    assert Run(**spec['run']) == found.cells[-1].run


def test_more_rounds_than_anybody_runs_are_refused(tmp_path):
    method = dict(PLAIN, rounds=dict(share=0.01))
    said = "suite.py: method 'IMP': .*0.01 takes 688 rounds to sparsity 0.999"
    with pytest.raises(ValueError, match=said):
        suite(tmp_path, (0.5, 0.999), IMP=method).cells  # noqa: B018


def test_sparsities_share_their_rounds(tmp_path):
    found = suite(
        tmp_path, (0.36, 0.4), 2, IMP=IMP, dense=dict(variant='dense')
    )
    names = [c.name for c in found.cells if c.seed == 0]
    assert names == [
        'a/dense/seed 0',
        'a/IMP/0.2/seed 0',
        'a/IMP/0.36/seed 0',
        'a/IMP/0.4/seed 0',
    ]
    asked = [c.name for c in found.asked if c.seed == 0]
    assert sorted(asked) == sorted(set(names) - {'a/IMP/0.2/seed 0'})


def test_round_0_is_the_dense_cell_of_the_suite_or_one_of_its_own(tmp_path):
    found = suite(tmp_path, IMP=IMP)
    assert found.cells[0].name == 'a/IMP, round 0/seed 0'
    assert found.cells[0].run.variant == 'dense'
    both = suite(tmp_path, IMP=IMP, dense=dict(variant='dense'))
    assert {c.key for c in both.cells} == {c.key for c in found.cells}
    distilled = dict(IMP, variant='simple-combination')
    other = suite(tmp_path, IMP=distilled)
    assert other.cells[0].run.variant == 'sd-only'
    assert both.cells[0].key != other.cells[0].key


def test_all_cells_come_after_those_that_they_need(tmp_path):
    found = suite(tmp_path, (0.5, 0.6), IMP=dict(PLAIN, rounds=dict(rewind=5)))
    seen = set()
    for cell in found.cells:
        assert {earlier.key for earlier in cell.after} <= seen
        seen.add(cell.key)
    assert found.rewinds == {found.cells[0].key: [5]}
    assert [len(cell.after) for cell in found.cells] == [0, 1, 2, 2, 2, 2, 2]


def test_what_a_run_comes_after_decides_its_key(tmp_path):
    methods = {
        'a': IMP,
        'b': dict(PLAIN, rounds=dict(rewind=2)),
        'c': dict(PLAIN, rounds=dict(rewind=3)),
        'd': dict(PLAIN, rounds=dict(share=0.3)),
    }
    found = suite_of(tmp_path, methods, 1, (0.45,))
    assert len({cell.key for cell in found.asked}) == 4
    at = {'b': 2, 'c': 3, 'a': None, 'd': None}
    for cell in found.asked:
        assert cell.run.rewound_to == at[cell.method.name]
        again = type(cell.run)(**cell.run.to_dict())
        assert again == cell.run
        assert again.earlier().key == cell.key


@pytest.mark.parametrize(
    'method, said',
    [
        (dict(IMP, rounds='imp'), "rounds='imp' must be 'IMP', or dict"),
        (dict(IMP, rounds=dict(shar=1)), 'of share and rewind alone'),
        (dict(IMP, rounds=dict(share=1.0)), r'share=1.0 must be in \[0.01'),
        (dict(IMP, rounds=dict(rewind=-1)), 'rewind=-1 must be a whole'),
        (dict(IMP, rounds=dict(share='0.2')), "share='0.2' must be in"),
        (
            dict(IMP, rounds=dict(rewind=240)),
            'rewound_to=240 must be.*and 240',
        ),
        (dict(IMP, policy='GMP'), 'so that policy cannot stand beside'),
        (dict(IMP, criterion='SNIP'), 'so that criterion cannot stand'),
        (dict(IMP, teacher='dense'), 'so that teacher cannot stand'),
        (dict(IMP, shuffled=True), 'so that shuffled cannot stand'),
        (dict(IMP, variant='dense'), 'prunes nothing, so that rounds'),
        (
            dict(IMP, options={'default_hooks.epsd.structure': 'channels'}),
            'removes whole channels.*name one that keeps single weights',
        ),
        (
            dict(IMP, options={'default_hooks.epsd.structure': 'rows'}),
            'the hook has structure=Rows',
        ),
        (dict(weights_of='nobody'), "has weights_of='nobody'; the suite has"),
        (dict(teacher='x'), "'x' comes after 'x', which comes after it"),
        (
            dict(masks_of='goes on'),
            "'x' comes after 'goes on', which comes after it",
        ),
        (
            dict(variant='sd-only', masks_of='IMP'),
            'prunes nothing, so that masks_of would have no effect',
        ),
        (
            dict(variant='sd-only', weights_of='pruned'),
            'prunes nothing, and weights_of',
        ),
        (
            dict(teacher='dense', sd_loss='CSKDLoss'),
            "is sd_loss='KD', and this run trains with CSKDLoss",
        ),
        (
            dict(PLAIN, weights_of='pruned', policy='RigL'),
            'weights_of: .* policy=RigL lets what was removed come back: le',
        ),
        (
            dict(PLAIN, weights_of='pruned', policy='GMP'),
            'so that what was removed would come back',
        ),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_runs(
    method, said, tmp_path
):
    methods = dict(
        dense=dict(variant='dense', options={'train_cfg.max_epochs': 240}),
        pruned=dict(PLAIN, criterion='Magnitude'),
        IMP=IMP,
        x=dict(method),
    )
    if method.get('masks_of') == 'goes on':
        after = dict(PLAIN, criterion='Magnitude', weights_of='x')
        methods['goes on'] = after
    if 'rewind' in str(method):
        methods['x']['options'] = {'train_cfg.max_epochs': 240}
    with pytest.raises(ValueError, match=said) as error:
        suite_of(tmp_path, methods, 1, (0.5,)).cells  # noqa: B018
    assert 'suite.py' in str(error.value)
