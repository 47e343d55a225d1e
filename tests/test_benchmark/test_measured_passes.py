"""What scoring is counted to cost, beside what it multiplies by."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from epsd_mm import prune
from epsd_mm.benchmark.comparison import Arm
from epsd_mm.benchmark.costs import total_passes
from tests.helpers.suites import compared, suite_of

FlopCounterMode = pytest.importorskip(
    'torch.utils.flop_counter'
).FlopCounterMode


def convolutions():
    """Of their work all but a few thousandths is in the equal layers."""
    layers = [nn.Conv2d(1, 16, 1)]
    for _ in range(6):
        layers += [nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)]
    tail = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2)
    return nn.Sequential(*layers, *tail)


def perceptron():
    """Likewise."""
    layers = [nn.Flatten(), nn.Linear(64, 64)]
    for _ in range(3):
        layers += [nn.Tanh(), nn.Linear(64, 2048)]
        layers += [nn.Tanh(), nn.Linear(2048, 64)]
    return nn.Sequential(*layers, nn.Tanh(), nn.Linear(64, 2))


def loss(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


def measured(work):
    """Multiplications and additions."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def passes(network, criterion, steps):
    """What scoring by a criterion takes, in forward passes of a step."""
    torch.manual_seed(0)
    model = network()
    batch = torch.randn(2, 1, 8, 8), torch.tensor([0, 1])
    with torch.no_grad():
        forward = measured(lambda: loss(model, batch))
    options = dict(sparsity=0.5, criterion=criterion, loss=loss, draws=1)
    scoring = measured(lambda: prune(model, iter([batch] * steps), **options))
    return scoring / forward


def counted(criterion, steps, folder):
    """What a report says of it."""
    method = dict(variant='prune-only', criterion=criterion)
    found = compared(
        suite_of(folder, dict(scored=method), seeds=1),
        lambda cell: {'training/iterations': 0, 'scoring/evaluations': steps},
    )
    return total_passes(found, Arm('a', 'scored', 0.9))[0] / 128


@pytest.mark.parametrize(
    ('steps', 'replays', 'criterion'),
    [
        (1, 0, dict(type='SNIP')),
        (1, 1, dict(type='GraSP')),
        (4, 3, dict(type='ProsPr', steps=3)),
        (4, 2, dict(type='ProsPr', steps=3, kept_graphs=1)),
        (4, 0, dict(type='ProsPr', steps=3, kept_graphs=3)),
        (4, 0, dict(type='ProsPr', steps=3, first_order=True)),
    ],
)
def test_scoring_takes_as_many_passes_as_are_counted(
    steps, replays, criterion, tmp_path
):
    """A layer that is no convolution takes one more for each replay."""
    said = counted(criterion, steps, tmp_path)
    found = passes(convolutions, criterion, steps)
    assert found == pytest.approx(said, rel=0.01)
    found = passes(perceptron, criterion, steps)
    assert found == pytest.approx(said + replays, rel=0.02)
