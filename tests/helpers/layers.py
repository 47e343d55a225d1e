"""Layers with a forward pass of their own, as projects write them."""

import torch
from torch import nn
from torch.nn import functional as F


class StdConv2d(nn.Conv2d):
    """Weight standardisation through batch_norm, as timm's BiT has it."""

    def forward(self, x):
        weight = F.batch_norm(
            self.weight.reshape(1, self.out_channels, -1),
            None,
            None,
            training=True,
            momentum=0.0,
        ).reshape_as(self.weight)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class ScaledStdConv2d(nn.Conv2d):
    """The same with a gain, as NFNets have it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.gain = nn.Parameter(torch.ones(self.out_channels, 1, 1, 1))

    def forward(self, x):
        var, mean = torch.var_mean(self.weight, (1, 2, 3), keepdim=True)
        weight = (self.weight - mean) * (var + 1e-6).rsqrt() * self.gain
        return self._conv_forward(x, weight, self.bias)


class StandardisedInConvForward(nn.Conv2d):
    """Overrides what torch's forward calls."""

    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight - weight.mean(), bias)


class CentredLinear(nn.Linear):
    """Linear in its weight, but a zero is not zero."""

    def forward(self, x):
        return F.linear(x, self.weight - self.weight.mean(1, keepdim=True))


class LowRankLinear(nn.Linear):
    """Adds a product of two thin matrices, as LoRA does."""

    def __init__(self, *args):
        super().__init__(*args)
        self.down = nn.Parameter(torch.randn(1, self.in_features))
        self.up = nn.Parameter(torch.randn(self.out_features, 1))

    def forward(self, x):
        return F.linear(x, self.weight + self.up @ self.down, self.bias)


class UnitLinear(nn.Linear):
    """Weights and inputs of length one, as in margin heads."""

    def forward(self, x):
        return F.linear(F.normalize(x), F.normalize(self.weight))


class EqualisedConv2d(nn.Conv2d):
    """A factor at each use, as in StyleGAN."""

    def forward(self, x):
        return self._conv_forward(x, self.weight * 0.1, self.bias)


class SoftmaxConv2d(nn.Conv2d):
    """Kernels of sum one, in evaluation mode alone plain ones."""

    def forward(self, x):
        weight = self.weight
        if self.training:
            weight = weight.flatten(1).softmax(1).view_as(weight)
        return self._conv_forward(x, weight, self.bias)


CHANGING = [
    lambda: StdConv2d(3, 4, 3),
    lambda: ScaledStdConv2d(3, 4, 3),
    lambda: StandardisedInConvForward(3, 4, 3),
    lambda: CentredLinear(3, 4),
    lambda: LowRankLinear(3, 4),
    lambda: UnitLinear(3, 4),
    lambda: EqualisedConv2d(3, 4, 3),
    lambda: SoftmaxConv2d(3, 4, 3).eval(),
]


class SamePadConv2d(nn.Conv2d):
    """Pads by the size of its input."""

    def forward(self, x):
        pads = []
        for side, k, s in zip(x.shape[:1:-1], self.kernel_size, self.stride):
            pad = max((-(-side // s) - 1) * s + k - side, 0)
            pads += [pad // 2, pad - pad // 2]
        return F.conv2d(F.pad(x, pads), self.weight, self.bias, self.stride)


class NormedInputLinear(nn.Linear):
    """Does much to its inputs and outputs, and nothing to its weight."""

    def forward(self, x, scale=None):
        x = F.dropout(F.normalize(x), 0.2, self.training)
        y = super().forward(x - x.mean(-1, keepdim=True)).relu()
        return dict(y=[y * 3 + 1, None], size=len(x))


class CastLinear(nn.Linear):
    """Multiplies in another precision, with the weight transposed."""

    def forward(self, x):
        return torch.addmm(
            self.bias.double(), x.double(), self.weight.t().double()
        ).float()


class SumLinear(nn.Linear):
    """Multiplies without a matrix product."""

    def forward(self, x):
        return (x.unsqueeze(1) * self.weight.unsqueeze(0)).sum(-1)


class MyProduct(torch.autograd.Function):
    """A product of one's own."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x @ weight.t()

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        return gradient @ weight, gradient.t() @ x


class OwnFunctionLinear(nn.Linear):
    """Multiplies by an autograd function that nobody knows."""

    def forward(self, x):
        return MyProduct.apply(x, self.weight)


class SplitConv2d(nn.Conv2d):
    """Uses its kernel in two halves, and flipped."""

    def forward(self, x):
        first, second = self.weight.flip(-1).split(2)
        return torch.cat([F.conv2d(x, first), F.conv2d(x, second)], 1)


class DynamicConv2d(nn.Conv2d):
    """Its kernel depends on the input, but a zero stays zero."""

    def forward(self, x):
        gate = x.mean().sigmoid()
        return self._conv_forward(x, self.weight * gate, self.bias)


PLAIN = [
    lambda: nn.Conv3d(2, 3, (1, 3, 3), padding_mode='circular', padding=1),
    lambda: nn.ConvTranspose1d(4, 2, 3, groups=2, stride=2),
    lambda: nn.MultiheadAttention(4, 2, kdim=6, vdim=5),
    lambda: SamePadConv2d(3, 4, 3, stride=2),
    lambda: NormedInputLinear(3, 4),
    lambda: CastLinear(3, 4),
    lambda: SumLinear(3, 4),
    lambda: OwnFunctionLinear(3, 4),
    lambda: SplitConv2d(3, 4, 3),
    lambda: DynamicConv2d(3, 4, 3),
]


class TwoInputLinear(nn.Linear):
    """Cannot be called with one input."""

    def forward(self, x, y):
        return F.linear(x + y, self.weight)


def kind_of(build):
    return type(build()).__name__
