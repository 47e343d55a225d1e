"""A network with units, grouped by hand, and what they emit, by hand."""

import torch
from torch import nn
from torch.nn import functional as F

from epsd_mm.structure import Group, Groups, Member


class Branches(nn.Module):
    """Two normalised branches that add up, a layer without a norm, a head.

    Units: the channels of the two branches together, and those of the body,
    each of which the head reads at four places.
    """

    def __init__(self, width=6, body=5):
        super().__init__()
        self.one = nn.Conv2d(2, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.two = nn.Conv2d(2, width, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.body = nn.Conv2d(width, body, 3, padding=1)
        self.head = nn.Linear(4 * body, 3)
        for norm in (self.norm1, self.norm2):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)

    def forward(self, x):
        x = self.norm1(self.one(x)) + self.norm2(self.two(x))
        x = self.body(x.relu()).relu()
        return self.head(F.adaptive_avg_pool2d(x, 2).flatten(1))


def branches_groups(width=6, body=5, prefix=''):
    """The groups of :class:`Branches`; the outputs of the head stay.

    Args:
        width: Channels of the branches.
        body: Channels of the body.
        prefix: What names start with.
    """

    def member(name, *rest, **options):
        return Member(prefix + name, *rest, **options)

    channels = torch.arange(width)[:, None]
    outputs = torch.arange(body)[:, None]
    columns = torch.arange(4 * body).view(body, 4)
    first = Group(
        f'{prefix}one',
        width,
        (
            member('one.weight', 0, 'producer', channels, normalised=True),
            member('norm1.weight', 0, 'norm', channels),
            member('norm1.bias', 0, 'norm', channels),
            member('norm1.running_mean', 0, 'statistic', channels),
            member('norm1.running_var', 0, 'statistic', channels),
            member('two.weight', 0, 'producer', channels, normalised=True),
            member('norm2.weight', 0, 'norm', channels),
            member('norm2.bias', 0, 'norm', channels),
            member('norm2.running_mean', 0, 'statistic', channels),
            member('norm2.running_var', 0, 'statistic', channels),
            member('body.weight', 1, 'consumer', channels),
        ),
    )
    second = Group(
        f'{prefix}body',
        body,
        (
            member('body.weight', 0, 'producer', outputs),
            member('body.bias', 0, 'producer', outputs),
            member('head.weight', 1, 'consumer', columns),
        ),
    )
    return Groups(
        [first, second], {f'{prefix}head': 'its outputs are the task'}
    )


#: What the gate of each group multiplies.
GATED = {
    'one': ['norm1.weight', 'norm1.bias', 'norm2.weight', 'norm2.bias'],
    'body': ['body.weight', 'body.bias'],
}


def gated_outputs(theta, gates, x, statistics=None):
    """What :class:`Branches` gives where gates multiply what is emitted.

    Args:
        theta: Its parameters by name.
        gates: Factors of the channels, by name of the group.
        x: Images.
        statistics: Running means and variances by name, in evaluation.
    """

    def normed(x, norm):
        if statistics is None:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        else:
            mean = statistics[f'{norm}.running_mean']
            var = statistics[f'{norm}.running_var']
        x = (x - channelwise(mean)) / channelwise(var + 1e-5).sqrt()
        scale, shift = theta[f'{norm}.weight'], theta[f'{norm}.bias']
        return channelwise(scale) * x + channelwise(shift)

    gate = channelwise(gates['one'])
    one = F.conv2d(x, theta['one.weight'], padding=1)
    two = F.conv2d(x, theta['two.weight'])
    x = gate * normed(one, 'norm1') + gate * normed(two, 'norm2')
    x = F.conv2d(x.relu(), theta['body.weight'], theta['body.bias'], padding=1)
    x = (channelwise(gates['body']) * x).relu()
    x = F.adaptive_avg_pool2d(x, 2).flatten(1)
    return x @ theta['head.weight'].T + theta['head.bias']


def channelwise(row):
    """In a shape that multiplies images of as many channels."""
    return row.view(1, -1, 1, 1)
