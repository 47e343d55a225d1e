"""What is pruned stays pruned, and takes part in nothing."""

import copy
import math
from collections import OrderedDict

import pytest
import torch
from mmengine.optim import OptimWrapper
from timm.optim import Lookahead as TimmLookahead
from timm.optim import RMSpropTF
from torch import nn
from torch.nn.utils import clip_grad_norm_

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


def kept_gradients(model, masks, loss_of):
    """Gradients at the masked weights, removed entries left out, float64."""
    twin = copy.deepcopy(model).double()
    params = dict(twin.named_parameters())
    with torch.no_grad():
        for name, mask in masks.items():
            params[name].copy_(
                torch.where(mask, params[name], torch.zeros(()).double())
            )
    gradients = torch.autograd.grad(loss_of(twin), list(params.values()))
    return {
        name: g[masks[name]] if name in masks else g.flatten()
        for name, g in zip(params, gradients)
    }


def norm_of(gradients):
    return math.sqrt(sum(float(g.square().sum()) for g in gradients.values()))


def fixed_loss(seed):
    """A loss of the network on one batch, in the network's precision."""
    inputs = torch.randn(
        8, 6, generator=torch.Generator().manual_seed(seed)
    ).double()

    def loss(model):
        dtype = next(model.parameters()).dtype
        return model(inputs.to(dtype)).square().mean()

    return loss


@pytest.mark.parametrize('accumulated', [1, 3])
def test_the_clipped_norm_is_that_of_the_kept_weights(accumulated):
    model = small_net()
    masks = half(model)
    optimizer = OPTIMIZERS['sgd'](model.parameters())
    MaskKeeper(model, masks).watch(optimizer)
    losses = [fixed_loss(seed) for seed in range(accumulated)]
    want = kept_gradients(
        model, masks, lambda net: sum(loss(net) for loss in losses)
    )
    for loss in losses:
        loss(model).backward()
    norm = clip_grad_norm_(model.parameters(), 1e-3)
    assert float(norm) == pytest.approx(norm_of(want), rel=1e-5)


def test_a_scaler_sees_the_kept_weights_alone():
    model = small_net()
    masks = half(model)
    optimizer = OPTIMIZERS['sgd'](model.parameters())
    MaskKeeper(model, masks).watch(optimizer)
    scaler = torch.amp.GradScaler('cpu', init_scale=1024.0)
    loss = fixed_loss(0)
    want = kept_gradients(model, masks, loss)
    scaler.scale(loss(model)).backward()
    scaler.unscale_(optimizer)
    norm = clip_grad_norm_(model.parameters(), 1e-3)
    assert float(norm) == pytest.approx(norm_of(want), rel=1e-5)
    scaler.step(optimizer)
    assert revived(model, masks) == 0


@pytest.mark.parametrize('steps_first', [True, False])
def test_steps_within_the_backward_pass_revive_nothing(steps_first):
    """As an optimiser that saves the memory of all gradients makes them."""
    model = small_net()
    masks = half(model)
    optimizers = {p: OPTIMIZERS['adamw']([p]) for p in model.parameters()}

    def step(param):
        optimizers[param].step()
        optimizers[param].zero_grad()

    def let_step():
        for param in model.parameters():
            param.register_post_accumulate_grad_hook(step)

    if steps_first:
        let_step()
    MaskKeeper(model, masks).watch(*optimizers.values())
    if not steps_first:
        let_step()
    before = model[0].weight.detach().clone()
    for _ in range(2):
        loss_of(model).backward()
        assert revived(model, masks) == 0
    moved = (model[0].weight != before)[masks['0.weight']]
    assert moved.all()
    for optimizer in optimizers.values():
        assert remembered(optimizer, model, masks) == {}


def test_release_gives_gradients_back():
    model = small_net()
    masks = half(model)
    keeper = MaskKeeper(model, masks)
    keeper.watch(OPTIMIZERS['sgd'](model.parameters()))
    keeper.release()
    loss_of(model).backward()
    assert model[2].weight.grad[~masks['2.weight']].count_nonzero() > 0


def batch_loss(model, seed):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(8, 6, generator=generator)
    return model(inputs).square().mean()


