"""NTK-SAP."""

import torch
from torch import Tensor, nn

from ..schedule import Schedule
from .base import Sensitivity


class NTKSAP(Sensitivity):
    """What a weight does to the trace of the neural tangent kernel.

    ::

        s_p = | ∂/∂m_p Σ_j ‖ f(x_j; θ_j ⊙ m) − f(x_j; (θ_j + ε Δ_j) ⊙ m) ‖² |

    For small ε the sum is in expectation ε² times the trace of the kernel,
    its nuclear norm. Of every sample j the prunable weights θ_j (Kaiming's
    normal distribution), a batch of images x_j and the direction Δ_j (both
    N(0, 1)) are new: scores depend on neither data nor initial weights, which
    train all the same. Wang et al., *NTK-SAP: Improving neural network
    pruning by aligning training dynamics*, ICLR 2023, algorithm 1. Batch
    normalisation takes the statistics of x_j at θ_j ⊙ m in both networks, as
    in the authors' code, whose script for CIFAR-10 has the defaults. Ours:
    nothing drops out, biases and normalisation keep their initial values,
    and a batch of images has the shape of one of the loader.

    Networks whose outputs are not one tensor, such as detectors, are refused.

    Args:
        rounds: Number of rounds; the authors take 100 for CIFAR-100 and
            Tiny-ImageNet.
        schedule: ``'exponential'`` or ``'linear'`` way to the density.
        samples: Of weights, images and directions in each round: the authors
            take 5 for each 256 of ten images a class, so 20 for CIFAR-100.
        epsilon: ε.
    """

    data_free = True
    takes_outputs = True

    def __init__(
        self,
        rounds: int = 20,
        schedule: str = 'exponential',
        samples: int = 5,
        epsilon: float = 0.01,
    ) -> None:
        if type(samples) is not int or samples < 1:
            raise ValueError(f'samples={samples!r} must be an integer >= 1')
        if not isinstance(epsilon, (int, float)) or not epsilon > 0:
            raise ValueError(f'epsilon={epsilon!r} must be a positive number')
        self.samples = samples
        self.epsilon = epsilon
        self.schedule = Schedule(rounds, schedule)

    @property
    def evaluations(self) -> int:
        return self.samples

    def products(self, objective, params, masks, batches):
        network = objective.network(next(batches)[0])
        fixed = {name: param.detach() for name, param in params.items()}
        total: dict[str, Tensor] = {}
        for _ in range(self.samples):
            gates = {
                name: mask.to(fixed[name]).requires_grad_()
                for name, mask in masks.items()
            }
            weights, moved = dict(fixed), dict(fixed)
            for name, gate in gates.items():
                drawn, step = self._drawn(fixed[name])
                weights[name] = gate * drawn
                moved[name] = gate * (drawn + step)
            images = _normal(network.images.shape, next(iter(fixed.values())))
            statistics = network.statistics(weights, images)
            apart = network.outputs(weights, images, statistics)
            apart = apart - network.outputs(moved, images, statistics)
            distance = apart.square().sum()
            network.tell(float(distance.detach()))
            slopes = torch.autograd.grad(
                distance, list(gates.values()), allow_unused=True
            )
            for (name, gate), slope in zip(gates.items(), slopes):
                if slope is not None:
                    slope = slope * gate.detach()  # what is gone stays gone
                    total[name] = total.get(name, 0) + slope
        return total

    def _drawn(self, param: Tensor) -> tuple[Tensor, Tensor | float]:
        """New weights and a step away from them; of a weight, no bias."""
        if param.dim() < 2:
            return param, 0.0
        weight = nn.init.kaiming_normal_(torch.empty(param.shape))
        return weight.to(param), self.epsilon * _normal(param.shape, param)


def _normal(shape: torch.Size, like: Tensor) -> Tensor:
    """One seed gives one draw, whatever the device and the precision."""
    return torch.randn(shape).to(like)
