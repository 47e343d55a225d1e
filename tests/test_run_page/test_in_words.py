"""How far a run came is told from what it has left."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from epsd_mm.pruning import Masks
from epsd_mm.results import Log
from epsd_mm.run_page import RunFolder
from epsd_mm.run_page.in_words import config_in_short, in_short, state_of
from tests.helpers.reports import REPORT

EPOCHS = Config(dict(train_cfg=dict(by_epoch=True, max_epochs=3)))
ITERATIONS = Config(dict(train_cfg=dict(type='IterBased', max_iters=30)))
NOTHING = RunFolder(
    path=Path('run'),
    cfg=EPOCHS,
    log=None,
    report=None,
    masks=None,
    scores=False,
    tested={},
    checkpoint=None,
    exported={},
)
SCORE = 'accuracy/top1'


def lines(last, epoch=None):
    found = [dict(loss=1.0, time=0.5, iter=i) for i in range(5, last + 1, 5)]
    for line in found:
        if epoch is not None:
            line['epoch'] = epoch
    return found


def trained(last, epoch=None, evaluations=(), **changes):
    return replace(
        NOTHING, log=Log(lines(last, epoch), list(evaluations)), **changes
    )


def test_to_its_end_by_the_last_evaluation():
    run = trained(29, 3, [{SCORE: 50.0, 'step': 3}])
    assert state_of(run) == 'Trained to its end: 3 epochs.'


def test_to_its_end_by_the_last_checkpoint():
    run = trained(29, 3, checkpoint=Path('run/epoch_3.pth'))
    assert state_of(run) == 'Trained to its end: 3 epochs.'


def test_the_last_epoch_begun_is_not_the_end():
    run = trained(25, 3, [{SCORE: 50.0, 'step': 2}])
    run = replace(run, checkpoint=Path('run/epoch_2.pth'))
    said = state_of(run)
    assert said.startswith('Stopped in epoch 3, iteration 25 of 3 epochs')
    assert 'epoch_2.pth is the last checkpoint' in said


def test_iterations_where_a_training_counts_those():
    run = trained(30, cfg=ITERATIONS)
    assert state_of(run) == 'Trained to its end: 30 iterations.'
    said = state_of(trained(20, cfg=ITERATIONS))
    assert said.startswith('Stopped in iteration 20 of 30 iterations')
    assert 'No checkpoint' in said


def test_one_that_never_trained_says_how_far_it_came():
    assert 'while it scored' in state_of(replace(NOTHING, scores=True))
    assert state_of(replace(NOTHING, report=REPORT)).startswith('Pruned and')
    assert state_of(NOTHING).startswith('Not trained')


def rows(section):
    return {row[0]: row[1] for row in section.blocks[0].rows}


def test_the_last_evaluation_and_the_sparsity_come_first():
    evaluations = [{SCORE: 90.0, 'step': 1}, {SCORE: 50.0, 'step': 2}]
    run = trained(20, 2, evaluations, report=REPORT)
    shown = rows(in_short(run))
    assert shown[SCORE] == '50.00 % (epoch 2)'
    assert shown['weights removed'].startswith('50.00% of 4 prunable')
    assert shown['of all weights'] == '50.00% of 4'


def test_a_test_is_told_from_an_evaluation():
    run = trained(29, 3, tested={SCORE: 51.5, 'sparsity/all': 0.5})
    assert rows(in_short(run)) == {SCORE: '51.50 % (test)'}


#: 3 of 4 weights are gone, where the report of a start knows 2 of them.
IN_FORCE = Masks({'a.weight': torch.tensor([True, False, False, False])})


def changing(policy):
    hook = dict(type='EPSDHook', sparsity=0.75, policy=policy)
    return Config(dict(default_hooks=dict(epsd=hook)))


@pytest.mark.parametrize('policy', ['Gradual', dict(type='Gradual', every=9)])
def test_masks_that_a_policy_changes_are_those_in_force(policy):
    cfg = changing(policy)
    run = replace(NOTHING, cfg=cfg, report=REPORT, masks=IN_FORCE)
    shown = rows(in_short(run))
    said = '75.00% of 4 prunable ones, 1 are left, by policy Gradual'
    assert shown['weights removed'] == said
    assert shown['of all weights'] == '75.00% of 4'
    shown = rows(in_short(replace(run, report=None)))
    assert shown == {'weights removed': said}


@pytest.mark.parametrize('policy', [None, 'Fixed', dict(type='Fixed')])
def test_masks_that_stay_are_those_of_the_report(policy):
    run = replace(NOTHING, cfg=changing(policy), report=REPORT, masks=IN_FORCE)
    said = '50.00% of 4 prunable ones, 2 are left'
    assert rows(in_short(run))['weights removed'] == said
    said = '75.00% of 4 prunable ones, 1 are left, by given masks'
    given = replace(run, report=None)
    assert rows(in_short(given)) == {'weights removed': said}


@pytest.mark.parametrize(
    'hooks',
    [
        dict(default_hooks=dict(epsd=dict(type='EPSDHook', sparsity=0.9))),
        dict(custom_hooks=[dict(type='EPSDHook', sparsity=0.9)]),
    ],
)
def test_the_hook_is_part_of_the_config_in_short(hooks):
    cfg = Config(
        dict(
            model=dict(type='RetinaNet', backbone=dict(type='ResNet')),
            randomness=dict(seed=7),
            **hooks,
        )
    )
    shown = rows(config_in_short(replace(NOTHING, cfg=cfg)))
    assert shown['model'] == 'RetinaNet' and shown['seed'] == '7'
    assert shown['EPSDHook: sparsity'] == '0.9'


@pytest.mark.parametrize(
    'randomness, said',
    [
        (dict(seed=0), '0'),
        (dict(seed=None), 'drawn at random, see the log'),
        (None, 'drawn at random, see the log'),
    ],
)
def test_a_seed_that_no_config_says_is_not_made_up(randomness, said):
    cfg = Config(dict(model=dict(type='SSD'), randomness=randomness))
    assert rows(config_in_short(replace(NOTHING, cfg=cfg)))['seed'] == said


def test_a_compact_network_is_named_by_what_it_is():
    cfg = Config(dict(model=dict(type='Compact', of='SSD', channels={})))
    shown = rows(config_in_short(replace(NOTHING, cfg=cfg)))
    assert shown['model'].startswith('SSD, without the channels')