def test_collected_gradients_are_those_of_all_weights_over_all_batches():
    model = small_net()
    masks = half(model)
    optimizer = OPTIMIZERS['sgd'](model.parameters())
    keeper = MaskKeeper(model, masks)
    keeper.watch(optimizer)
    plain = copy.deepcopy(model)
    keeper.collect_gradients()
    for seed in (0, 1, 2):
        batch_loss(model, seed).backward()
        batch_loss(plain, seed).backward()
    collected = keeper.collected_gradients()
    assert collected.keys() == masks.keys()
    for name, weight in plain.named_parameters():
        if name in masks:
            torch.testing.assert_close(collected[name], weight.grad)
            own = dict(model.named_parameters())[name].grad
            assert not own[~masks[name]].any()
            torch.testing.assert_close(own, weight.grad * masks[name])
    batch_loss(model, 3).backward()
    assert keeper.collected_gradients() == {}


def test_collecting_again_begins_anew():
    model = small_net()
    keeper = MaskKeeper(model, half(model))
    keeper.watch(OPTIMIZERS['sgd'](model.parameters()))
    keeper.collect_gradients()
    (1e9 * batch_loss(model, 0)).backward()
    model.zero_grad()
    keeper.collect_gradients()
    batch_loss(model, 1).backward()
    assert keeper.collected_gradients()['2.weight'].abs().max() < 1e3


def test_gradients_are_not_collected_where_none_is_seen():
    model = small_net()
    with pytest.raises(RuntimeError, match='call watch'):
        MaskKeeper(model, half(model)).collect_gradients()


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_what_comes_back_starts_from_nothing(name):
    model = small_net()
    masks = half(model)
    optimizer = OPTIMIZERS[name](model.parameters())
    keeper = MaskKeeper(model, masks)
    keeper.watch(optimizer)
    average = copy.deepcopy(model)
    for parameter in average.parameters():
        parameter.data.fill_(1)  # of before anything went
    steps(model, OptimWrapper(optimizer), 3)
    other = Masks({n: ~mask for n, mask in masks.items()})
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    keeper.replace(other, [average])
    assert keeper.masks is other
    for n, p in model.named_parameters():
        if n in masks:
            assert not p.any()
            for value in optimizer.state[p].values():
                assert value.dim() == 0 or not value.any()
            assert not dict(average.named_parameters())[n].any()
        else:
            assert torch.equal(p, before[n])
            assert dict(average.named_parameters())[n].all()
    steps(model, OptimWrapper(optimizer), 1)
    assert revived(model, other) == 0
    weight = dict(model.named_parameters())['2.weight']
    assert weight[other['2.weight']].all()


BEGINNINGS = {
    'Adagrad': lambda p: torch.optim.Adagrad(
        p, 0.1, initial_accumulator_value=0.5
    ),
    'Rprop': lambda p: torch.optim.Rprop(p, 0.01),
    'RMSpropTF': lambda p: RMSpropTF(p, 0.1),
    'Lookahead': lambda p: TimmLookahead(RMSpropTF(p, 0.1), k=2),
}


@pytest.mark.parametrize('name', BEGINNINGS)
def test_what_comes_back_moves_as_in_a_first_step(name):
    """Of which the states of these optimisers are not zero."""
    model = small_net()
    masks = half(model)
    optimizer = BEGINNINGS[name](model.parameters())
    keeper = MaskKeeper(model, masks)
    keeper.watch(optimizer)
    steps(model, OptimWrapper(optimizer), 4)
    keeper.replace(Masks.ones_like(dict(masks)))
    fresh = copy.deepcopy(model)
    first = BEGINNINGS[name](fresh.parameters())
    for net, taking in ((model, optimizer), (fresh, first)):
        torch.manual_seed(7)
        steps(net, OptimWrapper(taking), 1)
    ours, theirs = (dict(net.named_parameters()) for net in (model, fresh))
    for n, mask in masks.items():
        expected = theirs[n][~mask]
        assert expected.any()
        assert torch.equal(ours[n][~mask], expected), n


def curved(model, x):
    return (model(x) - x[:, :3]).square().mean()


@pytest.mark.parametrize('search', [None, 'strong_wolfe'])
def test_the_history_of_lbfgs_begins_anew_where_weights_go(search):
    """It has all weights in a row, and steps along what it remembers."""
    model, x = small_net(), torch.randn(16, 6)
    optimizer = torch.optim.LBFGS(
        model.parameters(), lr=0.5, max_iter=4, line_search_fn=search
    )
    masks = half(model)
    keeper = MaskKeeper(model, Masks.ones_like(dict(masks)))
    keeper.watch(optimizer)
    seen = []

    def closure():
        optimizer.zero_grad()
        loss = curved(model, x)
        loss.backward()
        seen.append(revived(model, keeper.masks))
        return loss

    state = optimizer.state[model[0].weight]
    for _ in range(2):
        optimizer.step(closure)
    assert state['n_iter'] > 4
    keeper.replace(masks)
    assert not state
    for _ in range(3):
        optimizer.step(closure)
    assert state['n_iter'] > 8  # goes on where masks stay
    assert sum(seen) == 0 and len(seen) >= 20


