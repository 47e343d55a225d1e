"""Masks change after real steps alone, and by the gradients of those."""

import copy

import pytest
import torch
from torch import nn

from epsd_mm.policies import (
    SET,
    Fixed,
    Gradual,
    MaskPolicy,
    MaskUpdates,
    Moment,
    RigL,
)
from epsd_mm.pruning import (
    NM,
    ByGlob,
    Global,
    MaskKeeper,
    Masks,
    Target,
    Uniform,
)


class Recorder(MaskPolicy):
    """Due each second step; remembers what it was given."""

    dense_gradients = True

    def __init__(self):
        self.seen = []

    def due(self, moment):
        return moment.step % 2 == 0

    def next(self, masks, weights, gradients, moment, target):
        weights = {n: w.clone() for n, w in weights.items()}
        self.seen.append((moment.step, weights, gradients))
        return masks


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))


def masks_of(model, density=0.4):
    generator = torch.Generator().manual_seed(1)
    return Masks(
        {
            n: torch.rand(p.shape, generator=generator) < density
            for n, p in model.named_parameters()
            if p.ndim > 1
        }
    )


def loss_of(model, seed):
    generator = torch.Generator().manual_seed(seed)
    return model(torch.randn(8, 6, generator=generator)).square().mean()


def started(
    policy, total=20, masks=None, momentum=0.9, fused=False, **options
):
    model = net()
    optimizer = torch.optim.SGD(
        model.parameters(), 0.1, momentum=momentum, fused=fused
    )
    keeper = MaskKeeper(model, masks or masks_of(model))
    keeper.watch(optimizer)
    updates = MaskUpdates(keeper, policy, optimizer, total, **options)
    return model, optimizer, updates


def train(model, optimizer, steps):
    for seed in steps:
        optimizer.zero_grad()
        loss_of(model, seed).backward()
        optimizer.step()


def test_a_policy_ranks_the_dense_gradient_of_the_step_that_is_due():
    policy = Recorder()
    model, optimizer, updates = started(policy)
    for step in (1, 2):
        dense = copy.deepcopy(model)
        optimizer.zero_grad()
        for seed in (10 * step, 10 * step + 1):  # accumulated
            loss_of(model, seed).backward()
            loss_of(dense, seed).backward()
        optimizer.step()
    ((step, weights, gradients),) = policy.seen
    assert step == 2
    assert weights.keys() == gradients.keys() == updates.keeper.masks.keys()
    for name, parameter in dense.named_parameters():
        if name in gradients:
            torch.testing.assert_close(gradients[name], parameter.grad)
            after = dict(model.named_parameters())[name]
            assert torch.equal(weights[name], after)


@pytest.mark.parametrize('fused', [False, True])
def test_a_step_that_is_skipped_changes_and_counts_nothing(fused):
    model, optimizer, updates = started(RigL(every=2), total=8, fused=fused)
    scaler = torch.amp.GradScaler('cpu', init_scale=4.0)
    sizes = []
    for factor in (1.0, torch.inf, torch.inf, 1.0, 1.0):
        before = updates.keeper.masks
        optimizer.zero_grad()
        scaler.scale(loss_of(model, 0) * factor).backward()
        scaler.step(optimizer)
        scaler.update()
        updates.discard()
        sizes.append((updates.moment.step, updates.keeper.masks != before))
    assert sizes == [
        (1, False),
        (1, False),
        (1, False),
        (2, True),
        (3, False),
    ]
    assert updates.kept_steps == {
        name: 3 * int(mask.sum()) for name, mask in before.items()
    }


@pytest.mark.parametrize('fused', [False, True])
def test_a_skipped_step_leaves_nothing_for_the_next_to_rank(fused):
    policy = Recorder()
    model, optimizer, updates = started(policy, fused=fused)
    train(model, optimizer, [0])
    scaler = torch.amp.GradScaler('cpu', init_scale=4.0)
    for factor in (torch.inf, 1.0):
        optimizer.zero_grad()
        updates.discard()
        dense = copy.deepcopy(model)
        scaler.scale(loss_of(model, 1) * factor).backward()
        scaler.step(optimizer)
        scale = scaler.get_scale()
        scaler.update()
    loss_of(dense, 1).backward()
    ((_, _, gradients),) = policy.seen
    for name, parameter in dense.named_parameters():
        if name in gradients:  # up to one factor
            torch.testing.assert_close(gradients[name], scale * parameter.grad)


