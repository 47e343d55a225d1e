"""Rounds of scoring and selecting, whoever makes the draws."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn

from epsd_mm.pruning import (
    ERK,
    FORCE,
    NM,
    NTKSAP,
    SNIP,
    Alone,
    Blocks,
    ByGlob,
    Criterion,
    Global,
    GraSP,
    IterSNIP,
    Magnitude,
    Masks,
    ModuleObjective,
    ProsPr,
    Random,
    Rows,
    Schedule,
    Scoring,
    SynFlow,
    Uniform,
    prunable_parameters,
)
from tests.helpers.nets import Net, cross_entropy
from tests.helpers.oracles import best, normalised_sum
from tests.helpers.selections import find_masks

CRITERIA = [
    Random(),
    Magnitude(),
    SNIP(),
    GraSP(),
    SynFlow(3),
    ProsPr(steps=1),
    IterSNIP(3),
    FORCE(3),
    NTKSAP(2, samples=1),
]
IDS = [type(criterion).__name__ for criterion in CRITERIA]
every_criterion = pytest.mark.parametrize('criterion', CRITERIA, ids=IDS)


def drawn_batches(draw):
    """Batches that depend on the generators, all three of them."""
    while True:
        scale = 0.5 + random.random() + np.random.rand()
        yield torch.randn(6, 2, 6, 6) * scale, torch.randint(0, 3, (6,))


def search(criterion, model=None, batches=drawn_batches, **options):
    model = model or Net()
    exclude = options.pop('exclude', None)
    return find_masks(
        ModuleObjective(model, cross_entropy),
        criterion,
        dict(model.named_parameters()),
        Masks.ones_like(prunable_parameters(model, exclude=exclude)),
        batches,
        **{'sparsity': 0.6, 'allow_empty_layers': True} | options,
    )


@every_criterion
@pytest.mark.parametrize('sparsity', [0.013, 0.5, 0.9, 0.987])
def test_the_right_number_is_kept(criterion, sparsity):
    model = Net()
    total = 6 * 2 * 9 + 5 * 6 * 9 + 3 * 5
    found = search(criterion, model, sparsity=sparsity)
    assert found.masks.total == total
    assert found.masks.kept == round((1 - sparsity) * total)
    assert list(found.masks) == ['stem.weight', 'body.weight', 'head.weight']


@every_criterion
def test_ignored_layers_are_ignored(criterion):
    found = search(criterion, exclude=['stem.*'], sparsity=0.75)
    assert list(found.masks) == ['body.weight', 'head.weight']
    assert found.masks.total == 5 * 6 * 9 + 3 * 5
    assert found.masks.kept == round(0.25 * found.masks.total)


@every_criterion
@pytest.mark.parametrize(
    'allocation, sparsity, removed',
    [
        (Uniform(), 0.7, dict(stem=75.6, body=189, head=10.5)),
        (ERK(), 0.7, {}),
        (Global(min_density=0.2), 0.7, {}),
        (Uniform(dense_first=True), 0.7, dict(stem=0)),
        (ByGlob({'head.*': 0.0}), 0.7, dict(head=0)),
        (
            ByGlob({'head.*': 0.2, 'body.*': 0.9}),
            0.7,
            dict(head=3, body=243),
        ),
        (
            ByGlob({'head.*': 0.2, '*': 0.75}),
            286.5 / 393,
            dict(head=3, body=202.5, stem=81),
        ),
    ],
    ids=['uniform', 'erk', 'floor', 'dense', 'kept', 'two', 'all'],
)
def test_rounds_end_at_the_density_of_each_layer(
    criterion, allocation, sparsity, removed
):
    """And go there by densities that the layers can have."""
    found = search(criterion, allocation=allocation, sparsity=sparsity)
    assert found.masks.kept == round((1 - sparsity) * 393)
    layers = found.masks.layers()
    for name, count in removed.items():
        layer = layers[f'{name}.weight']
        assert abs(layer['total'] - layer['kept'] - count) < 1
    for layer in layers.values():
        assert layer['density'] >= allocation.min_density


@pytest.mark.parametrize('build', [SynFlow, IterSNIP, FORCE])
def test_whole_channels_in_rounds(build):
    model = nn.Sequential(nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    found = find_masks(
        ModuleObjective(model, lambda model, x: model(x).square().mean()),
        build(4),
        dict(model.named_parameters()),
        Masks.ones_like(prunable_parameters(model)),
        lambda draw: [torch.randn(3, 2, 6, 6)],
        sparsity=0.5,
        structure=Rows(),
    )
    total = 8 * 18 + 4 * 72
    assert total / 2 - 72 < found.masks.kept <= total / 2
    for mask in found.masks.values():
        channels = mask.flatten(1)
        assert torch.equal(channels.all(dim=1), channels.any(dim=1))


@pytest.mark.parametrize('build', [SynFlow, IterSNIP, FORCE])
def test_groups_come_down_in_rounds(build):
    """First three of four, then two; never fewer."""
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))

    def run(rounds):
        return find_masks(
            ModuleObjective(model, lambda model, x: model(x).square().mean()),
            build(rounds),
            dict(model.named_parameters()),
            Masks.ones_like(prunable_parameters(model)),
            lambda draw: [torch.randn(3, 8)],
            sparsity=0.5,
            structure=NM(2, 4),
        )

    for rounds in (1, 4, 9):
        masks = run(rounds).masks
        for mask in masks.values():
            assert (mask.view(-1, 4).sum(dim=1) == 2).all()


@every_criterion
def test_nothing_of_the_model_or_the_world_changes(criterion):
    model = Net().train()
    model.norm.eval()
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    before = copy.deepcopy(model.state_dict())
    gradients = [p.grad.clone() for p in model.parameters()]
    weights = list(model.parameters())
    modes = [module.training for module in model.modules()]
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    search(criterion, model, draws=2)
    assert random.getstate() == states[0]
    assert all(
        np.array_equal(a, b) for a, b in zip(np.random.get_state(), states[1])
    )
    assert torch.equal(torch.get_rng_state(), states[2])
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    for p, same, gradient in zip(model.parameters(), weights, gradients):
        assert p is same and p.requires_grad
        assert torch.equal(p.grad, gradient)
    assert [module.training for module in model.modules()] == modes


class Counting(Net):
    """Counts its forward passes in a buffer of integers."""

    def __init__(self):
        super().__init__()
        self.register_buffer('passes', torch.zeros((), dtype=torch.long))

    def forward(self, x):
        self.passes += 1
        return super().forward(x)


@every_criterion
def test_buffers_of_integers_stay_as_they_are(criterion):
    model = Counting()
    search(criterion, model)
    assert model.passes == 0


@every_criterion
def test_masks_depend_on_the_seed_and_not_on_the_random_state(criterion):
    model = Net()
    first = search(criterion, model, seed=4).masks
    torch.rand(5), random.random()
    assert search(criterion, model, seed=4).masks == first
    if not isinstance(criterion, (Magnitude, SynFlow)):
        assert search(criterion, model, seed=5).masks != first
        assert search(criterion, model, seed=4, repetition=1).masks != first


class Kept(Scoring):
    """Keeps draws instead of adding them up."""

    def __init__(self, kept):
        super().__init__()
        self.kept = kept

    def take(self, draw, share, notes):
        self.kept[draw] = share, notes


class Divided(Alone):
    """W processes, one after the other: rank k makes the draws k, k + W, …

    Args:
        size: W.
        order: In which the processes come to their turn.
    """

    def __init__(self, size, order=None):
        self.size = size
        self.order = order or range(size)
        self.rank = 0

    def own(self, draws):
        return draws[self.rank :: self.size]

    def collect(self, attempt, draws, prunable, into, after_draw):
        kept = {}
        for rank in self.order:
            self.rank = rank
            attempt(Kept(kept), self.own(draws))
        assert sorted(kept) == list(draws)
        for draw in draws:
            into.take(draw, *kept[draw])
            after_draw()


def same(found, other):
    """Also in what is reported of them."""
    assert found.masks == other.masks
    assert found.stability == other.stability
    assert found.ranked == other.ranked
    assert len(found.draws) == len(other.draws)


@every_criterion
@pytest.mark.parametrize('draws', [1, 3, 4])
def test_the_same_masks_on_any_number_of_processes(criterion, draws):
    model = Net()
    alone = search(criterion, model, draws=draws)
    for team in (
        Divided(1),
        Divided(2),
        Divided(3, (2, 0, 1)),
        Divided(4, (1, 3, 2, 0)),
    ):
        same(search(criterion, model, draws=draws, team=team), alone)


class Table(Criterion):
    """Scores from a list with an entry a draw; the batch tells the draw."""

    def __init__(self, table, rounds=1, regrow=False):
        self.table = table
        self.schedule = Schedule(rounds, 'linear')
        self.regrow = regrow
        self.seen = []

    def scores(self, objective, params, masks, batches):
        (draw,) = next(batches)
        self.seen.append(masks)
        rows = self.table[draw]
        return {n: torch.tensor(rows[n], dtype=torch.float64) for n in masks}


def by_table(table, rounds=1, regrow=False, **options):
    """Search over the names and lengths of a table."""
    shapes = {name: torch.Size([len(row)]) for name, row in table[0].items()}
    return find_masks(
        None,
        Table(table, rounds, regrow),
        {},
        Masks({n: torch.ones(s, dtype=torch.bool) for n, s in shapes.items()}),
        lambda draw: [draw],
        **{'sparsity': 0.5, 'allow_empty_layers': True} | options,
    )


def drawn_table(seed, largest=4, draws=4):
    """Scores of every magnitude, some of them equal."""
    generator = random.Random(seed)

    def row():
        return [
            generator.randint(1, largest) * 2.0 ** generator.randint(-60, 60)
            for _ in range(4)
        ]

    return [{'a': row(), 'b': row()} for _ in range(draws)]


@pytest.mark.parametrize('seed', range(25))
def test_the_same_masks_whatever_the_magnitudes(seed):
    table = drawn_table(seed)
    order = random.Random(seed).sample(range(4), 4)
    alone = by_table(table, draws=4)
    same(by_table(table, draws=4, team=Divided(2, (1, 0))), alone)
    same(by_table(table, draws=4, team=Divided(3)), alone)
    same(by_table(table, draws=4, team=Divided(4, order)), alone)


def test_the_order_of_the_sum_does_not_settle_a_near_tie():
    """½ + 2⁻⁵⁴ + 2⁻²⁵ + 2⁻⁵⁴ lies beside the middle of two float32.

    In this order float64 loses both small terms, and ½ is what is left in
    float32; with the small terms added first it is the next number.
    """
    a = [2.0**-1, 2.0**-54, 2.0**-25, 2.0**-54]
    b = [2.0**-2, 2.0**-3, 2.0**-4, 2.0**-4]
    table = [
        {'a': [y], 'b': [x], 'rest': [1 - x - y, 0.0]} for x, y in zip(a, b)
    ]
    assert all(sum(map(sum, rows.values())) == 1 for rows in table)
    alone = by_table(table, draws=4)
    for size in (2, 4):
        same(by_table(table, draws=4, team=Divided(size)), alone)


def overlap_of_halves(table, keep):
    rows = [{n: torch.tensor(r) for n, r in d.items()} for d in table]
    halves = []
    for half in (rows[0::2], rows[1::2]):
        scores = normalised_sum(half)
        halves.append(Masks(best(scores, keep)))
    even, odd = halves
    return (even & odd).kept / keep


@pytest.mark.parametrize('seed', range(25))
def test_stability_is_the_overlap_of_even_and_odd_draws(seed):
    table = drawn_table(seed)
    found = by_table(table, draws=4)
    assert found.stability == overlap_of_halves(table, 4)


def test_stability_where_one_half_is_far_larger_than_the_other():
    """The odd scores of a would be lost in a difference of float64."""
    even = {'a': [1.0, 1.0, 1.0, 1.0], 'b': [0.1, 0.1, 2.0, 3.0]}
    odd = {'a': [1e-12, 2e-12, 3e-12, 4e-12], 'b': [0.0, 0.0, 1.0, 1.0]}
    found = by_table([even, odd], draws=2)
    assert overlap_of_halves([even, odd], 4) == 0.5
    assert found.stability == 0.5


def test_stability_of_figures():
    """Even draws want 0 and 1, odd draws 1 and 2: a half is shared."""
    even, odd = [5.0, 4.0, 1.0, 0.5], [0.1, 0.4, 0.4, 0.2]
    table = [{'a': row} for row in (even, odd, even, odd)]
    assert by_table(table, draws=4).stability == 0.5
    assert by_table(table, draws=2).stability == 0.5
    assert by_table([{'a': even}] * 3, draws=3).stability == 1.0
    assert by_table(table, draws=1).stability is None


def test_stability_is_that_of_the_last_round():
    row, other = [3.0, 2.0, 1.0, 0.5], [0.1, 0.2, 3.0, 4.0]
    table = [{'a': r} for r in (row, other, row, row)]
    found = by_table(table, rounds=2, regrow=True, draws=2)
    assert found.stability == 1.0
    assert found.masks['a'].tolist() == [True, True, False, False]


def test_each_round_makes_draws_of_its_own():
    asked = []

    def batches(draw):
        asked.append(draw)
        return drawn_batches(draw)

    found = search(IterSNIP(3), batches=batches, draws=2)
    assert asked == [0, 1, 2, 3, 4, 5]
    assert len(found.draws) == 6
    asked.clear()
    search(IterSNIP(3), batches=batches, draws=2, repetition=1)
    assert asked == [6, 7, 8, 9, 10, 11]


def followed(build):
    """A criterion that keeps the masks that each round begins with."""

    class Followed(build):
        def scores(self, objective, params, masks, batches):
            trail.append(masks)
            return super().scores(objective, params, masks, batches)

    trail = []
    return Followed, trail


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('kind', ['exponential', 'linear'])
@pytest.mark.parametrize('build', [SynFlow, IterSNIP, FORCE, NTKSAP])
def test_what_was_pruned_stays_pruned_but_for_force(build, kind, seed):
    torch.manual_seed(seed)
    criterion, trail = followed(build)
    found = search(criterion(5, kind), sparsity=0.8, seed=seed)
    trail.append(found.masks)
    kept = [masks.kept for masks in trail]
    assert kept == sorted(set(kept), reverse=True)
    densities = Schedule(5, kind).sparsities(0.8)
    assert kept[1:] == [round((1 - s) * kept[0]) for s in densities]
    stays = all(
        (after & before) == after for before, after in zip(trail, trail[1:])
    )
    assert stays == (build is not FORCE)


@pytest.mark.parametrize('seed', range(15))
def test_nothing_comes_back_whatever_scores_say(seed):
    """Also where a criterion gives removed weights the highest scores."""
    table, trail = drawn_table(seed, largest=1), []
    sparsity = random.Random(seed).uniform(0.3, 0.9)
    for rounds in range(1, 5):
        part = sparsity * rounds / 4
        trail.append(by_table(table, rounds, sparsity=part).masks)
    for before, after in zip(trail, trail[1:]):
        assert (after & before) == after


def test_a_weight_may_come_back_where_the_criterion_says_so():
    table = [{'a': [1.0, 2.0, 3.0, 4.0]}, {'a': [9.0, 1.0, 2.0, 3.0]}]
    first = by_table(table[:1], sparsity=0.25).masks['a']
    assert first.tolist() == [False, True, True, True]
    again = by_table(table, 2, regrow=True).masks['a']
    assert again.tolist() == [True, False, False, True]
    never = by_table(table, 2).masks['a']
    assert never.tolist() == [False, False, True, True]


def test_a_layer_may_be_empty_on_the_way_where_weights_come_back():
    """Only what is left at the end is refused."""
    table = [
        {'a': [1.0], 'b': [2.0, 3.0, 4.0]},
        {'a': [9.0], 'b': [1.0, 2.0, 3.0]},
    ]
    found = by_table(table, 2, regrow=True, allow_empty_layers=False)
    assert found.masks['a'].tolist() == [True]
    assert found.masks['b'].tolist() == [False, False, True]


def test_a_layer_that_dies_in_a_later_round_is_named():
    alive = {'a': [1.0, 2.0, 3.0], 'b': [2.0, 1.0, 3.0]}
    dead = {'a': [1.0, 2.0, 3.0], 'b': [0.0, -0.0, 0.0]}
    assert by_table([alive] * 3, 3).masks.kept == 3
    with pytest.raises(ValueError, match='exactly zero in 1 of 2 .*: b[.]'):
        by_table([alive, alive, dead], 3)


class Branch(nn.Module):
    """A path of two layers beside a direct one, linear all of it."""

    def __init__(self):
        super().__init__()
        self.enter = nn.Linear(2, 1, bias=False)
        self.leave = nn.Linear(1, 20, bias=False)
        self.direct = nn.Linear(2, 20, bias=False)
        for layer, value in ((self.enter, 0.1), (self.leave, 0.01)):
            nn.init.constant_(layer.weight, value)
        nn.init.ones_(self.direct.weight)

    def forward(self, x):
        return self.leave(self.enter(x)) + self.direct(x)


def test_a_branch_that_a_round_cuts_off_is_named():
    """Scores are 0.02, 0.002 and 1; the first 20 to go are the way out."""
    model = Branch()

    def run(sparsity):
        return find_masks(
            ModuleObjective(model, lambda model, x: model(x).sum()),
            IterSNIP(2, 'linear'),
            dict(model.named_parameters()),
            Masks.ones_like(prunable_parameters(model)),
            lambda draw: [torch.ones(1, 2)],
            sparsity=sparsity,
            allow_empty_layers=True,
        )

    with pytest.raises(ValueError, match='in 1 of 3 layers: enter.weight[.]'):
        run(40 / 62)
    assert run(19 / 62).masks['enter.weight'].all()


def test_a_layer_that_is_empty_may_score_zero():
    table = [
        {'a': [1.0, 2.0], 'b': [3.0, 4.0]},
        {'a': [0.0, 0.0], 'b': [3.0, 4.0]},
    ]
    found = by_table(table, 2, sparsity=0.75)
    assert found.masks.empty_layers() == ['a']
    assert found.masks['b'].tolist() == [False, True]
    assert found.ranked == 2


def test_layers_that_would_be_emptied_are_named():
    model = Net()
    model.stem.weight.data *= 1e-3
    model.head.weight.data *= 1e-3
    options = dict(sparsity=0.5, allow_empty_layers=False)
    with pytest.raises(ValueError) as error:
        search(Magnitude(), model, **options)
    message = str(error.value)
    assert 'nothing of 2 of 3 layers: stem.weight, head.weight.' in message
    assert 'sparsity=0.5 ' in message and 'allow_empty_layers' in message
    found = search(Magnitude(), model, sparsity=0.5)
    assert found.masks.empty_layers() == ['stem.weight', 'head.weight']


@pytest.mark.parametrize(
    'zero_layers, seen', [('error', 0), ('dense', 1)], ids=['told', 'may go']
)
def test_a_layer_without_a_share_is_named_before_anything_is_scored(
    zero_layers, seen
):
    """Unless it may be one that stays whole."""
    looked = []

    def batches(draw):
        looked.append(draw)
        return drawn_batches(draw)

    # Of 393 weights 13 are kept: 3.57 and 8.93, and of the head .496.
    options = dict(sparsity=380 / 393, allocation=Uniform(), batches=batches)
    options |= dict(zero_layers=zero_layers, allow_empty_layers=False)
    with pytest.raises(ValueError, match='nothing of 1 of 3 layers: head'):
        search(SNIP(), **options)
    assert len(looked) == seen


def test_ranked_is_the_number_of_scores_that_are_not_zero():
    table = [{'a': [1.0, 0.0, 0.0, 2.0], 'b': [0.0, 0.0, 5.0, -0.0]}]
    assert by_table(table, draws=1).ranked == 3


def test_what_the_criterion_notes_of_each_draw():
    found = search(IterSNIP(2), draws=3, team=Divided(2))
    assert [list(notes) for notes in found.draws] == [['losses']] * 6


@pytest.mark.parametrize('rounds', [3, 20, 100])
@pytest.mark.parametrize(
    'structure',
    [None, Rows(), Blocks(2, 4)],
    ids=['weights', 'rows', 'blocks'],
)
@pytest.mark.parametrize('seed', range(3))
def test_any_structure_comes_down_to_densities_of_layers(
    seed, structure, rounds
):
    """Whatever is reachable at once is reachable in rounds."""
    generator = torch.Generator().manual_seed(seed)
    shapes = dict(a=(16, 16), b=(16, 4, 3, 3), c=(8, 12), d=(4, 16))
    prunable = Masks(
        {n: torch.ones(s, dtype=torch.bool) for n, s in shapes.items()}
    )

    class Drawn(Criterion):
        schedule = Schedule(rounds)
        steps_per_draw = 0

        def scores(self, objective, params, masks, batches):
            return {
                n: torch.rand(s, generator=generator) * masks[n]
                for n, s in shapes.items()
            }

    masks = find_masks(
        None,
        Drawn(),
        {},
        prunable,
        lambda draw: (),
        sparsity=0.7,
        allocation=ByGlob({'a': 0.5, 'c': 0.8}),
        structure=structure,
        allow_empty_layers=True,
    ).masks
    unit = 36 if isinstance(structure, Rows) else 8 if structure else 1
    want = round(0.3 * prunable.total)
    assert want - unit < masks.kept <= want
    for name, sparsity in (('a', 0.5), ('c', 0.8)):
        layer = masks.layers()[name]
        off = layer['kept'] - (1 - sparsity) * layer['total']
        assert abs(off) <= (unit + 1) / 2 + 8


@pytest.mark.parametrize('regrow', [False, True])
def test_score_mass_is_that_of_the_last_round(regrow):
    first = dict(a=[8.0, 4.0, 0.0, 0.0], b=[4.0, 4.0, 0.0, 0.0])
    last = dict(a=[1.0, 3.0, 0.0, 0.0], b=[4.0, 0.0, 0.0, 2.0])
    found = by_table([first, last], rounds=2, regrow=regrow, sparsity=0.75)
    kept = {name: mask.tolist() for name, mask in found.masks.items()}
    assert kept == dict(
        a=[False, True, False, False], b=[True, False, False, False]
    )
    assert found.mass == dict(
        a=dict(mass=0.4, mass_kept=0.3),
        b=dict(mass=pytest.approx(0.6), mass_kept=0.4),
    )
