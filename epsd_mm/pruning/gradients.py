"""Gradients and Hessian products of an objective, one batch at a time.

A step of a criterion may consist of several batches, whose losses are
averaged: a detector's batch of two images is no scoring batch. They are
evaluated one after the other, so memory does not grow with their number.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .finite import is_finite
from .objective import Objective, Params, Step
from .second_order import (
    LeanOperators,
    plain_operators,
    second_derivatives,
    second_order_check,
)

Vector = dict[str, Tensor]


class ReplayError(RuntimeError):
    """A replayed loss differs from the recorded one."""


@plain_operators()
def record_gradient(
    objective: Objective, params: Params, batches: Sequence[Any]
) -> tuple[float, Vector, list[Step]]:
    """Mean loss over new batches, its gradient, and the steps to replay.

    Args:
        objective: What is differentiated.
        params: Weights by name; they need not require a gradient.
        batches: At least one batch.

    Returns:
        The loss; its gradient with respect to those weights that the
        objective reaches; one recorded step a batch.

    Raises:
        FloatingPointError: The loss or a gradient is not finite.
    """
    leaves = _leaves(params)
    losses, steps, total = [], [], {}
    for batch in batches:
        loss, step = objective.record(leaves, batch)
        _check_finite_loss(step)
        _accumulate(total, _gradient(loss, leaves), 1 / len(batches))
        losses.append(step.loss)
        steps.append(step)
    _check_finite(total, 'gradient')
    return sum(losses) / len(losses), total, steps


@plain_operators()
def record_graph(
    objective: Objective, params: Params, batches: Sequence[Any]
) -> tuple[float, Vector, 'KeptGraph']:
    """The same, with the graph of the gradient in place of the steps.

    Raises:
        SecondOrderError: An operator cannot be differentiated twice.
    """
    leaves = _leaves(params)
    losses, graphs, total = [], [], {}
    for batch in batches:
        with LeanOperators():
            loss, step = objective.record(leaves, batch)
        _check_finite_loss(step)
        with second_order_check(loss):
            graph = _gradient(loss, leaves, create_graph=True)
        values = {name: tensor.detach() for name, tensor in graph.items()}
        _accumulate(total, values, 1 / len(batches))
        losses.append(step.loss)
        graphs.append(graph)
    _check_finite(total, 'gradient')
    loss = sum(losses) / len(losses)
    return loss, total, KeptGraph(leaves, graphs)


class KeptGraph:
    """The graphs of a step's gradients, one a batch."""

    def __init__(self, leaves: Vector, graphs: list[Vector]) -> None:
        self._leaves = leaves
        self._graphs = graphs

    @plain_operators()
    def product(self, vector: Vector) -> Vector:
        """``H v``, once; see :func:`hessian_product`."""
        total: Vector = {}
        share = 1 / len(self._graphs)
        while self._graphs:
            product = _product(self._graphs.pop(0), self._leaves, vector)
            _accumulate(total, product, share)
        _check_finite(total, 'Hessian product', _REMEDY)
        return total


@plain_operators()
def hessian_product(
    objective: Objective,
    params: Params,
    steps: Sequence[Step],
    vector: Vector,
) -> Vector:
    """``H v`` of the mean loss over recorded steps, by double backward.

    Args:
        objective: What is differentiated.
        params: The weights at which the steps were recorded.
        steps: Recorded steps.
        vector: ``v``; a weight that is absent counts as zero.

    Returns:
        The product, for those weights where it is not structurally zero.

    Raises:
        FloatingPointError: The product is not finite.
        ReplayError: A replayed loss is not the recorded one.
        SecondOrderError: An operator cannot be differentiated twice.
    """
    leaves = _leaves(params)
    total: Vector = {}
    for step in steps:
        operators = LeanOperators()
        with operators:
            loss = objective(leaves, step)
        _check_replay(loss, step)
        with second_order_check(loss), operators.without_weight_gradients():
            graph = _gradient(loss, leaves, create_graph=True)
        product = _product(graph, leaves, vector)
        _accumulate(total, product, 1 / len(steps))
    _check_finite(total, 'Hessian product', _REMEDY)
    return total


def _product(graph: Vector, leaves: Vector, vector: Vector) -> Vector:
    """The derivative of ``gᵀ v`` from the graph of a gradient ``g``."""
    pairs = [
        (graph[name], vector[name])
        for name in graph
        if name in vector and graph[name].requires_grad
    ]
    if not pairs:
        return {}
    outputs, seeds = zip(*pairs)
    with second_derivatives():
        product = torch.autograd.grad(
            outputs, list(leaves.values()), seeds, allow_unused=True
        )
    return {n: p for n, p in zip(leaves, product) if p is not None}


def _leaves(params: Params) -> Vector:
    return {n: p.detach().requires_grad_() for n, p in params.items()}


def _gradient(
    loss: Tensor, leaves: Vector, create_graph: bool = False
) -> Vector:
    gradient = torch.autograd.grad(
        loss,
        list(leaves.values()),
        create_graph=create_graph,
        allow_unused=True,
    )
    return {n: g for n, g in zip(leaves, gradient) if g is not None}


def _accumulate(total: Vector, update: Vector, factor: float) -> None:
    for name, tensor in update.items():
        if name in total:
            total[name].add_(tensor, alpha=factor)
        elif factor == 1:
            total[name] = tensor.detach()
        else:
            total[name] = tensor.detach() * factor


_TOO_LARGE = (
    ', though the loss is: an operator has no derivative at some value, such '
    'as a root at zero, or numbers are too large; score in float32 or more'
)


def _check_finite_loss(step: Step) -> None:
    if not math.isfinite(step.loss):
        raise FloatingPointError(
            f'the loss is {step.loss}: look for values that are not finite '
            'in the batch, the weights and the loss, or numbers too large '
            'for float32'
        )


def _check_finite(vector: Vector, what: str, remedy: str = _TOO_LARGE) -> None:
    for name, tensor in vector.items():
        if not is_finite(tensor):
            raise FloatingPointError(
                f'the {what} of {name!r} is not finite{remedy}'
            )


_REMEDY = (
    ', though loss and gradient are: an operator has no second derivative at '
    'some value, such as a norm at zero, or numbers are too large. Set '
    'first_order=True in the criterion, take one that needs no second '
    'derivative, such as SNIP, or a smaller lr'
)


def _check_replay(loss: Tensor, step: Step) -> None:
    value = float(loss.detach())
    # CUDA adds up in no fixed order, the CPU does.
    tolerance = 1e-3 if loss.is_cuda else 0.0
    if not math.isclose(value, step.loss, rel_tol=tolerance):
        raise ReplayError(
            f'the replayed loss {value!r} is not the recorded '
            f'{step.loss!r}: the model keeps state from one forward pass '
            'to the next, so its meta-gradient is undefined: keep that '
            'state in buffers, or take a criterion that calls it once a '
            'batch, such as SNIP'
        )