def test_gradients_of_a_skipped_step_are_not_in_those_of_the_next():
    policy = Recorder()
    model, optimizer, updates = started(policy)
    train(model, optimizer, [0])
    (1e6 * loss_of(model, 1)).backward()  # and no step
    optimizer.zero_grad()
    updates.discard()
    dense = copy.deepcopy(model)
    loss_of(dense, 2).backward()
    train(model, optimizer, [2])
    ((_, _, gradients),) = policy.seen
    for name, parameter in dense.named_parameters():
        if name in gradients:
            torch.testing.assert_close(gradients[name], parameter.grad)


def test_of_a_step_that_asks_for_two_gradients_the_last_is_ranked():
    policy = Recorder()
    model, optimizer, updates = started(policy)
    train(model, optimizer, [0])
    dense = copy.deepcopy(model)

    def closure():
        for seed in (1, 2):
            optimizer.zero_grad()
            updates.discard()
            loss = loss_of(model, seed)
            loss.backward()
        return loss

    optimizer.step(closure)
    loss_of(dense, 2).backward()
    ((_, _, gradients),) = policy.seen
    for name, parameter in dense.named_parameters():
        if name in gradients:
            torch.testing.assert_close(gradients[name], parameter.grad)


def test_overflow_in_removed_weights_alone_leaves_the_masks():
    seen = []
    model, optimizer, updates = started(
        RigL(every=1), total=8, on_update=seen.append
    )
    before = updates.keeper.masks
    mask = before['2.weight']
    loss_of(model, 0).backward()
    # As a scaled loss may have it where no kept weight is concerned.
    updates.keeper._dense[model[2].weight][~mask] = torch.inf
    optimizer.step()
    assert updates.keeper.masks is before and updates.moment.step == 1
    (update,) = seen
    assert 'not finite' in update.skipped
    assert (update.dropped, update.grown) == (0, 0)


@pytest.mark.parametrize('policy', [SET, RigL])
def test_as_many_are_kept_of_each_layer_after_every_update(policy):
    seen = []
    model, optimizer, updates = started(
        policy(every=3), total=30, on_update=seen.append
    )
    first = updates.keeper.masks
    for step in range(30):
        train(model, optimizer, [step])
        masks = updates.keeper.masks
        for name, weight in model.named_parameters():
            if name in masks:
                assert not weight[~masks[name]].any()
                assert masks[name].sum() == first[name].sum()
    assert masks != first
    assert [update.step for update in seen] == [3, 6, 9, 12, 15, 18, 21]
    assert all(u.grown == u.dropped and u.kept == first.kept for u in seen)
    assert sum(update.grown for update in seen) > 0


def test_gradual_counts_down_to_what_is_asked():
    model = net()
    dense = Masks.ones_like(
        {n: p for n, p in model.named_parameters() if p.ndim > 1}
    )
    seen = []
    target = Target.over(dense, 0.75)
    model, optimizer, updates = started(
        Gradual(every=5, end=0.5),
        total=40,
        masks=dense,
        target=target,
        on_update=seen.append,
    )
    train(model, optimizer, range(40))
    assert [update.step for update in seen] == [5, 10, 15, 20]
    # s_f (1 − (1 − t/20)³) of 80 weights
    assert [80 - u.kept for u in seen] == [35, 52, 59, 60]
    assert updates.keeper.measured_sparsity() == pytest.approx(0.75)
    steps = 5 * 80 + 5 * 45 + 5 * 28 + 5 * 21 + 20 * 20
    assert sum(updates.kept_steps.values()) == steps


