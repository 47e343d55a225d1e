"""ProsPr, and EPSD when the objective distils."""

import math

from ..meta_gradient import meta_gradient
from .base import Sensitivity, masked


class ProsPr(Sensitivity):
    """Effect of a weight on the loss after a few training steps.

    ::

        s_p = | ∂L(θ_i; x_i) / ∂m_p | = | θ_0 ⊙ ∂L(θ_i; x_i)/∂θ_0 |_p

    with θ_i reached from θ_0 = θ_init ⊙ m by ``steps`` SGD steps. Alizadeh
    et al., *Prospect Pruning: Finding Trainable Weights at Initialization
    using Meta-Gradients*, ICLR 2022. With a self-distillation loss as the
    objective it is the first stage of EPSD (Chen et al., AAAI 2024).
    ``steps=0`` is SNIP. The gradient is exact, second-order terms included;
    see :func:`~epsd_mm.pruning.meta_gradient.meta_gradient`.

    Args:
        steps: Number of inner steps.
        lr: Length of an inner step. ProsPr's own 0.1 suits classifiers;
            detectors need a smaller one (a growth above 3 in the report
            says so).
        momentum: Momentum of the inner steps.
        first_order: Drop the second-order terms.
        offload: Keep the weights of the inner steps on the CPU.
        kept_graphs: Number of inner steps, the last ones, whose graphs are
            kept for the way back: each saves the time of a training
            gradient and takes the memory of one and a half.
    """

    cost_only = ('offload', 'kept_graphs')

    def __init__(
        self,
        steps: int = 3,
        lr: float = 0.1,
        momentum: float = 0.0,
        first_order: bool = False,
        offload: bool = False,
        kept_graphs: int = 0,
    ) -> None:
        if type(steps) is not int or steps < 0:
            raise ValueError(f'steps={steps!r} must be an integer >= 0')
        if not isinstance(lr, (int, float)) or not lr > 0:
            raise ValueError(f'lr={lr!r} must be a positive number')
        if not isinstance(momentum, (int, float)) or not 0 <= momentum < 1:
            raise ValueError(f'momentum={momentum!r} must be in [0, 1)')
        if not isinstance(kept_graphs, int) or not 0 <= kept_graphs <= steps:
            raise ValueError(
                f'kept_graphs={kept_graphs!r} must be an integer from 0 to '
                f'steps={steps}'
            )
        if first_order and kept_graphs:
            raise ValueError(
                f'kept_graphs={kept_graphs} has no effect with '
                'first_order=True: no step is differentiated twice'
            )
        if offload and (first_order or kept_graphs == steps):
            raise ValueError(
                'offload=True has no effect: with '
                f'first_order={first_order}, steps={steps} and kept_graphs='
                f'{kept_graphs} no weights wait for the way back'
            )
        unused = dict(momentum=momentum, first_order=first_order)
        unused = [name for name, value in unused.items() if value]
        if steps == 0 and unused:
            raise ValueError(
                f'{" and ".join(unused)} has no effect with steps=0: remove '
                'it, or set steps=1 or more'
            )
        self.steps = steps
        self.lr = lr
        self.momentum = momentum
        self.first_order = first_order
        self.offload = offload
        self.kept_graphs = kept_graphs

    @property
    def steps_per_draw(self) -> int:
        return self.steps + 1

    @property
    def evaluations(self) -> int:
        return self.steps + 1 + self.replays

    @property
    def hessian_products(self) -> int:
        return 0 if self.first_order else self.steps

    @property
    def replays(self) -> int:
        return self.hessian_products - self.kept_graphs

    def products(self, objective, params, masks, batches):
        weights = masked(params, masks)
        result = meta_gradient(
            objective,
            weights,
            batches,
            steps=self.steps,
            lr=self.lr,
            momentum=self.momentum,
            first_order=self.first_order,
            offload=self.offload,
            kept_graphs=self.kept_graphs,
        )
        objective.note(losses=result.losses)
        if not math.isnan(result.growth):
            objective.note(growth=result.growth)
        return {
            name: weights[name] * result.gradient[name]
            for name in masks
            if name in result.gradient
        }