def test_the_history_of_a_dense_training_is_no_history_of_a_pruned_one():
    model, x = small_net(), torch.randn(16, 6)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4)

    def closure():
        optimizer.zero_grad()
        loss = curved(model, x)
        loss.backward()
        return loss

    optimizer.step(closure)
    remembered_before = len(optimizer.state[model[0].weight])
    keeper = MaskKeeper(model, Masks.ones_like(dict(half(model))))
    keeper.watch(optimizer)  # removes nothing
    assert len(optimizer.state[model[0].weight]) == remembered_before > 0
    keeper.release()
    MaskKeeper(model, half(model)).watch(optimizer)
    assert not optimizer.state[model[0].weight]


def test_what_stays_keeps_all_that_is_known_of_it():
    model = small_net()
    optimizer = OPTIMIZERS['adamw'](model.parameters())
    masks = half(model)
    keeper = MaskKeeper(model, masks)
    keeper.watch(optimizer)
    steps(model, OptimWrapper(optimizer), 2)
    fewer = Masks(
        {n: m & (torch.rand(m.shape) < 0.5) for n, m in masks.items()}
    )
    weight = model[2].weight
    before = {
        name: value.clone()
        for name, value in optimizer.state[weight].items()
        if value.dim()
    }
    value = weight.detach().clone()
    keeper.replace(fewer)
    mask = fewer['2.weight']
    assert torch.equal(weight.detach(), value * mask)
    for name, state in before.items():
        assert torch.equal(optimizer.state[weight][name], state * mask)


def test_masks_of_other_weights_are_refused_and_change_nothing():
    model = small_net()
    masks = half(model)
    keeper = MaskKeeper(model, masks)
    for wrong in (
        masks.part('2', to='3'),
        Masks({'2.weight': masks['2.weight']}),
    ):
        with pytest.raises(ValueError, match='do not fit'):
            keeper.replace(wrong)
    assert keeper.masks is masks


def remembered(optimizer, model, masks):
    """How many removed entries the optimiser's state has, by its key."""
    params = dict(model.named_parameters())
    counts = {}
    for name, mask in masks.items():
        for key, value in optimizer.state[params[name]].items():
            if torch.is_tensor(value) and value.shape == mask.shape:
                count = int(value[~mask].count_nonzero())
                if count:
                    counts[key] = counts.get(key, 0) + count
    return counts


EVERY_OPTIMIZER = {
    'Adadelta': dict(weight_decay=0.1),
    'Adagrad': dict(initial_accumulator_value=0.1),
    'Adam': dict(amsgrad=True, weight_decay=0.1),
    'AdamW': dict(weight_decay=0.1),
    'Adamax': {},
    'ASGD': dict(t0=1),
    'NAdam': dict(weight_decay=0.1),
    'RAdam': {},
    'RMSprop': dict(centered=True, momentum=0.9),
    'Rprop': {},
    'SGD': dict(momentum=0.9, weight_decay=0.1),
}


@pytest.mark.parametrize('name', EVERY_OPTIMIZER)
def test_no_optimizer_remembers_a_removed_weight(name):
    model = small_net()
    optimizer = getattr(torch.optim, name)(
        model.parameters(), lr=0.01, **EVERY_OPTIMIZER[name]
    )
    wrapper = OptimWrapper(optimizer)
    steps(model, wrapper, 2)  # of the dense network
    masks = half(model)
    assert remembered(optimizer, model, masks)
    MaskKeeper(model, masks).watch(optimizer)
    assert remembered(optimizer, model, masks) == {}
    for _ in range(3):
        steps(model, wrapper, 1)
        assert remembered(optimizer, model, masks) == {}
        assert revived(model, masks) == 0