@pytest.mark.parametrize('policy', [SET, RigL, Gradual])
def test_a_training_that_is_resumed_ends_as_if_it_had_not_been(policy):
    def begun():
        target = None
        masks = masks_of(net())
        if policy is Gradual:
            masks = Masks.ones_like(masks)
            target = Target.over(masks, 0.8)
        return started(policy(every=3), 24, masks, target=target, seed=5)

    whole, optimizer, updates = begun()
    train(whole, optimizer, range(10))
    left = copy.deepcopy(
        dict(
            model=whole.state_dict(),
            optimizer=optimizer.state_dict(),
            masks=updates.keeper.masks.pack(),
            updates=updates.state_dict(),
        )
    )
    train(whole, optimizer, range(10, 24))

    model = net()
    model.load_state_dict(left['model'])
    again = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    keeper = MaskKeeper(model, Masks.unpack(left['masks']))
    keeper.watch(again)
    again.load_state_dict(left['optimizer'])
    resumed = MaskUpdates(
        keeper, policy(every=3), again, 24, target=updates.target
    )
    resumed.load_state_dict(left['updates'])
    train(model, again, range(10, 24))
    assert keeper.masks == updates.keeper.masks
    assert resumed.kept_steps == updates.kept_steps
    for a, b in zip(whole.parameters(), model.parameters()):
        assert torch.equal(a, b)


def test_a_training_of_another_length_does_not_go_on():
    _, _, updates = started(SET(every=3), total=24)
    _, _, other = started(SET(every=3), total=30)
    with pytest.raises(
        ValueError, match='through 24 steps.* has 30: .*batch size'
    ):
        other.load_state_dict(updates.state_dict())


def test_an_average_has_nothing_of_what_went():
    model, optimizer, updates = started(SET(every=1), total=9)
    average = copy.deepcopy(model)
    updates.averages.append(average)
    for step in range(6):
        train(model, optimizer, [step])
        masks = updates.keeper.masks
        follow(average, model)
        for name, weight in average.named_parameters():
            if name in masks:
                assert not weight[~masks[name]].any()


@torch.no_grad()
def follow(average, model):
    for old, new in zip(average.parameters(), model.parameters()):
        old.lerp_(new, 0.1)


def test_masks_that_empty_a_layer_are_refused_unless_that_is_allowed():
    masks = Masks.ones_like(masks_of(net()))
    options = dict(
        total=8, masks=masks, momentum=0, target=Target.over(masks, 0.9)
    )
    for allowed in (False, True):
        model, optimizer, updates = started(
            Gradual(every=2), allow_empty_layers=allowed, **options
        )
        with torch.no_grad():
            model[2].weight.mul_(1e-6)
        if allowed:
            train(model, optimizer, range(6))
            assert updates.keeper.masks.empty_layers() == ['2.weight']
        else:
            message = 'sparsity=0.9 leaves nothing of 1 of 2 layers after step'
            with pytest.raises(ValueError, match=message):
                train(model, optimizer, range(6))


def test_a_layer_without_a_share_is_told_before_any_step():
    """Of 48 and 32 weights one is kept: .6 and .4."""
    masks = Masks.ones_like(masks_of(net()))
    options = dict(masks=masks, target=Target.over(masks, 79 / 80, Uniform()))
    with pytest.raises(ValueError, match='nothing of 1 of 2 layers: 2.weight'):
        started(Gradual(every=2), **options)
    started(Gradual(every=2), allow_empty_layers=True, **options)


def test_fixed_masks_stay():
    model, optimizer, updates = started(Fixed())
    before = updates.keeper.masks
    train(model, optimizer, range(20))
    assert updates.keeper.masks is before and updates.moment == Moment(20, 20)


def test_a_policy_without_a_way_is_refused_at_once():
    with pytest.raises(ValueError, match='leaves no update'):
        started(RigL(every=100), total=20)
    half = Gradual(every=2, initial_sparsity=0.5)
    masks = Masks.ones_like(masks_of(net()))
    with pytest.raises(ValueError, match='must be below sparsity=0.4'):
        started(half, masks=masks, target=Target.over(masks, 0.4))


