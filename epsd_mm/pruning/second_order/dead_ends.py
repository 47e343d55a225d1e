"""Finds operators that drop second-order terms without a word.

``torch.autograd.grad`` does not complain where the backward of an operator
cannot be differentiated (``once_differentiable``, a detached result): its
share of a Hessian product is simply missing. Where an operator of torch's own
has no second derivative, torch raises, and does not name what would help.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_QUOTED = re.compile(r"derivative for '?(?:aten::)?(\w+)")

# What torch puts behind a gradient that cannot be differentiated.
_DEAD_ENDS = ('torch::autograd::Error', 'torch::autograd::NotImplemented')

# Their backward takes for constants what their forward has computed, so that
# its own gradient is wrong, but there: nothing can be seen of it. The first
# is that of mmdet's heads with a product of two sigmoids.
_WRONG = ('SigmoidGeometricMeanBackward',)


class SecondOrderError(RuntimeError):
    """An operator under the loss cannot be differentiated twice."""

    @classmethod
    def of(cls, names: Iterable[str]) -> 'SecondOrderError':
        """The error for operators of these names."""
        return cls(
            f'{", ".join(sorted(names))}: the backward of this operator '
            'cannot be differentiated, so second-order terms would be '
            'missing from the score without a word. Use another operator, '
            'first_order=True in the criterion, or a criterion that needs '
            'no second derivative, such as SNIP'
        )


@contextmanager
def second_order_check(loss: Tensor):
    """Watch the gradient of ``loss`` that is built with ``create_graph``.

    Inside the context, each node of the graph must turn gradients that can
    be differentiated into gradients that can be differentiated. All of them
    can be: the gradient starts from a factor of one that asks for it, so
    that an operator which only a constant follows is watched like others.

    Raises:
        SecondOrderError: On leaving; names the operators that do not.
    """
    dropping = {n for node in _nodes(loss) if (n := node.name()) in _WRONG}
    one = torch.ones_like(loss, requires_grad=True)
    handles = [loss.register_hook(lambda grad: grad * one)]
    handles += [
        node.register_hook(_watch(node.name(), dropping))
        for node in _nodes(loss)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    if dropping:
        raise SecondOrderError.of(dropping)


@contextmanager
def second_derivatives():
    """Inside, where torch has no second derivative it is said by name.

    Some operators have a backward that is known to autograd and raises only
    when it is differentiated.

    Raises:
        SecondOrderError: Names the operator.
    """
    try:
        yield
    except NotImplementedError as e:
        # "the derivative for '_cdist_backward' is not implemented."
        operator = _QUOTED.search(str(e))
        if operator is None:
            raise
        raise SecondOrderError.of([operator[1]]) from e


def _watch(name: str, dropping: set[str]):
    def hook(grad_inputs: tuple, grad_outputs: tuple) -> None:
        if not any(g is not None and g.requires_grad for g in grad_outputs):
            return
        for grad in grad_inputs:
            if grad is not None and _is_dead_end(grad):
                dropping.add(name)

    return hook


def _is_dead_end(grad: Tensor) -> bool:
    if grad.grad_fn is None:
        # Steps such as floor or sign have a derivative of zero for good.
        return bool(grad.any())
    return grad.grad_fn.name() in _DEAD_ENDS


def _nodes(loss: Tensor) -> Iterator:
    seen, stack = set(), [loss.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        stack.extend(following for following, _ in node.next_functions)