def test_the_state_of_a_dense_run_is_cleared_where_it_is_loaded():
    dense = small_net()
    trained = OPTIMIZERS['adamw'](dense.parameters())
    steps(dense, OptimWrapper(trained), 2)
    model = small_net()
    masks = half(model)
    optimizer = OPTIMIZERS['adamw'](model.parameters())
    MaskKeeper(model, masks).watch(optimizer)
    optimizer.load_state_dict(trained.state_dict())
    assert remembered(optimizer, model, masks) == {}
    saved = trained.state_dict()['state']
    loaded = optimizer.state_dict()['state']
    kept = masks['0.weight']
    assert torch.equal(loaded[0]['exp_avg'][kept], saved[0]['exp_avg'][kept])
    assert torch.equal(loaded[1]['exp_avg'], saved[1]['exp_avg'])


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_what_is_not_finite_does_not_survive(value, dtype):
    model = small_net().to(dtype)
    masks = half(model)
    keeper = MaskKeeper(model, masks)
    kept = model[0].weight.detach().clone()
    with torch.no_grad():
        model[0].weight[~masks['0.weight']] = value
    keeper.apply()
    assert torch.equal(model[0].weight, kept)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    keeper.watch(optimizer)
    poison = torch.where(masks['0.weight'], 1.0, value).to(dtype)
    (model[0].weight * poison).sum().backward()
    gradient = model[0].weight.grad
    assert torch.equal(gradient, masks['0.weight'].to(dtype))
    optimizer.step()
    assert model[0].weight.isfinite().all()


def test_zeros_are_positive_ones():
    model = small_net()
    masks = half(model)
    MaskKeeper(model, masks)
    removed = model[0].weight.detach()[~masks['0.weight']]
    assert not torch.signbit(removed).any()


def test_a_weight_that_thaws_later_is_kept_too():
    model = small_net()
    model[0].weight.requires_grad_(False)
    masks = half(small_net())
    optimizer = OPTIMIZERS['sgd'](model.parameters())
    MaskKeeper(model, masks).watch(optimizer)
    assert not model[0].weight.requires_grad
    model[0].weight.requires_grad_(True)
    loss_of(model).backward()
    gradient = model[0].weight.grad
    assert gradient[masks['0.weight']].count_nonzero() > 0
    assert gradient[~masks['0.weight']].count_nonzero() == 0


def test_a_model_may_change_its_precision_afterwards():
    model = small_net()
    masks = half(model)
    optimizer = OPTIMIZERS['sgd'](model.parameters())
    keeper = MaskKeeper(model, masks)
    keeper.watch(optimizer)
    model.double()
    model(torch.randn(8, 6).double()).square().mean().backward()
    optimizer.step()
    assert revived(model, masks) == 0


@pytest.mark.parametrize('layout', [torch.channels_last, None])
def test_kernels_in_any_memory_format(layout):
    torch.manual_seed(0)
    model = nn.Conv2d(4, 6, 3)
    masks = half(model)
    optimizer = OPTIMIZERS['sgd'](model.parameters())
    MaskKeeper(model, masks).watch(optimizer)
    if layout is not None:
        model.to(memory_format=layout)
    before = model.weight.detach().clone()
    model(torch.randn(2, 4, 8, 8)).square().mean().backward()
    optimizer.step()
    moved = model.weight != before
    assert torch.equal(moved, masks['weight'])
    assert revived(model, masks) == 0


def test_an_optimizer_of_other_weights_is_refused():
    model = small_net()
    keeper = MaskKeeper(model, half(model))
    other = OPTIMIZERS['sgd'](copy.deepcopy(model).parameters())
    with pytest.raises(ValueError, match='none of the 2 masked weights'):
        keeper.watch(other)


class Hoarder(torch.optim.SGD):
    """Keeps what it has seen in lists, dicts and other shapes."""

    def step(self, closure=None):
        super().step(closure)
        for group in self.param_groups:
            for param in group['params']:
                state = self.state[param]
                state['seen'] = [torch.ones_like(param)]
                state['anchor'] = dict(w=(torch.ones_like(param),))
                state['flat'] = torch.ones(param.numel())
                state['count'] = torch.ones(param.shape, dtype=torch.uint8)


def test_states_within_states_and_of_other_shapes_are_cleared():
    model = small_net()
    masks = half(model)
    optimizer = Hoarder(model.parameters(), 0.1)
    MaskKeeper(model, masks).watch(optimizer)
    steps(model, OptimWrapper(optimizer), 1)
    state = optimizer.state[model[0].weight]
    mask = masks['0.weight']
    assert torch.equal(state['seen'][0].bool(), mask)
    assert torch.equal(state['anchor']['w'][0].bool(), mask)
    assert torch.equal(state['flat'].bool(), mask.flatten())
    # Codes of compressed states have zeros of their own.
    assert state['count'].all()