def test_what_would_change_nothing_is_refused_at_once():
    """Where masks are to end as they are, or as a policy cannot make them."""
    masks = masks_of(net())  # which keep 27 of 80
    half = Gradual(every=2, initial_sparsity=masks.sparsity)
    for policy in (Gradual(every=2), half):
        message = 'target=None asks for .* Gradual would change nothing'
        with pytest.raises(ValueError, match=message):
            started(policy, masks=masks)
    with pytest.raises(ValueError, match='for sparsity 0, .* SET would'):
        started(SET(every=2), masks=Masks.ones_like(masks))
    message = 'keeps as many .*, 27 of 80, and the target asks for 8: begin'
    for policy in (SET(every=2), RigL(every=2)):
        with pytest.raises(ValueError, match=message):
            started(policy, masks=masks, target=Target.over(masks, 0.9))
        started(policy, masks=masks, target=Target.over(masks, 53 / 80))


def test_a_target_that_the_masks_have_passed_is_refused_before_any_step():
    masks = masks_of(net())
    passed = Target.over(masks, 0.5)
    with pytest.raises(ValueError, match='earlier masks .* 0.6625 at least'):
        started(Gradual(every=2), masks=masks, target=passed)
    # All of the second layer is gone, and half of it shall be left.
    gone = Masks(
        dict(masks, **{'2.weight': torch.zeros(4, 8, dtype=torch.bool)})
    )
    globs = ByGlob({'0*': 0.8, '2*': 0.5})
    asked = Target.over(masks, 1 - 26 / 80, globs)  # of 10 and 16
    with pytest.raises(ValueError, match='cannot be reached'):
        started(
            Gradual(every=2),
            masks=gone,
            target=asked,
            allow_empty_layers=True,
        )


def test_what_is_no_policy_or_no_length_is_refused():
    for policy in ('RigL', RigL):
        with pytest.raises(TypeError, match='must be an object that says'):
            started(policy)
    for total in (0, -3, 10.5):
        with pytest.raises(ValueError, match=f'total={total} must be an int'):
            started(SET(every=2), total=total)


def test_gradients_that_nobody_saw_are_named():
    model, optimizer, _ = started(RigL(every=1))
    loss = loss_of(model, 0)
    params = list(model.parameters())
    for param, grad in zip(params, torch.autograd.grad(loss, params)):
        param.grad = grad
    with pytest.raises(RuntimeError, match='RigL ranks gradients.*by hand'):
        optimizer.step()


def test_gradients_that_others_have_taken_are_named():
    model, optimizer, updates = started(RigL(every=1))
    MaskUpdates(updates.keeper, RigL(every=1), optimizer, 20)
    with pytest.raises(RuntimeError, match='other MaskUpdates of the same'):
        train(model, optimizer, [0])


class Careless(SET):
    """Forgets what ``next`` returns."""

    def next(self, *given):
        return dict(super().next(*given))


def test_a_policy_that_returns_no_masks_is_named():
    model, optimizer, _ = started(Careless(every=1))
    with pytest.raises(TypeError, match=r'Careless\.next\(\).* got dict'):
        train(model, optimizer, [0])


def test_an_average_of_other_names_is_told_before_any_step():
    average = torch.optim.swa_utils.AveragedModel(net())
    with pytest.raises(ValueError, match="begin with 'module'"):
        started(SET(every=2), averages=[average])
    model, optimizer, updates = started(
        SET(every=1), averages=[average.module]
    )
    updates.averages.append(average)
    before = updates.keeper.masks
    with pytest.raises(ValueError, match="begin with 'module'"):
        train(model, optimizer, [0])
    assert updates.keeper.masks is before


@pytest.mark.parametrize(
    'sparsity, parts, message',
    [
        (0.9, dict(allocation=Global(min_density=0.5)), '0.5 at most'),
        (0.5, dict(allocation=ByGlob({'*': 0.9})), 'at least'),
        (0.5, dict(allocation=ByGlob({'nothing*': 0.5})), 'matches no'),
        (0.5, dict(structure=NM(2, 4)), 'groups of 4'),
    ],
)
def test_a_target_out_of_reach_is_refused_before_any_step(
    sparsity, parts, message
):
    masks = Masks.ones_like(masks_of(net()))
    target = Target.over(masks, sparsity, **parts)
    with pytest.raises(ValueError, match=message):
        started(Gradual(every=2), masks=masks, target=target)


