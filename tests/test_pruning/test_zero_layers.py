"""Layers that nothing ranks: refused with their cause, or left as they are."""

import copy

import pytest
import torch
from torch import nn

from epsd_mm.pruning import (
    FORCE,
    NM,
    NTKSAP,
    SNIP,
    Alone,
    Blocks,
    ByGlob,
    Global,
    GraSP,
    IterSNIP,
    Ledger,
    Magnitude,
    Masks,
    ModuleObjective,
    ProsPr,
    Rows,
    SynFlow,
    Uniform,
    prunable_parameters,
)
from epsd_mm.pruning.zero_layers import check_zero_layers, find_zero_layers
from tests.helpers.nets import cross_entropy
from tests.helpers.selections import find_masks

OFFSET, CUT, APART = 'offset.weight', 'cut.weight', 'apart.weight'
DEAD = [OFFSET, CUT, APART]


class HalfDead(nn.Module):
    """Two of its layers are ranked.

    One starts at zero and gets a gradient, as those that predict offsets;
    one is multiplied by zero, as a branch of a residual network; one takes
    no part, as a level that no object reaches.
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 8, 3)
        self.offset = nn.Conv2d(8, 8, 1)
        self.cut = nn.Conv2d(8, 8, 1)
        self.body = nn.Conv2d(8, 4, 3, bias=False)
        self.head = nn.Linear(4, 3)
        self.apart = nn.Linear(4, 4)
        nn.init.zeros_(self.offset.weight)

    def forward(self, x):
        x = self.stem(x).relu()
        x = x + self.offset(x) + 0 * self.cut(x)
        return self.head(self.body(x).relu().mean(dim=(2, 3)))


def batches(draw):
    while True:
        yield torch.randn(6, 2, 6, 6), torch.randint(0, 3, (6,))


def search(criterion, model=None, exclude=None, **options):
    torch.manual_seed(0)
    model = model or HalfDead()
    return find_masks(
        ModuleObjective(model, cross_entropy),
        criterion,
        dict(model.named_parameters()),
        Masks.ones_like(prunable_parameters(model, exclude=exclude)),
        batches,
        **dict(sparsity=0.6, allow_empty_layers=True) | options,
    )


@pytest.mark.parametrize(
    'criterion',
    [
        SNIP(),
        ProsPr(steps=2),
        ProsPr(steps=1, first_order=True),
        SynFlow(4),
        IterSNIP(4),
        FORCE(4),
    ],
    ids=lambda criterion: type(criterion).__name__,
)
@pytest.mark.parametrize('draws', [1, 3])
def test_dense_is_as_if_these_layers_were_excluded(criterion, draws):
    if criterion.data_free and draws > 1:
        draws = 1
    found = search(criterion, draws=draws, zero_layers='dense')
    excluded = search(criterion, draws=draws, exclude=DEAD)
    assert found.masks == excluded.masks
    assert found.masks.kept == round(0.4 * (144 + 288 + 12))
    assert found.stability == excluded.stability
    assert found.ranked == excluded.ranked
    assert found.mass == excluded.mass
    assert found.left_dense == {OFFSET: 64, CUT: 64, APART: 16}
    assert excluded.left_dense == {}


def test_grasp_ranks_the_others_by_the_gradient_of_all():
    """What starts at zero has a part in it; what has no gradient does not."""
    options = dict(exclude=[OFFSET])
    found = search(GraSP(), zero_layers='dense', **options)
    assert found.left_dense == {CUT: 64, APART: 16}
    assert found.masks == search(GraSP(), exclude=DEAD).masks
    found = search(GraSP(), zero_layers='dense')
    assert found.left_dense == {OFFSET: 64, CUT: 64, APART: 16}
    assert found.masks.kept == round(0.4 * (144 + 288 + 12))


def test_magnitude_leaves_alone_what_starts_at_zero():
    found = search(Magnitude(), zero_layers='dense')
    assert found.left_dense == {OFFSET: 64}
    assert found.masks == search(Magnitude(), exclude=[OFFSET]).masks


def test_nothing_changes_where_every_layer_is_ranked():
    found = search(SNIP(), exclude=DEAD, zero_layers='dense')
    assert found.masks == search(SNIP(), exclude=DEAD).masks
    assert found.left_dense == {}


def refusal(criterion, **options):
    with pytest.raises(ValueError) as error:
        search(criterion, **options)
    return str(error.value)


def test_zero_weights_are_told_from_a_zero_gradient():
    message = refusal(SNIP(), exclude=[APART])
    assert 'exactly zero in 2 of 5 layers' in message
    assert f'The weights of {OFFSET} are all zero' in message
    assert f'The gradient of {CUT} is zero' in message
    assert 'zero_init_residual=False' in message
    assert 'zero_init_last=False in timm' in message
    assert 'zero_layers="dense"' in message and 'exclude=[' in message


class StartsAtZero(nn.Module):
    """A normalised branch and, if it is asked for, a classifier at zero."""

    def __init__(self, classifier=False):
        super().__init__()
        self.stem, self.branch = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 1)
        self.norm, self.head = nn.BatchNorm2d(4), nn.Linear(4, 3)
        nn.init.zeros_((self.head if classifier else self.norm).weight)

    def forward(self, x):
        x = self.stem(x).relu()
        return self.head((x + self.norm(self.branch(x))).mean(dim=(2, 3)))


@pytest.mark.parametrize(
    'criterion', [SNIP(), GraSP(), SynFlow(1), NTKSAP(1)], ids=type
)
def test_a_normalisation_that_starts_at_zero_is_named(criterion):
    message = refusal(criterion, model=StartsAtZero())
    assert 'The gradient of branch.weight is zero' in message
    assert 'What starts at zero is norm.weight of normalisation' in message
    assert '--cfg-options model.backbone.zero_init_residual=False' in message
    assert 'classifier' not in message and 'trained weights' not in message


def test_so_is_a_classifier_and_what_asks_for_trained_weights_says_so():
    model = StartsAtZero(classifier=True)
    params = dict(model.named_parameters())
    with pytest.raises(ValueError) as error:
        check_zero_layers(['neurons'], 'error', params, 1, trained=True)
    message = str(error.value)
    assert 'is head.weight, which cuts off all before it' in message
    assert 'zero_init' not in message
    assert 'made for trained weights: load them first' in message
    assert 'load_from' in message and 'weights_of' in message


def test_the_gradient_is_not_blamed_where_weights_start_at_zero():
    message = refusal(SNIP(), exclude=[CUT, APART])
    assert f'The weights of {OFFSET} are all zero' in message
    assert 'zero_init' not in message and 'The gradient of' not in message


def test_weights_are_not_blamed_where_the_gradient_is_zero():
    message = refusal(SNIP(), exclude=[OFFSET, APART])
    assert f'The gradient of {CUT} is zero' in message
    assert 'The weights of' not in message


def test_layers_that_are_not_reached_are_told_of_the_option():
    assert 'zero_layers="dense"' in refusal(SNIP(), exclude=[CUT, OFFSET])


@pytest.mark.parametrize('zero_layers', ['error', 'dense'])
def test_a_network_of_which_nothing_is_ranked_is_refused(zero_layers):
    model = HalfDead()
    nn.init.zeros_(model.head.weight)
    message = refusal(
        SNIP(), model=model, exclude=[APART], zero_layers=zero_layers
    )
    assert 'The weights of offset.weight, head.weight are' in message
    assert 'Nothing would be left to prune' in message
    assert 'To leave' not in message


def test_a_layer_that_an_earlier_round_cuts_off_stays_an_error():
    """It has lost weights by then, and is as good as any other."""

    class TwoWays(nn.Module):
        """Scores of 0.02, 0.002 and 1: the way out goes first."""

        def __init__(self):
            super().__init__()
            self.enter = nn.Linear(2, 1, bias=False)
            self.leave = nn.Linear(1, 20, bias=False)
            self.direct = nn.Linear(2, 20, bias=False)
            nn.init.constant_(self.enter.weight, 0.1)
            nn.init.constant_(self.leave.weight, 0.01)
            nn.init.ones_(self.direct.weight)

        def forward(self, x):
            return self.leave(self.enter(x)) + self.direct(x)

    model = TwoWays()
    with pytest.raises(ValueError, match='in round 2 .* 1 of 3 .*: enter'):
        find_masks(
            ModuleObjective(model, lambda model, x: model(x).sum()),
            IterSNIP(2, 'linear'),
            dict(model.named_parameters()),
            Masks.ones_like(prunable_parameters(model)),
            lambda draw: [torch.ones(1, 2)],
            sparsity=40 / 62,
            allow_empty_layers=True,
            zero_layers='dense',
        )


@pytest.mark.parametrize('criterion', [SNIP(), IterSNIP(3), FORCE(3)])
@pytest.mark.parametrize(
    'allocation',
    [
        ByGlob({'cut.*': 0.5}),
        ByGlob({'cut.*': 0.5, 'offset.*': 0.0}, min_density=0.1),
        ByGlob({'cut.*': 0.5, 'body.*': 0.75}),
        ByGlob({'*t.*': 0.5, 'body.*': 0.75}),
    ],
    ids=['one', 'all of them', 'one of two', 'some by a glob'],
)
def test_structures_of_names_may_speak_of_these_layers(criterion, allocation):
    masks = search(criterion, allocation=allocation, zero_layers='dense').masks
    assert set(masks) == {'stem.weight', 'body.weight', 'head.weight'}
    assert masks.kept == round(0.4 * masks.total)
    if 'body.*' in allocation.sparsities:
        assert int(masks['body.weight'].sum()) == 288 // 4


@pytest.mark.parametrize('criterion', [SNIP(), IterSNIP(3)])
def test_where_globs_settle_every_layer_each_keeps_its_own(criterion):
    """The sparsity of all together is what comes of them."""
    sparsities = {'stem.*': 0.5, 'body.*': 0.75, 'head.*': 0.25, '*': 1 / 8}
    total = 144 * 0.5 + 288 * 0.75 + 12 * 0.25 + 144 / 8
    masks = search(
        criterion,
        allocation=ByGlob(sparsities),
        sparsity=total / 588,
        zero_layers='dense',
    ).masks
    kept = {name: int(mask.sum()) for name, mask in masks.items()}
    assert kept == {'stem.weight': 72, 'body.weight': 72, 'head.weight': 9}


@pytest.mark.parametrize(
    'structure',
    [Rows(), Blocks(1, 2), NM(2, 4)],
    ids=lambda structure: type(structure).__name__,
)
def test_whatever_is_kept_together(structure):
    options = dict(sparsity=0.5, exclude=['stem.*'], zero_layers='dense')
    found = search(SNIP(), structure=structure, **options)
    assert found.left_dense.keys() == set(DEAD)
    masks = found.masks
    assert masks.total / 2 - 72 < masks.kept <= masks.total / 2


def test_the_others_keep_two_of_four_beside_a_dense_layer():
    """The fraction that 2:4 removes is that of the layers it is left with."""
    found = search(
        SNIP(),
        structure=NM(2, 4),
        allocation=Global(dense_first=True),
        sparsity=(588 - 144) / 2 / 588,
        zero_layers='dense',
    )
    assert found.masks['stem.weight'].all()
    for name in ('body.weight', 'head.weight'):
        assert found.masks[name].sum() == found.masks[name].numel() / 2


def test_a_last_layer_that_stays_dense_anyway_is_met():
    """It is not the turn of the one before."""
    allocation = Uniform(dense_last=True)
    found = search(SNIP(), allocation=allocation, zero_layers='dense')
    assert APART in found.left_dense
    assert not found.masks['head.weight'].all()
    assert allocation.dense_last


class Exchange(Alone):
    """Processes send what they are told is scored, and nothing else."""

    def collect(self, attempt, draws, prunable, into, after_draw):
        super().collect(attempt, draws, prunable, into, after_draw)
        assert into.scores.keys() == prunable.keys()


def test_processes_exchange_what_is_still_scored():
    options = dict(draws=2, zero_layers='dense')
    found = search(IterSNIP(3), team=Exchange(), **options)
    assert found.masks == search(IterSNIP(3), **options).masks


def test_a_search_goes_on_where_it_was():
    """Also after the round that has told which layers stay dense."""
    kept = []

    def keep(ledger):
        kept.append(copy.deepcopy(ledger.pack()))

    options = dict(draws=2, zero_layers='dense')
    whole = search(IterSNIP(3), keep=keep, **options)
    assert len(kept) == 6
    for packed in kept:
        found = search(IterSNIP(3), start=Ledger.unpack(packed), **options)
        assert found.masks == whole.masks
        assert found.left_dense == whole.left_dense
    later = Ledger.unpack(kept[-1])
    with pytest.raises(ValueError, match='zero in 3 of 6 layers'):
        search(IterSNIP(3), start=later, draws=2)


def test_what_an_error_has_made_known_is_not_scored_again():
    kept, evaluations = [], []

    def keep(ledger):
        kept.append(copy.deepcopy(ledger.pack()))

    options = dict(draws=2, exclude=[APART])
    with pytest.raises(ValueError, match='zero_layers="dense"'):
        search(SNIP(), keep=keep, **options)
    found = search(
        SNIP(),
        start=Ledger.unpack(kept[-1]),
        on_evaluation=lambda *draw: evaluations.append(draw),
        zero_layers='dense',
        **options,
    )
    assert not evaluations
    assert found.masks == search(SNIP(), draws=2, exclude=DEAD).masks


def test_an_unknown_choice_is_refused():
    with pytest.raises(ValueError, match="zero_layers='skip'.*'dense'"):
        search(SNIP(), zero_layers='skip')


def test_scores_of_which_one_is_not_zero_rank_a_layer():
    scores = dict(
        dead=torch.zeros(3),
        alive=torch.tensor([0.0, 1e-30]),
        negative=-torch.zeros(2),
    )
    masks = Masks.ones_like(scores)
    assert find_zero_layers(scores, masks) == ['dead', 'negative']
    params = dict(dead=torch.ones(3), negative=torch.ones(2))
    with pytest.raises(ValueError, match='2 of 3 layers') as error:
        check_zero_layers(['dead', 'negative'], 'error', params, 3)
    assert 'The gradient of dead, negative is' in str(error.value)


def test_a_layer_of_which_nothing_is_left_is_not_asked():
    gone = {'dead': torch.zeros(3, dtype=torch.bool)}
    assert find_zero_layers({'dead': torch.zeros(3)}, Masks(gone)) == []
