"""Channels of a plain module, from Python."""

import pytest
import torch

from epsd_mm import MaskKeeper, prune
from epsd_mm.pruning import (
    SNIP,
    ModuleObjective,
    ProsPr,
    Uniform,
    prunable_parameters,
)
from epsd_mm.structure import (
    Channels,
    Groups,
    Units,
    UnitScores,
    find_groups,
)
from tests.helpers.nets import cross_entropy
from tests.helpers.units import Branches, branches_groups


def pictures(count):
    """Batches of eight pictures of two channels, and labels."""
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(8, 2, 6, 6, generator=generator),
            torch.randint(0, 3, (8,), generator=generator),
        )
        for _ in range(count)
    ]


def test_channels_of_a_plain_module():
    model, groups = Branches(16, 24), branches_groups(16, 24)
    batches = pictures(2)
    params = dict(model.named_parameters())
    every = Channels.all_of(groups)
    scores = UnitScores(ProsPr(1, 0.01), groups).scores(
        ModuleObjective(model, cross_entropy),
        params,
        every,
        iter([b] for b in batches),
    )
    weights = prunable_parameters(model)
    want = Units().budget(groups, weights, 0.5, Uniform()).select(scores)
    channels = prune(
        model,
        batches,
        sparsity=0.5,
        criterion=dict(type='ProsPr', steps=1, lr=0.01),
        loss=cross_entropy,
        structure='channels',
        groups=groups,
        allocation='uniform',
        draws=1,
    )
    assert type(channels) is Channels and channels == want != every
    masks = channels.masks(groups, params)
    for name, mask in masks.items():
        assert not params[name][~mask].any()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    MaskKeeper(model, masks).watch(optimizer)
    for batch in batches:
        optimizer.zero_grad()
        cross_entropy(model, batch).backward()
        optimizer.step()
    assert not model.norm1.bias[~channels['one']].any()
    assert model.norm1.bias[channels['one']].all()


@pytest.mark.parametrize(
    'options, error, words',
    [
        (dict(structure='channels'), TypeError, 'needs groups='),
        (dict(groups=branches_groups()), TypeError, 'remove groups'),
        (
            dict(
                structure=dict(type='channels', of='multiply_adds'),
                groups=branches_groups(),
            ),
            ValueError,
            "of='multiply_adds' counts",
        ),
    ],
)
def test_groups_are_for_channels_of_a_plain_module(options, error, words):
    with pytest.raises(error, match=words):
        prune(
            Branches(),
            pictures(1),
            sparsity=0.2,
            loss=cross_entropy,
            **options,
        )


class Alone(torch.nn.Sequential):
    """One layer, whose outputs are those of the network."""

    def __init__(self):
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(72, 3))


@pytest.mark.parametrize(
    ('model', 'example', 'named'),
    [
        (Alone(), torch.rand(1, 2, 6, 6), '1'),
        (torch.nn.Linear(8, 4), torch.rand(1, 8), 'the model'),
    ],
)
@pytest.mark.parametrize('structure', ['channels', 'neurons'])
def test_why_no_channel_may_go_is_said(model, example, named, structure):
    groups = find_groups(model, example)
    why = f'its outputs are those of the network: {named}[.)]'
    with pytest.raises(ValueError, match=why):
        prune(
            model,
            sparsity=0.5,
            criterion='Magnitude',
            structure=structure,
            groups=groups,
        )


@pytest.mark.parametrize(
    ('groups', 'error', 'words'),
    [
        ([1], TypeError, 'groups must be Groups, got list.*find_groups'),
        (branches_groups(8, 12), ValueError, 'do not fit Linear'),
        (Groups([]), ValueError, 'the groups are empty'),
    ],
)
def test_what_are_no_groups_of_the_model_is_refused(groups, error, words):
    with pytest.raises(error, match=words):
        prune(
            torch.nn.Linear(8, 4),
            sparsity=0.5,
            criterion='Magnitude',
            structure='channels',
            groups=groups,
        )


class Nothing(SNIP):
    """Forgets to return what it has computed."""

    def products(self, objective, params, masks, batches):
        super().products(objective, params, masks, batches)


@pytest.mark.parametrize('scores', ['gate', 'mean', 'members'])
def test_a_criterion_that_returns_nothing_is_named(scores):
    with pytest.raises(TypeError, match=r'Nothing.products\(\) must return'):
        prune(
            Branches(16, 24),
            pictures(1),
            sparsity=0.5,
            criterion=Nothing(),
            loss=cross_entropy,
            structure=Units(scores=scores),
            groups=branches_groups(16, 24),
            draws=1,
        )
