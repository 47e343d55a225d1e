"""Scoring says at the start what it takes, and soon how long."""

import re
from types import SimpleNamespace

import pytest
import torch

from epsd_mm.engine.scoring_job import score_model
from epsd_mm.engine.scoring_progress import (
    ScoringLog,
    scoring_progress,
)
from epsd_mm.engine.settings import Settings
from tests.helpers.models import classification_batch, tiny_classifier


class Lines(list):
    """A logger."""

    def info(self, line):
        self.append(line)

    warning = info


def logged(seconds, draws, per_draw, **options):
    """Lines of evaluations that take so many seconds each."""
    lines, now = Lines(), SimpleNamespace(time=0.0)
    total = draws * per_draw
    log = ScoringLog(total, lines, clock=lambda: now.time, **options)
    for step in range(total):
        now.time += seconds / 3  # the loss
        log(step // per_draw, 1.0)
        now.time += seconds * 2 / 3  # its gradient
    return lines


def test_time_is_told_after_the_first_evaluation_and_each_draw():
    lines = logged(12, draws=8, per_draw=28)
    assert len(lines) > 8
    assert lines[0] == 'scoring: draw 0, step 1 of 224, loss 1.0000'
    assert lines[1].endswith(
        'step 2 of 224, loss 1.0000, at least 45 min left'
    )
    (begun,) = [line for line in lines if 'draw 1, step 29 ' in line]
    assert begun.endswith('about 39 min left')
    assert lines[-1].startswith('scoring: draw 7, step 224 of 224')
    assert 'left' not in lines[-1]


def test_a_minute_does_not_pass_without_a_line():
    lines = logged(25, draws=1, per_draw=28)
    steps = [int(re.search(r'step (\d+)', line)[1]) for line in lines]
    assert max(b - a for a, b in zip(steps, steps[1:])) <= 3


def test_beside_a_bar_the_log_has_the_time_alone():
    lines = logged(12, draws=8, per_draw=28, sparse=True)
    assert [line.split('loss')[0] for line in lines] == [
        'scoring: draw 0, step 2 of 224, ',
        'scoring: draw 1, step 29 of 224, ',
    ]


@pytest.mark.parametrize('terminal', [False, True])
def test_the_number_is_told_before_anything_is_scored(terminal, monkeypatch):
    monkeypatch.setattr('sys.stderr.isatty', lambda: terminal)
    lines = Lines()
    with scoring_progress(6, lines, ' (draws=6)') as advance:
        assert lines == [
            'scoring: 6 evaluations of the loss to come (draws=6)'
        ]
        for draw in range(6):
            advance(draw, 0.5)
    assert any(line.startswith('scoring: draw 1, step 2') for line in lines)


@pytest.mark.parametrize(
    'options, words',
    [
        (
            dict(draws=2, batches_per_step=3),
            '30 evaluations of the loss to come (draws=2 x 5 of '
            'ProsPr(steps=2) x batches_per_step=3; takes less time with '
            "less of these, first_order=True, criterion='SNIP')",
        ),
        (
            dict(criterion='SNIP', draws=1),
            'scoring: 1 evaluation of the loss to come (takes less time '
            'with less images a batch)',
        ),
        (
            dict(
                criterion=dict(
                    type='ProsPr', steps=1, lr=1e-3, first_order=True
                ),
                draws=1,
            ),
            '(2 of ProsPr(steps=1); takes less time with less of these, crit',
        ),
        (
            dict(criterion='GraSP', draws=1),
            '(2 of GraSP; takes less time with less of these, crit',
        ),
        (
            dict(criterion='FORCE', batches_per_step=2),
            '120 evaluations of the loss to come (60 rounds x '
            'batches_per_step=2; takes less time with less of these, crit',
        ),
    ],
)
def test_the_factors_are_named(options, words):
    lines = Lines()
    criterion = dict(type='ProsPr', steps=2, lr=1e-3)
    settings = Settings.build(
        **{'criterion': criterion, 'sparsity': 0.5, 'seed': 0, **options}
    )
    batches = [classification_batch(seed=t) for t in range(9)]
    torch.manual_seed(0)
    score_model(tiny_classifier(), lambda draw: batches, settings, lines)
    (line,) = [line for line in lines if 'of the loss to come' in line]
    assert words in line
