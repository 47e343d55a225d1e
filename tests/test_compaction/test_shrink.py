"""A network that is cut is the one with zeros, in all that it does."""

import copy

import pytest
import torch

from epsd_mm.compaction import shrink
from epsd_mm.families import channel_groups
from epsd_mm.pruning import Masks
from epsd_mm.structure import Channels, find_groups

from ..helpers.families import FAMILIES, double_batch
from ..helpers.models import tiny_classifier, to_float64
from ..helpers.narrowing import liven, random_units, with_zeros


def channels_without(groups, removed):
    kept = {
        n: torch.ones(g.units, dtype=torch.bool) for n, g in groups.items()
    }
    for name, units in removed.items():
        kept[name][units] = False
    return Channels(kept)


@pytest.fixture(scope='module', params=FAMILIES, ids=lambda b: b.__name__)
def pair(request):
    """A network with zeros, the same without, its groups, and what is gone."""
    model = to_float64(liven(request.param()))
    groups = channel_groups(model)
    removed = random_units(groups)
    zeros = with_zeros(model, groups, removed)
    narrow = copy.deepcopy(zeros)
    shrink(narrow, groups, channels_without(groups, removed))
    return zeros, narrow, groups, removed


def losses(model, batch):
    torch.manual_seed(0)
    found = model(**copy.deepcopy(batch), mode='loss')
    return model.parse_losses(found)[0]


@pytest.mark.parametrize('training', [False, True], ids=['eval', 'train'])
def test_losses_and_outputs_are_those_with_zeros(pair, training):
    zeros, narrow = (copy.deepcopy(m).train(training) for m in pair[:2])
    batch = double_batch(zeros)
    one, other = losses(zeros, batch), losses(narrow, batch)
    assert one.item() == pytest.approx(other.item(), rel=1e-9)
    images = batch['inputs']
    for a, b in zip(*(flat(m.extract_feat(images)) for m in (zeros, narrow))):
        if a.shape == b.shape:
            assert (a - b).abs().max() <= 1e-9 * a.abs().max()


def flat(nested):
    if isinstance(nested, torch.Tensor):
        return [nested]
    return [tensor for each in nested for tensor in flat(each)]


def test_ten_steps_of_training_are_the_same(pair):
    zeros, narrow = (copy.deepcopy(m).train() for m in pair[:2])
    groups, removed = pair[2:]
    before = copy.deepcopy(narrow.state_dict())
    optimizers = [
        torch.optim.SGD(m.parameters(), 1e-4, 0.9, weight_decay=1e-3)
        for m in (zeros, narrow)
    ]
    for step in range(10):
        batch = double_batch(zeros, seed=step)
        found = []
        for model, optimizer in zip((zeros, narrow), optimizers):
            loss = losses(model, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        keep_zero(zeros, groups, removed)
        assert found[0] == pytest.approx(found[1], rel=1e-9), step
    shrink(zeros, groups, channels_without(groups, removed))
    trained, moved = narrow.state_dict(), False
    for name, tensor in zeros.state_dict().items():
        assert torch.allclose(tensor, trained[name], 1e-9, 1e-9), name
        moved |= not torch.equal(tensor, before[name])
    assert moved


def keep_zero(model, groups, removed):
    for name, param in with_zeros(model, groups, removed).named_parameters():
        model.get_parameter(name).data.copy_(param.data)


@pytest.fixture
def classifier():
    model = tiny_classifier()
    return model, channel_groups(model)


def test_an_older_graph_that_somebody_holds_is_no_matter(classifier):
    model, groups = classifier
    model.backbone.conv1.weight.note = 'kept'
    held = model(torch.rand(1, 3, 8, 8), mode='tensor')[0].sum()
    shrink(model, groups, channels_without(groups, random_units(groups)))
    model(torch.rand(1, 3, 8, 8), mode='tensor')[0].sum().backward()
    for param in model.parameters():
        assert param.is_contiguous()
        assert param.grad is None or param.grad.shape == param.shape
    assert model.backbone.conv1.weight.note == 'kept'
    assert held.requires_grad


def test_a_parameter_that_is_shared_stays_shared(classifier):
    model, groups = classifier
    model.shared = torch.nn.Module()
    model.shared.weight = model.backbone.layer1[0].conv1.weight
    before = model.shared.weight.shape
    shrink(model, groups, channels_without(groups, random_units(groups)))
    assert model.shared.weight is model.backbone.layer1[0].conv1.weight
    assert model.shared.weight.shape != before


def test_a_group_of_which_nothing_is_kept_is_refused(classifier):
    model, groups = classifier
    before = copy.deepcopy(model.state_dict())
    name, group = next(iter(groups.items()))
    channels = channels_without(groups, {name: range(group.units)})
    with pytest.raises(ValueError, match=f'none of the 4 units of .{name}'):
        shrink(model, groups, channels)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[key])


def test_masks_of_weights_are_refused():
    model = torch.nn.Linear(2, 2)
    masks = Masks.ones_like(dict(model.named_parameters()))
    with pytest.raises(TypeError, match='Masks are no Channels.*structure='):
        shrink(model, None, masks)


def test_channels_of_another_network_are_refused(classifier):
    model, groups = classifier
    with pytest.raises(ValueError, match='do not fit the model'):
        shrink(model, groups, Channels(dict(other=torch.tensor([True]))))


def test_a_network_that_is_narrower_already_is_not_cut_again():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 4, 3)
    )
    groups = find_groups(model, torch.rand(1, 3, 8, 8))
    channels = channels_without(groups, {'0': [1, 5]})
    shrink(model, groups, channels)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match='0.weight .* has 6 .* not 8.*anew'):
        shrink(model, groups, channels)
    assert all(
        torch.equal(model.state_dict()[n], t) for n, t in before.items()
    )
