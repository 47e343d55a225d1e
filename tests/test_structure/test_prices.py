"""How often an entry of a weight multiplies, against torch's counter."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from epsd_mm.structure.prices import multiplications


class Several(nn.Module):
    """Convolutions of every kind, a head that is used twice, attention."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 6, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(6, 4, 3, groups=2)
        self.up = nn.ConvTranspose2d(4, 6, 2, stride=2, bias=False)
        self.head = nn.Conv2d(6, 6, 1)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.linear = nn.Linear(6, 5)
        self.unused = nn.Linear(3, 3)

    def forward(self, x):
        x = self.up(self.grouped(self.conv(x)))
        x = self.head(x) + self.head(x[..., ::2, ::2]).sum()
        x = x.flatten(2).mT
        x, _ = self.attention(x, x, x, need_weights=False)
        return self.linear(x)


#: The operators of torch that multiply by a weight; attention's own products
#: of activations are others.
BY_WEIGHTS = {'convolution', 'addmm', 'mm'}


def counted(model, images):
    """Multiply-adds by module, as torch's own counter has them."""
    counter = FlopCounterMode(display=False)
    with counter, torch.enable_grad():  # so that attention is not one operator
        model(images)
    return {
        name.partition('.')[2]: sum(
            flops // 2
            for operator, flops in operators.items()
            if str(operator).removeprefix('aten.') in BY_WEIGHTS
        )
        for name, operators in counter.get_flop_counts().items()
    }


def test_times_the_entries_it_is_the_multiply_adds():
    model = Several().eval()
    images = torch.randn(1, 2, 16, 16)
    got = multiplications(model, lambda: model(images))
    products = {}
    for name, param in model.named_parameters():
        if name in got:
            layer = name.partition('.')[0]
            of = got[name] * param.numel()
            products[layer] = products.get(layer, 0) + of
    expected = counted(model, images)
    assert products.pop('unused') == 0
    assert products == {layer: expected[layer] for layer in products}
    assert sum(products.values()) == expected['']


def test_nothing_is_left_on_the_network():
    model = nn.Linear(2, 3)
    hooks = len(model._forward_hooks)
    multiplications(model, lambda: model(torch.ones(4, 2)))
    assert len(model._forward_hooks) == hooks
