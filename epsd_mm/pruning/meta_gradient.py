"""The exact meta-gradient of a short training run, without unrolling it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from .gradients import (
    ReplayError,
    Vector,
    hessian_product,
    record_gradient,
    record_graph,
)
from .objective import Objective, Params, Step


@dataclass(frozen=True)
class MetaGradient:
    """What :func:`meta_gradient` returns.

    Attributes:
        gradient: ``∂L(θ_i)/∂θ_0`` by name, where the objective reaches.
        losses: The loss of each of the ``i + 1`` steps.
        growth: ``‖v_0‖ / ‖v_i‖``; large values say that the inner steps
            are too long for the curvature.
    """

    gradient: Vector
    losses: list[float]
    growth: float


def meta_gradient(
    objective: Objective,
    params: Params,
    batches: Iterator[Sequence[Any]],
    *,
    steps: int,
    lr: float,
    momentum: float = 0.0,
    first_order: bool = False,
    offload: bool = False,
    kept_graphs: int = 0,
) -> MetaGradient:
    """Differentiate the loss after ``steps`` SGD steps by the first weights.

    The inner steps are SGD with momentum, as ``torch.optim.SGD`` does it::

        u_{t+1} = μ u_t + ∇L(θ_t; x_t)          u_0 = 0
        θ_{t+1} = θ_t − η u_{t+1}               t = 0 … i−1

    Only the weights θ_0 … θ_i and the recorded batches are kept, and the
    graphs of the last ``kept_graphs`` steps. The walk back from
    ``v_i = ∇L(θ_i; x_i)``, ``w_i = 0`` is the adjoint of that recursion and
    takes one Hessian product a step::

        b_t = v_{t+1} + w_{t+1}
        v_t = v_{t+1} − η H_t b_t
        w_t = μ b_t

    Without momentum ``v_t = v_{t+1} − η H_t v_{t+1}``: ProsPr (Alizadeh et
    al., ICLR 2022) for cross-entropy, EPSD (Chen et al., AAAI 2024) for a
    self-distillation objective.

    Args:
        objective: The loss, with exact replay.
        params: θ_0 by name: every weight that the inner steps move.
        batches: Yields the batches of one step at a time; their losses are
            averaged. ``steps + 1`` items are taken.
        steps: ``i``, the number of inner steps; 0 is a plain gradient.
        lr: η, the length of an inner step.
        momentum: μ.
        first_order: Drop the Hessian products, ``v_0 = v_i``.
        offload: Keep θ_0 … θ_i on the CPU.
        kept_graphs: Number of inner steps, the last ones, that are not
            evaluated again on the way back. Each saves the time of a
            training gradient and holds the memory of a graph.

    Returns:
        The meta-gradient with its losses.

    Raises:
        FloatingPointError: A loss or a gradient is not finite; names the
            step.
        ReplayError: A replayed loss is not the recorded one; names the
            step.
        SecondOrderError: An operator under the loss cannot be
            differentiated twice; names it.
    """
    device = next(iter(params.values())).device
    storage = torch.device('cpu') if offload else device
    kept_from = steps - kept_graphs
    theta = {name: p.detach() for name, p in params.items()}
    trail: list[Callable[[Vector], Vector]] = []
    losses, velocity = [], {}
    for t in range(steps):
        record = record_gradient if t < kept_from else record_graph
        loss, gradient, recorded = _at_step(
            t, record, objective, theta, next(batches)
        )
        losses.append(loss)
        if first_order:
            pass
        elif t < kept_from:
            place = _moved(theta, storage), device, recorded
            trail.append(partial(_replayed, objective, *place))
        else:
            trail.append(recorded.product)
        velocity = _scaled_sum(velocity, momentum, gradient, 1.0)
        theta = _scaled_sum(theta, 1.0, velocity, -lr)
    loss, v, _ = _at_step(
        steps, record_gradient, objective, theta, next(batches)
    )
    losses.append(loss)
    del theta, velocity
    final_norm = _norm(v)
    w: Vector = {}
    while trail:
        product_at_step = trail.pop()
        b = _scaled_sum(v, 1.0, w, 1.0)
        product = _at_step(len(trail), product_at_step, b)
        v = _scaled_sum(v, 1.0, product, -lr)
        w = _scaled_sum(b, momentum, {}, 0.0)
    growth = _norm(v) / final_norm if final_norm else float('nan')
    return MetaGradient(v, losses, growth)


def _replayed(
    objective: Objective,
    params: Params,
    device: torch.device,
    recorded: list[Step],
    vector: Vector,
) -> Vector:
    theta = _moved(params, device)
    return hessian_product(objective, theta, recorded, vector)


def _at_step(t: int, function, *args):
    """Call a function and name the inner step in what it raises."""
    try:
        return function(*args)
    except (FloatingPointError, ReplayError) as e:
        hint = ''
        if t and isinstance(e, FloatingPointError):
            hint = '; a smaller lr of the criterion keeps it finite'
        raise type(e)(f'inner step {t}: {e}{hint}') from e


def _scaled_sum(a: Vector, alpha: float, b: Vector, beta: float) -> Vector:
    """``alpha a + beta b``; a weight absent from one counts as zero."""
    terms = [(vector, c) for vector, c in ((a, alpha), (b, beta)) if c]
    result: Vector = {}
    for vector, factor in terms:
        for name, tensor in vector.items():
            if name in result:
                result[name] = result[name].add(tensor, alpha=factor)
            else:
                result[name] = tensor if factor == 1 else factor * tensor
    return result


def _moved(params: Params, device: torch.device) -> Vector:
    return {name: p.to(device) for name, p in params.items()}


def _norm(vector: Vector) -> float:
    return sum(float(t.double().pow(2).sum()) for t in vector.values()) ** 0.5
