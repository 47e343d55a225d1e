"""The driver: draws, their seeds, and what it refuses."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from epsd_mm.pruning import (
    SNIP,
    Criterion,
    Magnitude,
    Masks,
    ModuleObjective,
    ProsPr,
    Random,
    Scoring,
    prunable_parameters,
    score,
)
from epsd_mm.pruning.scoring import draw_seed, score_mass


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.drop = nn.Dropout(0.5)
        self.second = nn.Linear(4, 2)
        self.aside = nn.Linear(2, 2)

    def forward(self, x):
        return self.second(self.drop(self.first(x).tanh()))


def loss(model, batch):
    return model(batch).square().mean()


def run(criterion, batches=None, model=None, exclude=('aside*',), **kwargs):
    if model is None:
        torch.manual_seed(1)
        model = Net()
    return score(
        ModuleObjective(model, loss),
        criterion,
        dict(model.named_parameters()),
        Masks.ones_like(prunable_parameters(model, exclude=exclude or None)),
        batches or (lambda draw: endless()),
        **kwargs,
    )


def endless():
    """Batches that depend on the generators alone."""
    while True:
        scale = random.random() + np.random.rand()
        yield torch.randn(5, 3) * scale


class Fixed(Criterion):
    """Another scale each draw, the draw told by the batch."""

    def __init__(self, table):
        self.table = table

    def scores(self, objective, params, masks, batches):
        (draw,) = next(batches)
        objective.note(told=draw)
        rows = self.table[draw]
        return {n: torch.tensor(rows[n]) for n in masks}


def test_an_exploding_draw_does_not_decide():
    model = nn.ModuleDict(dict(a=nn.Linear(2, 1), b=nn.Linear(1, 1)))
    table = [
        {'a.weight': [[1.0, 3.0]], 'b.weight': [[4.0]]},
        {'a.weight': [[6e9, 0.0]], 'b.weight': [[2e9]]},
    ]
    result = run(
        Fixed(table),
        lambda draw: [draw],
        model,
        exclude=(),
        draws=range(2),
    )
    assert result.scores['a.weight'].tolist() == [
        pytest.approx([1 / 8 + 6 / 8, 3 / 8])
    ]
    assert result.scores['b.weight'].tolist() == [
        pytest.approx([4 / 8 + 2 / 8])
    ]
    assert result.draws == [dict(told=0), dict(told=1)]


def test_draws_depend_on_seed_and_number_alone():
    def scores(*draws, seed=0):
        result = run(ProsPr(steps=2), draws=draws, seed=seed)
        return result.scores['first.weight']

    assert torch.equal(scores(3), scores(3))
    assert torch.allclose(scores(0, 1, 2), scores(2) + scores(1) + scores(0))
    assert not torch.allclose(scores(0), scores(1))
    assert not torch.allclose(scores(0), scores(0, seed=1))


def test_scores_do_not_depend_on_the_random_state():
    model = Net()
    results = []
    for seed in (5, 6):
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
        state = torch.get_rng_state()
        results.append(run(SNIP(), model=model).scores)
        assert torch.equal(torch.get_rng_state(), state)
    for name in results[0]:
        assert torch.equal(results[0][name], results[1][name])


def test_the_random_state_goes_back_after_an_error():
    model = Net()
    state = torch.get_rng_state()
    with pytest.raises(ValueError):
        run(
            SNIP(),
            lambda draw: [torch.randn(5, 3)],
            model,
            draws=[0, 1],
            batches_per_step=2,
        )
    assert torch.equal(torch.get_rng_state(), state)


def test_random_scores_are_seeded_too():
    one, again, other = (
        run(Random(), draws=[0], seed=seed).scores['first.weight']
        for seed in (5, 5, 6)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.parametrize('seed, draw', [(0, 1), (1, 0), (7, 3), (2**31, 0)])
def test_seeds_of_draws_are_distinct_and_in_range(seed, draw):
    assert 0 <= draw_seed(seed, draw) < 2**31
    assert draw_seed(seed, draw) != draw_seed(seed, draw + 1)
    assert draw_seed(seed, draw) != draw_seed(seed + 1, draw)


@pytest.mark.parametrize('given', [0, 3, 5])
def test_too_few_batches_are_an_error_with_numbers(given):
    data = [torch.randn(5, 3) for _ in range(given)]
    with pytest.raises(ValueError) as error:
        run(
            ProsPr(steps=2),
            lambda draw: data,
            draws=[4],
            batches_per_step=2,
        )
    assert (
        f'draw 4 needs 6 batches (3 steps of 2), but the data ended after '
        f'{given}'
    ) in str(error.value)


def test_batches_per_step_are_averaged():
    data = [torch.randn(5, 3) for _ in range(4)]
    model = Net().eval()
    together = run(SNIP(), lambda draw: data, model, batches_per_step=4)
    joint = run(SNIP(), lambda draw: [torch.cat(data)], model)
    for name in together.scores:
        assert torch.allclose(
            together.scores[name], joint.scores[name], atol=1e-7
        )


def test_criteria_without_data_ask_for_none():
    def batches(draw):
        raise AssertionError('asked')
        yield

    result = run(Magnitude(), batches)
    assert sum(s.sum() for s in result.scores.values()) == pytest.approx(1)


def test_every_evaluation_is_told():
    told = []
    result = run(
        ProsPr(steps=2),
        draws=[0, 1],
        batches_per_step=3,
        on_evaluation=lambda draw, value: told.append((draw, value)),
    )
    criterion = ProsPr(steps=2)
    assert [draw for draw, _ in told] == [0] * 15 + [1] * 15
    assert criterion.evaluations * 3 == 15
    recorded = [value for _, value in told[:9]]
    losses = result.draws[0]['losses']
    for step in range(3):
        mean = sum(recorded[3 * step : 3 * step + 3]) / 3
        assert losses[step] == pytest.approx(mean)
    assert result.draws[0]['growth'] > 0


def test_notes_of_a_draw():
    result = run(SNIP(), draws=[0, 1, 2])
    assert [list(notes) for notes in result.draws] == [['losses']] * 3


def test_weights_that_the_objective_does_not_reach_are_named():
    with pytest.raises(ValueError, match='1 of 3 .*: aside.weight.*exclude'):
        run(SNIP(), exclude=())


def test_a_loss_that_is_not_finite_names_draw_and_step():
    def batches(draw):
        yield torch.randn(5, 3)
        yield torch.full((5, 3), float('inf' if draw == 2 else 1))

    with pytest.raises(
        FloatingPointError, match='draw 2: inner step 1: the loss is nan.*lr'
    ):
        run(ProsPr(steps=1), batches, draws=range(4))


def test_a_gradient_that_is_not_finite_names_draw_step_and_layer():
    class Root(Net):
        def forward(self, x):
            return self.first(x) + (self.second.weight * x[0, 0]).sum().sqrt()

    model = Root()
    nn.init.zeros_(model.second.weight)
    with pytest.raises(
        FloatingPointError, match=r"draw 1: inner step 0: .*'second.weight'"
    ):
        run(ProsPr(steps=1), None, model, draws=[1])


def test_a_score_that_is_not_finite_names_draw_and_layer():
    table = [{'a.weight': [[1.0, float('nan')]], 'b.weight': [[4.0]]}]
    model = nn.ModuleDict(dict(a=nn.Linear(2, 1), b=nn.Linear(1, 1)))
    with pytest.raises(FloatingPointError, match="draw 0: .*'a.weight'"):
        run(Fixed(table), lambda draw: [draw], model, exclude=())


def test_a_draw_of_zeros_adds_nothing():
    result = Scoring()
    result.add(0, dict(a=torch.zeros(2)), {})
    result.add(1, dict(a=torch.tensor([1.0, 3.0])), {})
    assert result.scores['a'].tolist() == [0.25, 0.75]


class Wrong(Criterion):
    """Scores as ``change`` makes them."""

    steps_per_draw = 0

    def __init__(self, change):
        self.change = change

    def scores(self, objective, params, masks, batches):
        return self.change({n: params[n].detach().abs() for n in masks})


@pytest.mark.parametrize(
    'change, words',
    [
        (lambda s: s | {'first.bias': torch.ones(4)}, "'first.bias'"),
        (lambda s: s | {'first.weight': torch.ones(2, 2)}, r'\(2, 2\)'),
        (lambda s: s | {'first.weight': -torch.ones(4, 3)}, 'below zero'),
    ],
)
def test_scores_of_other_weights_shapes_or_signs_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        run(Wrong(change))


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda s: None, r'Wrong.scores\(\) must return a dict .* NoneType'),
        (
            lambda s: {n: t.numpy() for n, t in s.items()},
            "must return tensors, got ndarray for 'first.weight'",
        ),
    ],
)
@pytest.mark.parametrize('zero', [False, True])
def test_scores_that_are_no_tensors_by_name_are_refused(change, words, zero):
    with pytest.raises(TypeError, match=words):
        run(Wrong(change), unreached_is_zero=zero)


def test_a_loss_of_another_model_is_named_as_the_cause():
    model, other = Net(), Net()
    objective = ModuleObjective(model, lambda model, batch: loss(other, batch))
    with pytest.raises(ValueError, match='call the model that it is') as error:
        score(
            objective,
            SNIP(),
            dict(model.named_parameters()),
            Masks.ones_like(prunable_parameters(model)),
            lambda draw: endless(),
        )
    assert 'score_weights' not in str(error.value)


def test_one_batch_is_counted_in_the_singular():
    with pytest.raises(ValueError, match=r'needs 1 batch \(1 step of 1\)'):
        run(SNIP(), lambda draw: [])


def test_score_mass_is_the_share_in_the_sum_of_sizes():
    scores = dict(a=torch.tensor([1.0, -2.0, 3.0]), b=torch.tensor([[4.0]]))
    kept = dict(a=[True, True, False], b=[[False]])
    masks = Masks({name: torch.tensor(mask) for name, mask in kept.items()})
    assert score_mass(scores, masks) == dict(
        a=dict(mass=0.6, mass_kept=pytest.approx(0.3)),
        b=dict(mass=0.4, mass_kept=0.0),
    )