class Preconditioned(torch.optim.SGD):
    """Keeps factors of a preconditioner of a square weight, and others."""

    def step(self, closure=None):
        super().step(closure)
        (weight,) = self.param_groups[0]['params']
        like, side = torch.ones_like(weight), torch.ones(len(weight))
        self.state[weight] = dict(
            factors=[like, like.clone()],
            deep=dict(Q=(side, like.clone())),
            past=[like.clone() for _ in range(3)],
            means={0.9: like.clone(), 0.99: like.clone()},
        )


def test_factors_of_a_preconditioner_stay_whole():
    """They have the shape of a square weight, and no entry for each of it."""
    model = nn.Linear(4, 4, bias=False)
    mask = torch.eye(4).bool().roll(1, 0)  # with none of the diagonal
    optimizer = Preconditioned(model.parameters(), 0.1)
    MaskKeeper(model, Masks(dict(weight=mask))).watch(optimizer)
    model(torch.rand(2, 4)).sum().backward()
    optimizer.step()
    state = optimizer.state[model.weight]
    whole = [*state['factors'], *state['deep']['Q']]
    assert all(factor.all() for factor in whole)
    for entries in (*state['past'], *state['means'].values()):
        assert torch.equal(entries.bool(), mask)


@pytest.mark.slow
def test_kron_trains_square_weights():
    """Its factors are triangular: none may lose its diagonal."""
    kron = pytest.importorskip('timm.optim.kron')
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8))
    masks = half(model)
    optimizer = kron.Kron(model.parameters(), 0.01)
    MaskKeeper(model, masks).watch(optimizer)
    inputs, losses = torch.randn(32, 8), []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (model(inputs) - inputs.roll(1, 1)).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < losses[0]  # and no NaN
    assert revived(model, masks) == 0


class Wrapper(torch.optim.SGD):
    """Leaves the work to another optimiser, as ZeroRedundancyOptimizer."""

    def __init__(self, optim):
        super().__init__(optim.param_groups, 0.1)
        self.optim = optim

    def step(self, closure=None):
        self.optim.step(closure)


def test_the_state_of_a_wrapped_optimizer_is_cleared():
    model = small_net()
    masks = half(model)
    inner = OPTIMIZERS['sgd'](model.parameters())
    steps(model, OptimWrapper(inner), 1)
    assert remembered(inner, model, masks)
    wrapper = Wrapper(inner)
    MaskKeeper(model, masks).watch(wrapper)
    assert remembered(inner, model, masks) == {}
    loss_of(model).backward()
    wrapper.step()
    assert remembered(inner, model, masks) == {}


@pytest.mark.parametrize('dtype', [torch.complex64, torch.complex128])
def test_complex_weights_are_cleared_in_both_parts(dtype):
    model = nn.Linear(6, 5, dtype=dtype)
    masks = Masks({'weight': torch.rand(5, 6) < 0.5})
    MaskKeeper(model, masks)
    assert torch.equal(model.weight != 0, masks['weight'])


def test_an_optimizer_remembers_no_removed_complex_weight():
    model = nn.Linear(6, 5, dtype=torch.complex64)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    x = torch.randn(8, 6, dtype=torch.complex64)
    model(x).abs().square().mean().backward()
    optimizer.step()
    masks = Masks({'weight': torch.rand(5, 6) < 0.5})
    MaskKeeper(model, masks).watch(optimizer)
    (momentum,) = optimizer.state[model.weight].values()
    assert torch.equal(momentum != 0, masks['weight'])


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_what_follows_is_kept_at_zero_and_not_counted(name):
    model = small_net()
    optimizer = OPTIMIZERS[name](model.parameters())
    wrapper = OptimWrapper(optimizer)
    steps(model, wrapper, 3)
    masks = half(model)
    kept = torch.tensor([True, False, True, True, False])
    followers = Masks({'0.bias': kept, '1.weight': kept, '1.bias': kept})
    keeper = MaskKeeper(model, masks, followers)
    keeper.watch(optimizer)
    steps(model, wrapper, 3)
    assert not revived(model, masks) and not revived(model, followers)
    for follower in followers:
        assert model.get_parameter(follower)[kept].all()
    assert keeper.masks == masks
    assert keeper.measured_sparsity() == pytest.approx(masks.sparsity)


