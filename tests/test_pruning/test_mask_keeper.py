"""What is pruned stays pruned."""

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from epsd_mm.pruning import MaskKeeper, Masks, prunable_parameters


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))


def half(model):
    return Masks(
        {
            name: torch.rand(p.shape) < 0.5
            for name, p in prunable_parameters(model).items()
        }
    )


def loss_of(model):
    return model(torch.randn(8, 6)).square().mean()


def revived(model, masks):
    params = dict(model.named_parameters())
    return sum(
        int(params[n][~mask].count_nonzero()) for n, mask in masks.items()
    )


OPTIMIZERS = {
    'sgd': lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    'nesterov': lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    'adamw': lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
}


def steps(model, wrapper, count):
    for _ in range(count):
        wrapper.update_params(loss_of(model))


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_momentum_and_weight_decay_revive_nothing(name):
    model = small_net()
    optimizer = OPTIMIZERS[name](model.parameters())
    wrapper = OptimWrapper(optimizer)
    # Momentum of the dense model would move weights for a long time.
    steps(model, wrapper, 3)
    masks = half(model)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    keeper = MaskKeeper(model, masks)
    keeper.watch(optimizer)
    for _ in range(5):
        steps(model, wrapper, 1)
        assert revived(model, masks) == 0
    for n, mask in masks.items():
        moved = dict(model.named_parameters())[n] != before[n]
        assert moved[mask].all()
    keeper.release()
    steps(model, wrapper, 1)
    assert revived(model, masks) > 0


def test_weights_are_masked_at_once_and_nothing_else_is():
    model = small_net()
    masks = half(model)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    tensors = {n: p for n, p in model.named_parameters()}
    keeper = MaskKeeper(model, masks)
    assert revived(model, masks) == 0
    after = model.state_dict()
    assert list(after) == list(before)
    for name, tensor in after.items():
        want = before[name]
        if name in masks:
            want = want * masks[name]
        assert torch.equal(tensor, want)
    assert all(tensors[n] is p for n, p in model.named_parameters())
    assert keeper.masks is masks


def test_gradients_accumulate_between_steps():
    model = small_net()
    masks = half(model)
    optimizer = OPTIMIZERS['sgd'](model.parameters())
    wrapper = OptimWrapper(optimizer, accumulative_counts=3)
    wrapper.initialize_count_status(model, 0, 9)
    keeper = MaskKeeper(model, masks)
    keeper.watch(optimizer)
    applied = []
    apply = keeper.apply
    keeper.apply = lambda: (applied.append(1), apply())
    weight = model[0].weight.detach().clone()
    steps(model, wrapper, 2)
    assert torch.equal(model[0].weight, weight) and not applied
    steps(model, wrapper, 7)
    assert not torch.equal(model[0].weight, weight)
    assert len(applied) == 3
    assert revived(model, masks) == 0


def test_several_optimisers():
    model = small_net()
    masks = half(model)
    wrappers = {
        str(i): OptimWrapper(OPTIMIZERS['sgd'](model[i].parameters()))
        for i in (0, 2)
    }
    keeper = MaskKeeper(model, masks)
    keeper.watch(*(w.optimizer for w in wrappers.values()))
    for _ in range(2):
        loss = loss_of(model)
        loss.backward()
        for wrapper in wrappers.values():
            wrapper.step()
            assert revived(model, masks) == 0
            wrapper.zero_grad()
    keeper.release()
    loss_of(model).backward()
    for wrapper in wrappers.values():
        wrapper.step()
    assert revived(model, masks) > 0


def test_measured_sparsity_is_that_of_the_weights_as_they_are():
    model = small_net()
    masks = half(model)
    keeper = MaskKeeper(model, masks)
    assert keeper.measured_sparsity() == pytest.approx(masks.sparsity)
    with torch.no_grad():
        model[0].weight.fill_(1)
    sizes = [p.numel() for p in prunable_parameters(model).values()]
    zeros = int((~masks['2.weight']).sum())
    assert keeper.measured_sparsity() == pytest.approx(zeros / sum(sizes))
    keeper.apply()
    assert keeper.measured_sparsity() == pytest.approx(masks.sparsity)


def test_only_covered_layers_are_masked():
    model = small_net()
    masks = Masks({'0.weight': torch.zeros(5, 6, dtype=torch.bool)})
    MaskKeeper(model, masks)
    assert not model[0].weight.any()
    assert model[2].weight.all()


def test_half_precision_weights_keep_their_type():
    model = small_net().bfloat16()
    masks = half(model)
    MaskKeeper(model, masks)
    assert model[0].weight.dtype == torch.bfloat16
    assert revived(model, masks) == 0


@pytest.mark.parametrize(
    'masks, said',
    [
        ({'0.weight': (1, 1)}, r'0.weight: mask \(1, 1\), weight \(5, 6\)'),
        ({'9.weight': (5, 6)}, '9.weight: no such weight'),
    ],
)
def test_masks_that_do_not_fit_are_refused(masks, said):
    model = small_net()
    before = model[0].weight.clone()
    masks = Masks({n: torch.zeros(s).bool() for n, s in masks.items()})
    with pytest.raises(ValueError, match=said):
        MaskKeeper(model, masks)
    assert torch.equal(model[0].weight, before)
