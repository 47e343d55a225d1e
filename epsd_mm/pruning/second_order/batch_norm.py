"""Batch normalisation that is differentiated twice in closed form."""

import torch
from torch import Tensor
from torch.autograd import Function

_norm = torch.ops.aten.native_batch_norm
_norm_backward = torch.ops.aten.native_batch_norm_backward
_ALL = [True, True, True]


class BatchNorm(Function):
    """``y = w x̂ + b`` with ``x̂ = (x − μ) r``, ``r = (σ² + ε)^(−1/2)``.

    μ and σ² are those of the batch, over all but the channels (the second
    dimension), or the running statistics where ``training`` is false.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, mean, var, training, momentum, eps):
        y, batch_mean, batch_r = _norm(
            x, weight, bias, mean, var, training, momentum, eps
        )
        ctx.training = training
        if training:
            ctx.save_for_backward(x, weight, batch_mean, batch_r)
        else:
            ctx.save_for_backward(x, weight, mean, (var + eps).rsqrt())
        return y

    @staticmethod
    def backward(ctx, grad):
        by_input = _BatchNormBackward.apply(
            grad, *ctx.saved_tensors, ctx.training
        )
        return *by_input, None, None, None, None, None


class _BatchNormBackward(Function):
    """The gradients of input, weight and bias.

    With ``g`` the gradient of y, and means over all but the channels::

        training    ∂x = w r [g − mean(g) − x̂ mean(g x̂)]
        otherwise   ∂x = w r g
        ∂w = Σ g x̂      ∂b = Σ g

    Their own derivatives follow from ``∂r/∂x = −r² x̂ / n`` and
    ``∂x̂_k/∂x_j = r (δ_kj − 1/n − x̂_k x̂_j / n)``. Each is a sum of g, x̂
    and the tangent of x, with one coefficient a channel.
    """

    @staticmethod
    def forward(ctx, grad, x, weight, mean, r, training):
        ctx.set_materialize_grads(False)
        ctx.training = training
        by_x, by_weight, by_bias = _first(grad, x, weight, mean, r, training)
        ctx.save_for_backward(grad, x, weight, mean, r, by_weight, by_bias)
        return by_x, by_weight, by_bias

    @staticmethod
    def backward(ctx, u, a, b):
        grad, x, weight, mean, r, sum_gx, sum_g = ctx.saved_tensors
        n = x.numel() // x.shape[1]
        zero = torch.zeros_like(r)
        a, b = (zero if t is None else t for t in (a, b))
        if u is None:
            by_grad = torch.zeros_like(grad)
            sum_u = sum_ux = sum_ug = zero
        else:
            by_grad, sum_ux, sum_u = _first(
                u, x, weight, mean, r, ctx.training
            )
            sum_ug = (u * grad).sum([0, *range(2, x.dim())])
        _add_scaled(by_grad, x, a * r, b - a * r * mean)
        if not ctx.training:
            by_x = grad * _by_channel(a * r, x)
            return by_grad, by_x, r * sum_ug, None, None, None
        g, gx, ux = sum_g / n, sum_gx / n, sum_ux / n
        mean_u = sum_u / n
        # ⟨u, ∂x⟩ = w r n spread; q is what reaches x̂ itself.
        spread = sum_ug / n - mean_u * g - ux * gx
        mean_q = a * g - weight * r * (mean_u * gx + g * ux)
        mean_qx = a * gx - 2 * weight * r * ux * gx
        by_x = grad * _by_channel(r * (a - weight * r * ux), x)
        if u is not None:
            by_x.addcmul_(u, _by_channel(-r * weight * r * gx, x))
        along_x = -r * (mean_qx + weight * r * spread)
        _add_scaled(by_x, x, along_x * r, -r * mean_q - along_x * r * mean)
        return by_grad, by_x, r * n * spread, None, None, None


def _first(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    mean: Tensor,
    r: Tensor,
    training: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    if training:
        return _norm_backward(
            grad, x, weight, None, None, mean, r, True, 0.0, _ALL
        )
    # The kernel wants σ² + ε where no batch statistics are in use.
    var = r.pow(-2)
    return _norm_backward(
        grad, x, weight, mean, var, None, None, False, 0.0, _ALL
    )


def _add_scaled(total: Tensor, x: Tensor, slope: Tensor, shift: Tensor):
    """``total += slope x + shift``, both by channel."""
    total.addcmul_(x, _by_channel(slope, x)).add_(_by_channel(shift, x))


def _by_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (x.dim() - 2))
