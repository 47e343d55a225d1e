"""The table of detectors: its outcomes are those of a run, and add up."""

import importlib.util
import sys
import time
from pathlib import Path

import pytest

from epsd_mm.pruning.second_order import SecondOrderError

TOOL = 'analysis_tools/detector_coverage'
TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.fixture
def coverage(tool):
    return tool(TOOL)


def test_two_detectors_are_scored_with_every_loss(run, capfd):
    """One with an observer, one that none knows."""
    run(TOOL, '--families', 'ATSS', 'RepPoints')
    rows = [
        line.split(' | ')
        for line in capfd.readouterr().out.splitlines()
        if '_1x_coco' in line
    ]
    name, _, *outcomes, why = rows[0]
    assert name == '| ATSS' and outcomes == ['exact'] * 4
    assert why.strip(' |') == ''
    name, _, plain, *others, why = rows[1]
    assert name == '| RepPoints' and plain == 'exact'
    assert others == ['refused'] * 3 and 'RepPointsHead' in why


def test_what_has_a_first_derivative_alone_is_told(coverage, monkeypatch):
    def score(name, model, loss, first_order=False):
        if not first_order:
            raise SecondOrderError.of(['OwnBackward'])
        return ['exact']

    monkeypatch.setattr(coverage, 'score', score)
    found = coverage.try_to_score('FCOS', None, None)
    assert found == ['first order', 'OwnBackward']


def test_a_detector_that_takes_too_long_or_breaks_is_told(
    coverage, monkeypatch
):
    monkeypatch.setattr(coverage, 'build_detector', time.sleep)
    (found,) = set(map(tuple, coverage.run_apart(60, 0.3).values()))
    assert found == ('failed', 'not done in 0 s')
    monkeypatch.setattr(coverage, 'build_detector', sys.exit)
    (found,) = set(map(tuple, coverage.run_apart(3, 60).values()))
    assert found == ('failed', 'the process ended with status 3')


def test_our_own_sentences_are_refusals_and_others_faults(coverage):
    def outcome_of(function, *args):
        try:
            function(*args)
        except Exception as error:
            return coverage.failure(error)

    from epsd_mm.engine.mixing import check_batch_augments

    kind, why = outcome_of(check_batch_augments, 'on')
    assert kind == 'refused' and why.startswith("batch_augments='on' must be")
    kind, why = outcome_of(int, 'x')
    assert kind == 'failed' and why.startswith('ValueError in test_coverage')
    # A fault within the package is none of its sentences.
    kind, _ = outcome_of(SecondOrderError.of, None)
    assert kind == 'failed'


def test_the_table_adds_up(coverage):
    exact, refused = ['exact'], ['refused', 'no such head']
    results = {
        'FCOS': dict.fromkeys(coverage.OBJECTIVES, exact),
        'DINO': dict.fromkeys(coverage.OBJECTIVES, refused) | {'plain': exact},
    }
    text = coverage.table(results)
    assert '| exact | refused | refused | refused | no such head |' in text
    assert '- plain: 2 exact\n- CS-KD: 1 exact, 1 refused\n' in text
    assert text.endswith('- all four: 1 exact\n')


def test_it_does_not_pass_for_the_package_of_its_name():
    """Which others import wherever they find it."""
    path = TOOLS / 'analysis_tools' / 'coverage.py'
    spec = importlib.util.spec_from_file_location('coverage', path)
    with pytest.raises(ImportError, match='not the package'):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_sixty_detectors_are_named_once(coverage):
    families = coverage.FAMILIES
    assert len(families) == len(set(families.values())) == 60
