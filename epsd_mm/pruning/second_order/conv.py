"""Convolution that is differentiated twice by its own kernels."""

import torch
from torch import Tensor
from torch.autograd import Function

_conv = torch.ops.aten.convolution
_conv_backward = torch.ops.aten.convolution_backward


class Convolution(Function):
    """``y = x * W + b`` for images (N, C, H, W), by any geometry.

    ``operators`` is the :class:`~.operators.LeanOperators` it belongs to.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, geometry, operators):
        ctx.save_for_backward(x, weight)
        ctx.geometry, ctx.operators = geometry, operators
        return _conv(x, weight, bias, *geometry)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        leaf = weight.grad_fn is None
        skip = leaf and ctx.operators.skip_weight_gradients
        needs_bias = ctx.needs_input_grad[2]
        grad_x, grad_weight = _ConvolutionBackward.apply(
            grad, x, weight, ctx.geometry, ctx.needs_input_grad[0], skip
        )
        grad_bias = grad.sum((0, 2, 3)) if needs_bias else None
        return grad_x, grad_weight, grad_bias, None, None


class _ConvolutionBackward(Function):
    """The gradients of input and weight: bilinear in all three tensors.

    So each of their own derivatives is one convolution, or one gradient of
    a convolution, in which a tangent takes the place of a tensor.
    """

    @staticmethod
    def forward(ctx, grad, x, weight, geometry, needs_x, skip_weight):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(grad, x, weight)
        ctx.geometry = geometry
        grad_x, grad_weight = _gradients(
            grad, x, weight, geometry, needs_x, not skip_weight
        )
        if grad_weight is None:
            grad_weight = weight.new_zeros(()).expand_as(weight)
        return grad_x, grad_weight

    @staticmethod
    def backward(ctx, tangent_x, tangent_weight):
        grad, x, weight = ctx.saved_tensors
        geometry = ctx.geometry
        needs_grad, needs_x, needs_weight = ctx.needs_input_grad[:3]
        by_grad = by_x = by_weight = None
        if needs_grad and tangent_x is not None:
            by_grad = _conv(tangent_x, weight, None, *geometry)
        if needs_grad and tangent_weight is not None:
            part = _conv(x, tangent_weight, None, *geometry)
            by_grad = part if by_grad is None else by_grad.add_(part)
        if needs_x and tangent_weight is not None:
            by_x, _ = _gradients(
                grad, x, tangent_weight, geometry, True, False
            )
        if needs_weight and tangent_x is not None:
            _, by_weight = _gradients(
                grad, tangent_x, weight, geometry, False, True
            )
        return by_grad, by_x, by_weight, None, None, None


def _gradients(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    geometry: tuple,
    needs_x: bool,
    needs_weight: bool,
) -> tuple[Tensor | None, Tensor | None]:
    if not (needs_x or needs_weight):
        return None, None
    mask = [needs_x, needs_weight, False]
    return _conv_backward(grad, x, weight, None, *geometry, mask)[:2]