def test_followers_that_do_not_fit_are_refused():
    model = small_net()
    followers = Masks({'1.bias': torch.ones(4, dtype=torch.bool)})
    with pytest.raises(ValueError, match='1.bias: mask'):
        MaskKeeper(model, half(model), followers)


def test_what_is_no_optimizer_and_what_are_no_masks_are_named():
    model = small_net()
    masks = half(model)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(TypeError, match='got dict: those that prune'):
        MaskKeeper(model, dict(masks))
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
    with pytest.raises(TypeError, match='Sequential is no torch.optim'):
        MaskKeeper(model, masks).watch(model)


class Lookahead(torch.optim.Optimizer):
    """As timm's, it leaves out ``Optimizer.__init__`` and has few hooks.

    Args:
        apart: Keeps the slow weights in a list of its own, as others do, and
            not in the state of the wrapped optimiser.
    """

    def __init__(self, base, apart):
        self._optimizer_step_pre_hooks = OrderedDict()
        self._optimizer_step_post_hooks = OrderedDict()
        self._base_optimizer = base
        self.param_groups = base.param_groups
        self.defaults = base.defaults
        self.state = {}
        params = [p for g in base.param_groups for p in g['params']]
        self.slow = [p.detach().clone() for p in params] if apart else None
        self.steps = 0

    @torch.no_grad()
    def step(self, closure=None):
        self._base_optimizer.step(closure)
        self.steps += 1
        if self.steps % 2:
            return
        params = [p for g in self.param_groups for p in g['params']]
        for i, p in enumerate(params):
            slow = (
                self._base_optimizer.state[p].setdefault('slow', p.clone())
                if self.slow is None
                else self.slow[i]
            )
            p.copy_(slow.lerp_(p, 0.5))

    def load_state_dict(self, state_dict):
        self._base_optimizer.load_state_dict(state_dict)

    def state_dict(self):
        return self._base_optimizer.state_dict()


@pytest.mark.parametrize('apart', [False, True])
def test_a_wrapper_without_hooks_revives_nothing(apart):
    model = small_net()
    base = torch.optim.AdamW(model.parameters(), 0.01)
    optimizer = Lookahead(base, apart)

    def step():
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()

    step()
    step()  # the slow weights are those of the dense model
    dense = copy.deepcopy(optimizer.state_dict())
    masks = half(model)
    keeper = MaskKeeper(model, masks)
    keeper.watch(optimizer)
    assert not remembered(base, model, masks)
    for _ in range(4):
        step()
        assert revived(model, masks) == 0
        assert not remembered(base, model, masks)
    optimizer.load_state_dict(dense)
    assert not remembered(base, model, masks)
    keeper.release()
    step()
    assert remembered(base, model, masks)


def test_a_wrapper_that_is_no_optimizer_is_named_with_the_remedy():
    model = small_net()
    keeper = MaskKeeper(model, half(model))
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), 0.1))
    with pytest.raises(TypeError, match='OptimWrapper is no .* its optimizer'):
        keeper.watch(wrapper)


@pytest.mark.parametrize(
    ('wrap', 'prefix'),
    [
        (lambda m: torch.compile(m, backend='eager'), '_orig_mod'),
        (nn.DataParallel, 'module'),
        (lambda m: nn.ModuleDict(dict(a=nn.ModuleList([m]))), 'a.0'),
    ],
)
def test_masks_of_a_wrapped_model_are_told_from_those_of_another(wrap, prefix):
    model = small_net()
    wrapped = wrap(small_net())
    plain, prefixed = half(model), half(wrapped)
    with pytest.raises(ValueError, match='begin with') as error:
        MaskKeeper(model, prefixed)
    assert f"masks.part({prefix!r}, to='')" in str(error.value)
    MaskKeeper(model, prefixed.part(prefix, to=''))
    with pytest.raises(ValueError, match='unwrapped') as error:
        MaskKeeper(wrapped, plain)
    assert f"masks.part('', to={prefix!r})" in str(error.value)
    MaskKeeper(wrapped, plain.part('', to=prefix))


def test_no_prefix_is_blamed_where_names_differ():
    model = small_net()
    other = Masks({'a.weight': torch.ones(5, 6, dtype=torch.bool)})
    with pytest.raises(ValueError, match='no such weight') as error:
        MaskKeeper(model, other)
    assert 'begin with' not in str(error.value)