def test_steps_that_nobody_keeps_sparse_are_refused_at_once():
    model = net()
    mine, other = (torch.optim.SGD(model.parameters(), 0.1) for _ in '12')
    keeper = MaskKeeper(model, masks_of(model))
    for policy in (SET(every=2), RigL(every=2), Fixed()):
        with pytest.raises(RuntimeError, match='watches no optimiser.*SGD'):
            MaskUpdates(keeper, policy, mine, 20)
    keeper.watch(mine)
    with pytest.raises(RuntimeError, match='watches another optimiser'):
        MaskUpdates(keeper, SET(every=2), other, 20)
    MaskUpdates(keeper, SET(every=2), mine, 20).release()
    keeper.release()
    with pytest.raises(RuntimeError, match='watches no optimiser'):
        MaskUpdates(keeper, SET(every=2), mine, 20)


class Wrapper(torch.optim.Optimizer):
    """Makes the steps of another one, as a Lookahead does."""

    def __init__(self, inner):
        self.inner = inner
        super().__init__(inner.param_groups, {})

    def step(self):
        self.inner.step()


def test_what_a_watched_optimiser_wraps_is_watched():
    model = net()
    inner = torch.optim.SGD(model.parameters(), 0.1)
    outer = Wrapper(inner)
    keeper = MaskKeeper(model, masks_of(model))
    keeper.watch(outer)
    before = keeper.masks
    MaskUpdates(keeper, SET(every=1), inner, 9)
    train(model, outer, [0])
    assert keeper.masks != before


@pytest.mark.parametrize('counted', ['outer', 'inner'])
def test_a_step_within_a_step_is_one(counted):
    model = net()
    inner = torch.optim.SGD(model.parameters(), 0.1)
    outer = Wrapper(inner)
    keeper = MaskKeeper(model, masks_of(model))
    keeper.watch(outer)
    optimizer = dict(outer=outer, inner=inner)[counted]
    updates = MaskUpdates(keeper, SET(every=2), optimizer, 9)
    train(model, outer, range(3))
    assert updates.moment.step == 3
    with pytest.raises(TypeError):
        outer.step('no argument is taken')
    train(model, outer, range(2))
    assert updates.moment.step == 5
    updates.release()
    train(model, outer, range(2))
    assert updates.moment.step == 5


class SAM(torch.optim.Optimizer):
    """Sharpness-aware minimisation in two calls, with no step of its own.

    Foret et al., ICLR 2021, with the names of the implementation in use.
    """

    def __init__(self, params, inner, radius=0.05):
        super().__init__(params, dict(radius=radius))
        self.base_optimizer = inner(self.param_groups)

    def first_step(self):
        weights = [p for g in self.param_groups for p in g['params']]
        norm = torch.stack([p.grad.norm() for p in weights]).norm()
        for weight in weights:
            self.state[weight]['before'] = weight.detach().clone()
            weight.data += 0.05 * weight.grad / norm

    def second_step(self):
        for group in self.param_groups:
            for weight in group['params']:
                weight.data = self.state[weight]['before']
        self.base_optimizer.step()


@pytest.mark.parametrize('counted', ['both', 'base'])
@pytest.mark.parametrize('policy', [Gradual, SET, RigL])
def test_steps_that_a_wrapper_makes_by_other_names_count(policy, counted):
    """As davda54's SAM, of which ``step`` is never called."""
    model = net()
    start = masks_of(model)
    options = {}
    if policy is Gradual:
        start = Masks.ones_like(dict(start))
        options['target'] = Target.over(start, 0.5, Uniform())
    optimizer = SAM(
        model.parameters(), lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)
    )
    keeper = MaskKeeper(model, start)
    keeper.watch(optimizer)
    kept = []
    updates = MaskUpdates(
        keeper,
        policy(every=2, end=1.0),
        optimizer if counted == 'both' else optimizer.base_optimizer,
        8,
        on_update=lambda update: kept.append(update.kept),
        **options,
    )
    for seed in range(8):
        for step in (optimizer.first_step, optimizer.second_step):
            loss_of(model, seed).backward()
            step()
            optimizer.zero_grad()
            updates.discard()
            for name, mask in keeper.masks.items():
                assert not keeper.weights[name][~mask].any()
    assert updates.moment.step == 8 and updates.shortfall() is None
    if policy is Gradual:
        # Of 80 weights, half at the end: 80 - 40 (1 - (1 - t / 8)^3).
        assert kept == [57, 45, 41, 40]
    else:
        assert len(kept) >= 3 and set(kept) == {start.kept}
        assert keeper.masks != start


