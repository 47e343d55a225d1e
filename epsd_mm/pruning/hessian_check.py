"""A Hessian product against differences of gradients."""

from collections.abc import Sequence
from typing import Any

import torch

from .gradients import Vector, hessian_product, record_gradient
from .objective import Objective, Params, Step
from .second_order import SecondOrderError, plain_operators

# Lengths of the step to either side over the length of all weights. Short
# ones, so that hardly any unit crosses a kink; each is a new chance that
# none does, while what an operator drops is missing at all of them.
_LENGTHS = (1e-8, 1e-9, 1e-10, 1e-11)


def check_hessian_product(
    objective: Objective,
    params: Params,
    batches: Sequence[Any],
    tolerance: float = 0.01,
) -> float:
    """Compare ``H g``, by double backward, with a central difference.

    ::

        (∇L(θ + ε g) − ∇L(θ − ε g)) / 2ε

    This finds what the check before each Hessian product cannot see, such
    as a backward of one's own that detaches what it has saved. It is no
    part of scoring, since it needs float64, in which no kink of a ReLU lies
    within reach, and a loss without values that are held constant but
    depend on the weights: a two-stage detector's proposals move under the
    difference and not under ``H``. Such a head is checked by itself.

    Args:
        objective: The loss, with exact replay.
        params: Weights by name, in float64.
        batches: At least one batch; their losses are averaged.
        tolerance: Largest relative error of the product of a weight. Those
            far smaller than the product of all are measured by that one.

    Returns:
        The largest relative error.

    Raises:
        SecondOrderError: It exceeds ``tolerance``; names the weights.
        TypeError: Weights are not in float64.
    """
    for name, param in params.items():
        if param.dtype != torch.float64:
            raise TypeError(
                f'{name!r} is in {param.dtype}, in which differences of '
                'gradients show rounding and kinks: check model.double() '
                'and batches in float64'
            )
    theta = {name: p.detach() for name, p in params.items()}
    _, gradient, steps = record_gradient(objective, theta, batches)
    product = hessian_product(objective, theta, steps, gradient)
    unit = _norm(theta) / _norm(gradient)
    best: dict[str, float] = {}
    for length in _LENGTHS:
        epsilon = length * unit
        sides = [
            _gradient_at(objective, theta, gradient, shift, steps)
            for shift in (epsilon, -epsilon)
        ]
        difference = {
            n: (sides[0][n] - sides[1][n]) / (2 * epsilon) for n in gradient
        }
        errors = _errors(product, difference)
        if not best or max(errors.values()) < max(best.values()):
            best = errors
        if max(best.values()) <= tolerance:
            return max(best.values())
    wrong = [name for name, error in best.items() if error > tolerance]
    raise SecondOrderError(
        f'the Hessian product is off by {max(best.values()):.1%} in '
        f'{", ".join(map(repr, wrong))}: between these weights and the loss '
        'an operator has a backward that drops second-order terms, or a '
        'value that depends on them is held constant. Score by '
        'first_order=True, or by a criterion that needs no second derivative'
    )


@plain_operators()
def _gradient_at(
    objective: Objective,
    theta: Vector,
    direction: Vector,
    shift: float,
    steps: Sequence[Step],
) -> Vector:
    moved = {
        n: p.add(direction[n], alpha=shift) if n in direction else p.clone()
        for n, p in theta.items()
    }
    leaves = {n: moved[n].requires_grad_() for n in direction}
    loss = sum(objective(moved, step) for step in steps) / len(steps)
    gradient = torch.autograd.grad(loss, list(leaves.values()))
    return dict(zip(leaves, gradient))


def _errors(got: Vector, want: Vector) -> dict[str, float]:
    floor = 1e-3 * _norm(want)
    errors = {}
    for name, tensor in want.items():
        off = tensor - got[name] if name in got else tensor
        size = max(float(tensor.norm()), floor)
        errors[name] = float(off.norm()) / size if size else 0.0
    return errors


def _norm(vector: Vector) -> float:
    return sum(float(t.pow(2).sum()) for t in vector.values()) ** 0.5
