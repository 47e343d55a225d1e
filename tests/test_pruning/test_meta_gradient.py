"""The walk back against closed forms and the unrolled graph."""

import pytest
import torch
from torch import nn

from epsd_mm.pruning import ModuleObjective, Objective, Step, meta_gradient
from epsd_mm.pruning.gradients import ReplayError
from tests.helpers.nets import cross_entropy
from tests.helpers.oracles import relative_error, unrolled_gradient


class Quadratic(Objective):
    """``½ θᵀHθ − bᵀθ``; a batch is ``(H, b)``."""

    def record(self, params, batch):
        loss = self(params, Step(batch, None, 0.0))
        return loss, Step(batch, None, float(loss.detach()))

    def __call__(self, params, step):
        H, b = step.batch
        theta = torch.cat([params['a'], params['b']])
        return theta @ H @ theta / 2 - b @ theta


def quadratics(count, size=6):
    for _ in range(count):
        root = torch.randn(size, size, dtype=torch.float64)
        yield root @ root.T, torch.randn(size, dtype=torch.float64)


def split(theta):
    return dict(a=theta[:2], b=theta[2:])


@pytest.mark.parametrize('steps', [0, 1, 4])
def test_closed_form_of_a_quadratic(steps):
    lr = 0.03
    start = torch.randn(6, dtype=torch.float64)
    batches = list(quadratics(steps + 1))
    theta, product = start, torch.eye(6, dtype=torch.float64)
    for H, b in batches[:-1]:
        theta = theta - lr * (H @ theta - b)
        product = product @ (torch.eye(6) - lr * H)
    H, b = batches[-1]
    want = product @ (H @ theta - b)
    got = meta_gradient(
        Quadratic(),
        split(start),
        iter([x] for x in batches),
        steps=steps,
        lr=lr,
    )
    assert relative_error(got.gradient, split(want)) < 1e-12
    v_i = H @ theta - b
    assert got.growth == pytest.approx(float(want.norm() / v_i.norm()))
    assert got.losses[-1] == pytest.approx(
        float(theta @ H @ theta / 2 - b @ theta)
    )


def test_closed_form_with_momentum():
    lr, mu, steps = 0.03, 0.7, 4
    start = torch.randn(6, dtype=torch.float64)
    batches = list(quadratics(steps + 1))
    one = torch.eye(6, dtype=torch.float64)
    theta, velocity = start, torch.zeros_like(start)
    jacobian = torch.eye(12, dtype=torch.float64)
    for H, b in batches[:-1]:
        velocity = mu * velocity + H @ theta - b
        theta = theta - lr * velocity
        # (θ, u) -> (θ − η(μu + Hθ), μu + Hθ)
        step = torch.cat(
            [
                torch.cat([one - lr * H, -lr * mu * one], dim=1),
                torch.cat([H, mu * one], dim=1),
            ]
        )
        jacobian = step @ jacobian
    H, b = batches[-1]
    want = jacobian[:6, :6].T @ (H @ theta - b)
    got = meta_gradient(
        Quadratic(),
        split(start),
        iter([x] for x in batches),
        steps=steps,
        lr=lr,
        momentum=mu,
    )
    assert relative_error(got.gradient, split(want)) < 1e-12