def test_the_ranked_gradient_of_sam_is_that_of_its_second_step():
    model, policy = net(), Recorder()
    optimizer = SAM(model.parameters(), lambda p: torch.optim.SGD(p, 0.1))
    keeper = MaskKeeper(model, masks_of(model))
    keeper.watch(optimizer)
    updates = MaskUpdates(keeper, policy, optimizer, 4)
    for seed in range(2):
        loss_of(model, seed).backward()
        optimizer.first_step()
        optimizer.zero_grad()
        updates.discard()
        dense = copy.deepcopy(model)
        loss_of(model, seed).backward()
        optimizer.second_step()
        optimizer.zero_grad()
        updates.discard()
    loss_of(dense, 1).backward()
    ((_, _, gradients),) = policy.seen
    assert set(gradients) == set(keeper.masks)
    for name, parameter in dense.named_parameters():
        if name in gradients:
            torch.testing.assert_close(gradients[name], parameter.grad)


@pytest.mark.parametrize('policy', [Gradual, SET, RigL])
def test_a_training_that_diverged_is_told_before_anything_is_ranked(policy):
    masks = masks_of(net())
    seen, target = [], Target.over(masks, 0.8) if policy is Gradual else None
    model, optimizer, updates = started(
        policy(every=2), 20, masks, target=target, on_update=seen.append
    )
    train(model, optimizer, [0])
    (loss_of(model, 1) * torch.nan).backward()
    message = r'after step 2 the weights of 0\.weight, 2\.weight are not fin'
    with pytest.raises(FloatingPointError, match=message):
        optimizer.step()
    assert updates.keeper.masks is masks and not seen


@pytest.mark.parametrize(
    'every, reached', [(10, '0.7875'), (20, '0')]
)  # .9 (1 − (1 − 10/20)³), and nothing
def test_what_a_skipped_step_has_left_undone_is_told(every, reached):
    masks = Masks.ones_like(masks_of(net()))
    model, optimizer, updates = started(
        Gradual(every=every, end=1.0),
        20,
        masks,
        target=Target.over(masks, 0.9),
    )
    scaler = torch.amp.GradScaler('cpu', init_scale=4.0)
    for factor in [torch.inf] + 19 * [1.0]:
        optimizer.zero_grad()
        updates.discard()
        scaler.scale(loss_of(model, 0) * factor).backward()
        scaler.step(optimizer)
        scaler.update()
    said = updates.shortfall()
    assert f'sparsity {reached} at the end' in said and '0.9 was' in said
    assert '19 of 20 steps' in said and 'its end below 1' in said
    train(model, optimizer, [0])
    assert updates.keeper.masks.sparsity == 0.9 and not updates.shortfall()


@pytest.mark.parametrize('policy', [Gradual, SET])
def test_nothing_is_told_where_the_target_stands(policy):
    masks = masks_of(net())
    target = Target.over(masks, 0.8)
    if policy is SET:  # whose updates keep what there is
        target = Target.over(masks, masks.sparsity)
    model, optimizer, updates = started(
        policy(every=3), 20, masks, target=target
    )
    train(model, optimizer, range(5 if policy is SET else 15))
    assert updates.shortfall() is None


@pytest.mark.parametrize('how', ['resumed', 'released'])
def test_gradients_are_collected_for_steps_that_are_due_alone(how):
    policy = RigL(every=1, end=0.5)
    model, optimizer, updates = started(policy, total=8)
    state = dict(updates.state_dict(), step=6)  # past T_end
    assert updates.keeper._dense is not None
    if how == 'resumed':
        updates.load_state_dict(state)
    else:
        updates.release()
    loss_of(model, 0).backward()
    assert updates.keeper._dense is None
