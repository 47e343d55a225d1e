"""A term that is too small to matter is told of, once."""

import copy
import logging
from dataclasses import replace

import pytest
import torch
from mmengine.logging import MMLogger

from epsd_mm.distillation import CSKDLoss, DLBLoss, PSKDLoss
from epsd_mm.engine import pulse
from epsd_mm.engine.pulse import Pulse, faint
from epsd_mm.engine.scoring_job import score_model
from epsd_mm.engine.settings import Settings
from tests.helpers.detectors import lively, pictures
from tests.helpers.families import tiny_rtmdet, tiny_yolox
from tests.helpers.models import tiny_atss, tiny_fcos, tiny_retinanet
from tests.helpers.queries import tiny_dino
from tests.helpers.taps import attached

SOME, NONE = torch.tensor([False, True]), torch.tensor([False, False])
TASK = torch.tensor(2.0)


@pytest.fixture
def warnings():
    """What is warned of, as text."""
    said = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield said
    logger.removeHandler(handler)


def see(shares, found=SOME, loss=None):
    watched = Pulse(loss or CSKDLoss(loss_weight=2.0))
    for share in shares:
        watched.see(share * TASK, TASK, found)
    return watched


def test_fifty_steps_below_a_thousandth_are_told_once(warnings):
    watched = see([1e-6] * 49)
    assert not warnings and not watched.settled
    watched.see(4e-6 * TASK, TASK, SOME)
    watched.see(1e-6 * TASK, TASK, SOME)
    (said,) = warnings
    assert watched.settled
    assert 'CSKDLoss is dead so far: in 50 steps' in said
    assert '4.0e-06 of the other losses' in said
    # A factor of 1e-3 / 4e-6 on a weight of 2.
    assert 'loss_weight=2 (to 5e+02' in said


@pytest.mark.parametrize('share', [1e-3, -0.5, float('nan')])
def test_one_step_that_is_large_enough_settles_it(share, warnings):
    assert see([1e-9] * 20 + [1.01 * share]).settled
    assert not warnings


def test_steps_without_another_prediction_do_not_count(warnings):
    assert not see([0.0] * 200, NONE).settled
    assert not warnings


def test_a_term_that_stays_zero_cannot_be_weighted_up(warnings):
    see([0.0] * 50)
    (said,) = warnings
    assert 'whether the predictions can differ' in said
    assert 'loss_weight' not in said


def test_a_task_without_a_loss_is_no_reason_to_speak(warnings):
    watched = Pulse(CSKDLoss())
    watched.see(torch.tensor(0.1), torch.tensor(0.0), SOME)
    assert watched.settled and not warnings


def train(model, tap, batch, steps):
    for _ in range(steps):
        data = model.data_preprocessor(copy.deepcopy(batch), True)
        model(**data, mode='loss')
        tap.learn()


PAIRS = tuple(f'{i}.jpg' for i in range(4))


def test_cs_kd_of_a_retinanet_that_knows_nothing_is_dead(
    monkeypatch, warnings
):
    """Its predictions are alike, whatever they are of."""
    monkeypatch.setattr(pulse, 'STEPS', 3)
    model = tiny_retinanet()
    batch = pictures(tiny_retinanet, PAIRS, labels=(0, 1, 2))
    train(model, attached(model, CSKDLoss()), batch, 5)
    (said,) = warnings
    assert 'CSKDLoss is dead so far: in 3 steps' in said
    assert 'loss_sd in the log' in said


def test_cs_kd_of_one_that_tells_its_classes_apart_is_alive(
    monkeypatch, warnings
):
    monkeypatch.setattr(pulse, 'STEPS', 3)
    model = lively(tiny_retinanet)
    batch = pictures(tiny_retinanet, PAIRS, labels=(0, 1, 2))
    train(model, attached(model, CSKDLoss()), batch, 5)
    assert not warnings


def test_ps_kd_is_judged_by_what_it_grows_to(monkeypatch, warnings):
    """In the second of 300 epochs α is a hundredth of its last value."""
    monkeypatch.setattr(pulse, 'STEPS', 2)
    model = lively(tiny_retinanet)
    tap = attached(model, PSKDLoss())
    tap.progress = 1e-9
    batch = pictures(tiny_retinanet)
    train(model, tap, batch, 1)
    torch.nn.init.normal_(model.backbone.conv1.weight)
    train(model, tap, batch, 3)
    assert not warnings


def scored(task=1.0, sd=1.0):
    return Settings.build(
        sparsity=0.5,
        criterion='SNIP',
        sd_loss='CSKDLoss',
        score_weights=dict(task=task, sd=sd),
        allow_empty_layers=True,
        seed=0,
    )


def test_a_term_without_a_part_in_the_scores_is_told_of():
    steps = [dict(task=2.0, sd=1e-6), dict(task=2.0, sd=-4e-6)]
    assert 'CSKDLoss came to 2.0e-06' in faint(steps, scored())
    assert faint([*steps, dict(task=2.0, sd=0.01)], scored()) is None


def test_weights_of_the_scoring_count():
    steps = [dict(task=2.0, sd=1e-4)]
    assert faint(steps, scored())
    assert faint(steps, scored(sd=100.0)) is None
    # Alone it is all there is.
    assert faint(steps, scored(task=0.0)) is None
    assert faint([dict(task=2.0)], scored(sd=0.0)) is None


def test_a_retinanet_that_is_scored_says_so(warnings):
    settings = replace(scored(), draws=1)
    batch = pictures(tiny_retinanet, PAIRS, labels=(0, 1, 2))
    logger = MMLogger.get_current_instance()
    score_model(tiny_retinanet(), lambda draw: [batch], settings, logger)
    assert any('CSKDLoss came to' in said for said in warnings)


@pytest.mark.parametrize('method', [CSKDLoss, PSKDLoss, DLBLoss])
@pytest.mark.parametrize(
    'build', [tiny_fcos, tiny_atss, tiny_rtmdet, tiny_yolox, tiny_dino]
)
def test_each_loss_is_alive_on_each_kind_of_head(build, method, warnings):
    model = lively(build)
    tap = attached(model, method())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    batch = pictures(build, PAIRS, labels=(0, 1, 2))
    for _ in range(pulse.STEPS):
        if tap._pulse.settled:
            break
        data = model.data_preprocessor(copy.deepcopy(batch), True)
        loss, _ = model.parse_losses(model(**data, mode='loss'))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        tap.learn()
    assert tap._pulse.settled and not warnings
