"""What a model remembers does not reach the next evaluation."""

import random
from collections import deque

import numpy as np
import pytest
import torch
from torch import nn

from epsd_mm.engine.model_objective import ModelObjective
from epsd_mm.engine.module_state import ModuleState
from epsd_mm.engine.scoring_job import scoring_copy
from epsd_mm.pruning import Masks, ProsPr, prunable_parameters, score
from tests.helpers.models import (
    classification_batch,
    detection_batch,
    tiny_classifier,
    trainable,
)
from tests.helpers.stock import stock


class Sampler:
    """As mmdet's are: no module, with attributes of its own."""

    def __init__(self):
        self.threshold = 0.5
        self.history = [1.0]
        self.window = deque([1, 2], maxlen=2)
        self.counts = dict(a=1, b=2)
        self.seen = {1}
        self.average = torch.zeros(3)
        self.table = np.zeros(3)
        self.rngs = [
            np.random.RandomState(0),
            np.random.default_rng(0),
            random.Random(0),
            torch.Generator().manual_seed(0),
        ]

    def draw(self):
        numpy, new_numpy, python, generator = self.rngs
        return [
            float(numpy.rand()),
            float(new_numpy.random()),
            python.random(),
            float(torch.rand((), generator=generator)),
        ]

    def values(self):
        return [
            self.threshold,
            list(self.history),
            list(self.window),
            list(self.counts.items()),
            set(self.seen),
            self.average.tolist(),
            self.table.tolist(),
            sorted(vars(self)),
        ]

    def move(self):
        self.threshold += 1
        self.history.append(2.0)
        self.window.append(3)
        self.counts.pop('a')
        self.counts['a'] = 5
        self.seen.add(2)
        self.average += 1
        self.table += 1
        self.late = 1
        self.draw()


class Holder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.BatchNorm1d(3)
        self.hidden = [nn.BatchNorm1d(3)]
        self.parts = dict(sampler=(Sampler(),))
        self.steps = 0

    @property
    def sampler(self):
        return self.parts['sampler'][0]


def test_everything_on_the_python_side_is_put_back():
    model = Holder()
    state, sampler = ModuleState(model), model.sampler
    before, weight = sampler.values(), model.layer.weight
    for _ in range(2):
        sampler.move()
        model.steps += 1
        model.fresh = 'new'
        model.parts['other'] = []
        model.hidden[0](torch.rand(4, 3))
        state.restore()
        assert sampler.values() == before
        assert model.steps == 0 and not hasattr(model, 'fresh')
        assert list(model.parts) == ['sampler']
        assert not model.hidden[0].running_mean.any()
        drawn = sampler.draw()
        state.restore()
        assert sampler.draw() == drawn
        state.restore()
    assert model.layer.weight is weight


def test_weights_buffers_hooks_and_the_process_stay_as_they_are():
    model = Holder()
    model.parts['stock'] = np.random.mtrand._rand
    state = ModuleState(model)
    model.layer.weight.data += 1
    model.layer.running_mean += 1
    model.layer.register_forward_hook(lambda *unused: None)
    np.random.seed(5)
    want = np.random.RandomState(5).rand()
    state.restore()
    assert np.random.rand() == want
    assert (model.layer.weight == 2).all() and model.layer._forward_hooks
    assert (model.layer.running_mean == 1).all()


class Drifting(nn.Module):
    """A loss that weighs later forward passes more."""

    def __init__(self, loss):
        super().__init__()
        self.loss, self.passes = loss, []

    def forward(self, *args, **kwargs):
        self.passes.append(1)
        return self.loss(*args, **kwargs) * len(self.passes)


def drifting():
    model = tiny_classifier()
    model.head.loss_module = Drifting(model.head.loss_module)
    return model, lambda seed: classification_batch(seed=seed)


class Following(nn.Module):
    """A loss with a frozen weight that each forward pass moves.

    So the target networks of BYOL and MoCo follow those that are trained.
    """

    def __init__(self, loss):
        super().__init__()
        self.loss = loss
        self.slow = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, *args, **kwargs):
        self.slow.lerp_(torch.ones(1), 0.5)
        return self.loss(*args, **kwargs) * float(1 + self.slow)


def following():
    model = tiny_classifier()
    model.head.loss_module = Following(model.head.loss_module)
    return model, lambda seed: classification_batch(seed=seed)


def dynamic():
    """Its thresholds move every so many forward passes."""
    model = stock('Dynamic R-CNN')
    model.roi_head.train_cfg.dynamic_rcnn.update_iter_interval = 2
    return model, lambda seed: detection_batch(seed=seed, labels=(0, 1, 2))


def libra():
    """Its samplers hold a generator."""
    model = stock('Libra R-CNN')
    return model, lambda seed: detection_batch(seed=seed, labels=(0, 1, 2))


@pytest.mark.parametrize('build', [drifting, following, dynamic, libra])
def test_draws_do_not_depend_on_those_before(build):
    """Or a mask would depend on the number of processes."""
    model, batch = build()

    def scores(draws):
        twin = scoring_copy(model)
        return score(
            ModelObjective(twin),
            ProsPr(steps=1, lr=1e-4),
            trainable(twin),
            Masks.ones_like(prunable_parameters(twin)),
            lambda draw: [batch(10 * draw + t) for t in range(2)],
            draws=draws,
        )

    alone, after = scores([3]), scores([0, 1, 3])
    assert after.draws[-1] == alone.draws[0]
    assert all(
        torch.equal(after.odd[n], alone.odd[n] + first)
        for n, first in scores([1]).odd.items()
    )


@pytest.mark.parametrize('build', [drifting, following, dynamic])
def test_one_objective_leaves_no_state_to_the_next(build):
    """As that of the plain loss, which the masks are compared with."""
    model, batch = build()
    twin = scoring_copy(model)
    values = []
    for _ in range(2):
        objective = ModelObjective(twin)
        for seed in range(3):
            torch.manual_seed(seed)
            values.append(float(objective.record({}, batch(seed))[0]))
    assert values[:3] == values[3:]
