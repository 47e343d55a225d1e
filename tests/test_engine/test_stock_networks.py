"""Networks as mmdet ships them are scored, or told in one sentence why not."""

import copy

import pytest
import torch

from epsd_mm.engine.model_objective import ModelObjective
from epsd_mm.engine.scoring_job import no_trace, scoring_copy
from epsd_mm.pruning import (
    SNIP,
    Masks,
    ProsPr,
    meta_gradient,
    prunable_parameters,
    score,
)
from tests.helpers.models import detection_batch, to_float64, trainable
from tests.helpers.oracles import (
    by_plain_operators,
    call,
    relative_error,
    total,
    unrolled_gradient,
)
from tests.helpers.stock import STOCK, stock

# Weights that are standardised before they convolve are not prunable.
EXCLUDED = {'ConvWS': ['backbone.*', 'neck.*', '*.shared_convs.*']}


def batch(seed, dtype=torch.float32):
    return detection_batch(2, 96, seed=seed, labels=(0, 1, 2), dtype=dtype)


def scores_of(name, criterion):
    twin = scoring_copy(stock(name))
    prunable = prunable_parameters(twin, exclude=EXCLUDED.get(name))
    masks = Masks.ones_like(prunable)
    with no_trace(torch.device('cpu')):
        return score(
            ModelObjective(twin),
            criterion,
            trainable(twin),
            masks,
            lambda draw: [batch(2 * draw), batch(2 * draw + 1)],
        ).scores


@pytest.mark.parametrize('name', STOCK)
def test_a_stock_network_is_scored_by_snip(name):
    assert any(scores.any() for scores in scores_of(name, SNIP()).values())


@pytest.mark.parametrize('name', STOCK)
def test_a_stock_network_is_scored_by_prospr(name):
    assert scores_of(name, ProsPr(steps=1, lr=1e-4))


def test_the_walk_through_hard_sigmoids_is_the_unrolled_graph():
    """In the channel attention of RTMDet's backbone."""
    lr = 1e-3
    model = to_float64(scoring_copy(stock('RTMDet', strong_heads=True)))
    batches = [batch(t, torch.float64) for t in range(2)]
    oracle = by_plain_operators(copy.deepcopy(model))

    def at_step(t):
        def loss(theta):
            torch.manual_seed(t)
            data = oracle.data_preprocessor(copy.deepcopy(batches[t]), True)
            return total(call(oracle, theta, **data, mode='loss'))

        return loss

    def seeded():
        for t, one in enumerate(batches):
            torch.manual_seed(t)
            yield [copy.deepcopy(one)]

    want = unrolled_gradient([at_step(0), at_step(1)], trainable(oracle), lr)
    objective, params = ModelObjective(model), trainable(model)
    options = dict(steps=1, lr=lr)
    got = meta_gradient(objective, params, seeded(), **options).gradient
    assert relative_error(got, want) < 1e-9
    plain = meta_gradient(
        objective, params, seeded(), **options, first_order=True
    ).gradient
    assert relative_error(plain, want) > 0.1