class Net(nn.Module):
    """Smooth, with a normalisation layer, and dropout where asked for."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.Tanh(),
            nn.Dropout(dropout),
            nn.Conv2d(4, 3, 3),
        )
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        return self.body(x).mean(dim=(2, 3))


def net(**kwargs):
    model = Net(**kwargs).double().train()
    return model, dict(model.named_parameters())


def batches(count, size=6):
    return [
        (
            torch.randn(size, 2, 5, 5, dtype=torch.float64),
            torch.randint(0, 3, (size,)),
        )
        for _ in range(count)
    ]


def loss_at(model, batch, seed):
    def evaluate(theta):
        torch.manual_seed(seed)
        out = torch.func.functional_call(model, theta, (batch[0],))
        chosen = torch.softmax(out, dim=1)[range(len(out)), batch[1]]
        return -torch.log(chosen).mean()

    return evaluate


def seeded(data):
    for t, batch in enumerate(data):
        torch.manual_seed(t)
        yield [batch]


@pytest.mark.parametrize('momentum', [0.0, 0.9])
@pytest.mark.parametrize('dropout', [0.0, 0.5])
@pytest.mark.parametrize('kept', [0, 2, 3])
def test_walk_is_the_unrolled_graph(momentum, dropout, kept):
    model, params = net(dropout=dropout)
    data = batches(4)
    want = unrolled_gradient(
        [loss_at(model, b, t) for t, b in enumerate(data)],
        params,
        0.2,
        momentum,
    )
    torch.manual_seed(11)
    got = meta_gradient(
        ModuleObjective(model, cross_entropy),
        params,
        seeded(data),
        steps=3,
        lr=0.2,
        momentum=momentum,
        kept_graphs=kept,
    )
    assert relative_error(got.gradient, want) < 1e-9


def test_dropout_draws_another_mask_each_step_and_replays_it():
    model, params = net(dropout=0.5)
    batch = batches(1)[0]
    objective = ModuleObjective(model, cross_entropy)
    first, step = objective.record(params, batch)
    second, _ = objective.record(params, batch)
    assert float(first) != float(second)
    assert float(objective(params, step)) == float(first)


def test_weights_follow_torchs_sgd_and_first_order_is_the_gradient_there():
    model, params = net()
    data = batches(4)
    got = meta_gradient(
        ModuleObjective(model, cross_entropy),
        params,
        iter([b] for b in data),
        steps=3,
        lr=0.2,
        momentum=0.9,
        first_order=True,
    )
    optimizer = torch.optim.SGD(params.values(), lr=0.2, momentum=0.9)
    losses = []
    for t, batch in enumerate(data):
        optimizer.zero_grad()
        loss = cross_entropy(model, batch)
        loss.backward()
        losses.append(float(loss.detach()))
        if t < 3:
            optimizer.step()
    want = {n: p.grad for n, p in params.items() if p.grad is not None}
    assert relative_error(got.gradient, want) < 1e-12
    assert got.losses == pytest.approx(losses)
    assert got.growth == pytest.approx(1)


@pytest.mark.parametrize('kept', [1, 3])
def test_steps_of_several_batches_may_keep_their_graphs(kept):
    model, params = net(dropout=0.5)
    groups = [batches(2) for _ in range(4)]

    def walk(kept_graphs):
        torch.manual_seed(5)
        return meta_gradient(
            ModuleObjective(model, cross_entropy),
            params,
            iter(groups),
            steps=3,
            lr=0.2,
            kept_graphs=kept_graphs,
        )

    replayed, graphs = walk(0), walk(kept)
    assert relative_error(graphs.gradient, replayed.gradient) < 1e-12
    assert graphs.losses == pytest.approx(replayed.losses)


def test_a_kept_graph_spares_an_evaluation():
    model, params = net()
    evaluated = []

    class Counting(ModuleObjective):
        def _evaluate(self, params, batch):
            evaluated.append(batch)
            return super()._evaluate(params, batch)

    for kept, count in ((0, 7), (1, 6), (3, 4)):
        evaluated.clear()
        meta_gradient(
            Counting(model, cross_entropy),
            params,
            iter([b] for b in batches(4)),
            steps=3,
            lr=0.2,
            kept_graphs=kept,
        )
        assert len(evaluated) == count


def test_offloading_changes_nothing():
    model, params = net()
    data = batches(4)
    results = [
        meta_gradient(
            ModuleObjective(model, cross_entropy),
            params,
            iter([b] for b in data),
            steps=3,
            lr=0.2,
            offload=offload,
        )
        for offload in (False, True)
    ]
    assert results[0].losses == results[1].losses
    for name, tensor in results[0].gradient.items():
        assert torch.equal(results[1].gradient[name], tensor)


def test_several_batches_a_step_are_their_mean():
    model, params = net()
    data = batches(6)
    pairs = [data[0:2], data[2:4], data[4:6]]

    def mean(pair):
        one, other = (loss_at(model, batch, 0) for batch in pair)
        return lambda theta: (one(theta) + other(theta)) / 2

    want = unrolled_gradient([mean(pair) for pair in pairs], params, 0.2, 0.9)
    got = meta_gradient(
        ModuleObjective(model, cross_entropy),
        params,
        iter(pairs),
        steps=2,
        lr=0.2,
        momentum=0.9,
    )
    assert relative_error(got.gradient, want) < 1e-9
    with torch.no_grad():
        first = [float(loss_at(model, b, 0)(params)) for b in pairs[0]]
    assert got.losses[0] == pytest.approx(sum(first) / 2)


def test_weights_that_only_some_steps_reach():
    """The last loss reaches ``b`` through the step that moved ``a``."""

    class Partial(Objective):
        def record(self, params, batch):
            loss = self(params, Step(batch, None, 0.0))
            return loss, Step(batch, None, float(loss.detach()))

        def __call__(self, params, step):
            if step.batch:
                return (params['a'] ** 3).sum()
            return (params['a'] ** 2 * params['b']).sum()

    params = dict(
        a=torch.rand(3, dtype=torch.float64),
        b=torch.rand(3, dtype=torch.float64),
        c=torch.rand(3, dtype=torch.float64),
    )
    losses = [
        lambda w: (w['a'] ** 2 * w['b']).sum(),
        lambda w: (w['a'] ** 3).sum(),
    ]
    want = unrolled_gradient(losses, params, 0.1)
    got = meta_gradient(
        Partial(), params, iter([[False], [True]]), steps=1, lr=0.1
    ).gradient
    assert set(got) == {'a', 'b'}
    assert relative_error(got, want) < 1e-12


def test_params_stay_as_they_are():
    model, params = net()
    before = {n: p.detach().clone() for n, p in params.items()}
    state = {n: b.clone() for n, b in model.named_buffers()}
    meta_gradient(
        ModuleObjective(model, cross_entropy),
        params,
        iter([b] for b in batches(3)),
        steps=2,
        lr=0.2,
        momentum=0.5,
    )
    assert all(torch.equal(params[n], before[n]) for n in params)
    assert all(p.grad is None for p in params.values())
    assert all(torch.equal(b, state[n]) for n, b in model.named_buffers())


class Forgetful(nn.Module):
    """A loss that depends on how often it was called."""

    def __init__(self, from_call):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.calls = 0
        self.from_call = from_call

    def forward(self, batch):
        self.calls += 1
        drift = self.calls if self.calls > self.from_call else 0
        return (self.weight**2).sum() + drift


@pytest.mark.parametrize('from_call, step', [(3, 1), (4, 0), (0, 1)])
def test_a_model_that_keeps_state_is_refused_by_the_step(from_call, step):
    """Three recordings are calls 1 to 3, the walk back calls 4 and 5."""
    model = Forgetful(from_call)
    with pytest.raises(ReplayError, match=f'inner step {step}: the replayed'):
        meta_gradient(
            ModuleObjective(model, lambda model, batch: model(batch)),
            dict(model.named_parameters()),
            iter([[0], [0], [0]]),
            steps=2,
            lr=0.1,
        )


@pytest.mark.parametrize('bad, step', [(0, 0), (2, 2)])
def test_a_loss_that_is_not_finite_names_the_step(bad, step):
    model, params = net()
    data = batches(3)
    data[bad][0].fill_(float('nan'))
    with pytest.raises(FloatingPointError, match=f'step {step}: the loss'):
        meta_gradient(
            ModuleObjective(model, cross_entropy),
            params,
            iter([b] for b in data),
            steps=2,
            lr=0.2,
        )


def test_a_gradient_that_is_not_finite_names_the_layer():
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.fine = nn.Parameter(torch.ones(2))
            self.edge = nn.Parameter(torch.zeros(2))

        def forward(self, batch):
            return self.fine.sum() + self.edge.sqrt().sum()

    model = Root()
    with pytest.raises(
        FloatingPointError, match="inner step 0: the gradient of 'edge'"
    ):
        meta_gradient(
            ModuleObjective(model, lambda model, batch: model(batch)),
            dict(model.named_parameters()),
            iter([[0], [0]]),
            steps=1,
            lr=0.1,
        )


def test_a_zero_gradient_has_no_growth():
    params = {'a': torch.zeros(2), 'b': torch.zeros(2)}
    flat = torch.zeros(4, 4), torch.zeros(4)
    result = meta_gradient(
        Quadratic(), params, iter([[flat], [flat]]), steps=1, lr=0.1
    )
    assert result.growth != result.growth
