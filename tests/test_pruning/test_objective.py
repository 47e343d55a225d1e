"""Losses of plain modules, replayed exactly."""

import dataclasses
import random

import numpy as np
import pytest
import torch
from torch import nn

from epsd_mm.pruning import ModuleObjective
from epsd_mm.pruning.objective import (
    RandomState,
    preserved_randomness,
    seed_everything,
)


def draw():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_random_state_goes_back():
    state = RandomState.capture()
    first = draw()
    assert draw() != first
    state.restore()
    assert draw() == first


@pytest.mark.parametrize('there, want', [(0, []), (1, [0]), (3, [0, 1])])
def test_states_of_other_devices_than_there_are_do_no_harm(
    there, want, monkeypatch
):
    """A run may go on where there are fewer GPUs, or more."""
    state = dataclasses.replace(
        RandomState.capture(), cuda=[torch.zeros(16, dtype=torch.uint8)] * 2
    )
    restored = []
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: there)
    for module in (torch.cuda, torch.cuda.random):
        monkeypatch.setattr(
            module, 'set_rng_state', lambda _, device: restored.append(device)
        )
    state.restore()
    assert restored == want


def test_randomness_is_preserved_when_something_raises():
    state = RandomState.capture()
    want = draw()
    state.restore()
    with pytest.raises(KeyError), preserved_randomness():
        draw()
        raise KeyError
    assert draw() == want


def test_a_seed_is_that_of_every_generator():
    seed_everything(2**31 + 5)
    first = draw()
    seed_everything(2**31 + 5)
    assert draw() == first
    seed_everything(6)
    assert not any(a == b for a, b in zip(draw(), first))


class Noisy(nn.Module):
    """Uses each generator, and writes into a buffer."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer('count', torch.zeros(()))

    def forward(self, batch):
        self.count += 1
        noise = draw()
        return (self.weight * batch).sum() * sum(noise) + self.count


def loss(model, batch):
    return model(batch)


def test_a_step_replays_at_other_weights():
    model = Noisy()
    objective = ModuleObjective(model, loss)
    zero = {'weight': torch.zeros(3)}
    one = {'weight': torch.ones(3)}
    two = {'weight': 2 * torch.ones(3)}
    first, step = objective.record(one, torch.arange(3.0))
    state = RandomState.capture()
    draw()
    assert float(objective(one, step)) == float(first) == step.loss
    offset = float(objective(zero, step))
    assert offset == 1
    assert float(objective(two, step)) - 1 == pytest.approx(
        2 * (float(first) - 1)
    )
    state.restore()
    want = draw()
    state.restore()
    objective(one, step)
    assert draw() == want
    assert model.count == 0


def test_recording_moves_the_generators_on():
    objective = ModuleObjective(Noisy(), loss)
    params = {'weight': torch.ones(3)}
    values = {objective.record(params, torch.ones(3))[1].loss for _ in '123'}
    assert len(values) == 3


def test_gradient_is_that_of_the_weights_given():
    model = nn.Linear(3, 1, bias=False)
    objective = ModuleObjective(model, lambda m, b: m(b).square().sum())
    weight = torch.ones(1, 3, requires_grad=True)
    batch = torch.tensor([[1.0, 2.0, 3.0]])
    loss, _ = objective.record({'weight': weight}, batch)
    (gradient,) = torch.autograd.grad(loss, weight)
    assert torch.equal(gradient, 12 * batch)
    assert model.weight.grad is None


@pytest.mark.parametrize(
    'wrong, said', [(lambda m, b: m(b), r'\[2, 1\]'), (lambda m, b: 3, 'int')]
)
def test_a_loss_that_is_no_scalar(wrong, said):
    objective = ModuleObjective(nn.Linear(3, 1), wrong)
    params = dict(objective._closure.model.named_parameters())
    with pytest.raises(TypeError, match=f'must return a scalar.*{said}'):
        objective.record(params, torch.ones(2, 3))


def test_a_scalar_may_have_one_entry():
    objective = ModuleObjective(nn.Linear(3, 1), lambda m, b: m(b))
    params = dict(objective._closure.model.named_parameters())
    loss, _ = objective.record(params, torch.ones(1, 3))
    assert loss.shape == ()
