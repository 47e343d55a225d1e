"""Objective: the only thing that a criterion sees of a model."""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from .network import Network

Params = Mapping[str, Tensor]


@dataclass(frozen=True)
class RandomState:
    """The state of python's, numpy's, torch's and CUDA's generators."""

    python: tuple
    numpy: dict
    torch: Tensor
    cuda: list

    @classmethod
    def capture(cls) -> 'RandomState':
        """The state as it is now."""
        cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
        return cls(
            random.getstate(),
            np.random.get_state(legacy=False),
            torch.get_rng_state(),
            torch.cuda.get_rng_state_all() if cuda else [],
        )

    def restore(self) -> None:
        """Make this the state from now on."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch.cpu())
        # It may come from a machine with more devices than this one.
        for device, state in zip(range(torch.cuda.device_count()), self.cuda):
            torch.cuda.set_rng_state(state.cpu(), device)


@contextmanager
def preserved_randomness():
    """Leave every generator afterwards as it was before."""
    state = RandomState.capture()
    try:
        yield
    finally:
        state.restore()


def seed_everything(seed: int) -> None:
    """Seed python, numpy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@dataclass(frozen=True)
class Step:
    """All that a loss depends on besides the weights.

    Attributes:
        batch: The batch as the model takes it.
        random_state: The generators just before the forward pass.
        loss: The recorded value, for comparison with a replay.
        teacher: Predictions that the loss is compared with, if any.
        terms: What the recorded value is the sum of, by name, where the
            objective tells.
    """

    batch: Any
    random_state: RandomState
    loss: float
    teacher: Any = None
    terms: dict[str, float] = field(default_factory=dict)


class Objective(ABC):
    """A loss of a network's weights that can be replayed exactly.

    ``record`` evaluates the loss on a new batch and keeps what is needed to
    evaluate it again; calling the objective evaluates a recorded step at
    any other weights. Neither changes the model: running statistics and
    other buffers are copied for each evaluation.
    """

    @abstractmethod
    def record(self, params: Params, batch: Any) -> tuple[Tensor, Step]:
        """The loss at ``params``, a scalar, and the step to replay it."""

    @abstractmethod
    def __call__(self, params: Params, step: Step) -> Tensor:
        """The loss of a recorded step at ``params``, a scalar."""

    def network(self, batch: Any) -> Network:
        """The network by itself, for criteria that look at no loss.

        Args:
            batch: Tells what images look like.

        Raises:
            TypeError: Its outputs are not one tensor, or not known.
        """
        raise TypeError(
            f'{type(self).__name__} shows no outputs of a network, which '
            'SynFlow, NTKSAP and SDMPrune take: give it a method network, or '
            'choose another criterion'
        )

    def outputs(self, params: Params, batch: Any) -> Tensor:
        """What the network makes of an image of ones, for SynFlow.

        In evaluation mode, in the precision of ``params``, with all other
        weights and buffers at their absolute values.

        Raises:
            TypeError: The outputs are not one tensor, or not known.
        """
        return self.network(batch).positive_outputs(params)

    def note(self, **values: Any) -> None:
        """Take a criterion's diagnostics. The default drops them."""


class ModuleObjective(Objective):
    """``loss(model, batch)`` of a plain module.

    Args:
        model: The network.
        loss: Returns a scalar tensor for the model and a batch.
    """

    def __init__(
        self, model: nn.Module, loss: Callable[[nn.Module, Any], Tensor]
    ) -> None:
        self._closure = _Closure(model, loss)
        self._buffers = dict(model.named_buffers())

    def record(self, params: Params, batch: Any) -> tuple[Tensor, Step]:
        state = RandomState.capture()
        loss = self._evaluate(params, batch)
        return loss, Step(batch, state, float(loss.detach()))

    def __call__(self, params: Params, step: Step) -> Tensor:
        with preserved_randomness():
            step.random_state.restore()
            return self._evaluate(params, step.batch)

    def network(self, batch: Any) -> Network:
        inputs = batch[0] if isinstance(batch, (list, tuple)) else batch
        if not isinstance(inputs, Tensor):
            raise TypeError(
                'SynFlow, NTKSAP and SDMPrune need images: the batch must be '
                'a tensor, or a list or tuple that starts with one, got '
                f'{type(inputs).__name__}'
            )
        return Network(self._closure.model, inputs)

    def _evaluate(self, params: Params, batch: Any) -> Tensor:
        buffers = {name: b.clone() for name, b in self._buffers.items()}
        state = {
            f'model.{name}': tensor
            for name, tensor in {**buffers, **params}.items()
        }
        loss = functional_call(self._closure, state, (batch,))
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise TypeError(
                'loss(model, batch) must return a scalar tensor, got '
                f'{getattr(loss, "shape", type(loss).__name__)}'
            )
        wanted = any(param.requires_grad for param in params.values())
        if wanted and not loss.requires_grad:
            raise TypeError(
                'loss(model, batch) has no gradient: it must be computed '
                'from the outputs of the model, without detaching them'
            )
        return loss.reshape(())


class _Closure(nn.Module):
    """Lets ``functional_call`` reach a model that a loss calls."""

    def __init__(self, model: nn.Module, loss: Callable) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, batch: Any) -> Tensor:
        return self.loss(self.model, batch)
