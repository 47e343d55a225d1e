"""A network by itself: outputs for images, in place of a loss."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _NormBase


@dataclass(frozen=True)
class Network:
    """The outputs of a module as a function of weights and images.

    In evaluation mode and in the precision of the weights. Weights, buffers
    and modes of the module stay as they are.

    Attributes:
        model: The module.
        images: Those of a batch, as the module takes them.
        options: More that it is called with.
        kept: A context that puts back what else the module remembers.
        tell: Takes a number for each evaluation that is done, to show how
            far scoring is.
        count: Takes the number of images of each call, and what they cost in
            forward passes: a backward pass is worth two.
    """

    model: nn.Module
    images: Tensor
    options: Mapping[str, Any] = field(default_factory=dict)
    kept: Callable[[], AbstractContextManager] = nullcontext
    tell: Callable[[float], None] = lambda value: None
    count: Callable[[int, int], None] = lambda images, passes: None

    def outputs(
        self,
        weights: Mapping[str, Tensor],
        images: Tensor,
        buffers: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """What it makes of images.

        Args:
            weights: By name; the others are those of the module.
            images: In the shape of :attr:`images`, but for their number.
            buffers: By name, likewise.

        Raises:
            TypeError: The outputs are not one tensor.
        """
        state = {**self._state(weights), **(buffers or {}), **weights}
        with self.kept(), _evaluating(self.model):
            return self._call(state, images)

    def statistics(
        self, weights: Mapping[str, Tensor], images: Tensor
    ) -> dict[str, Tensor]:
        """Buffers by name, with the statistics of these images alone.

        As a layer of batch normalisation has them after one step of training
        with momentum 1; none where no layer keeps any. All else is in
        evaluation mode: nothing drops out.
        """
        if not _measures(self.model):
            return {}
        state = {**self._state(weights), **weights}
        with self.kept(), torch.no_grad(), _measuring(self.model):
            self._call(state, images)
        return {name: state[name] for name, _ in self.model.named_buffers()}

    def positive_outputs(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Outputs for one image of ones, all other state at its size."""
        like = next(iter(weights.values()))
        ones = like.new_ones(self.images[:1].shape)
        others = {n: t.abs() for n, t in self._state(weights).items()}
        return self.outputs(weights, ones, others)

    def _call(self, state: dict[str, Tensor], images: Tensor) -> Tensor:
        options = dict(self.options)
        slopes = any(tensor.requires_grad for tensor in state.values())
        backward = 2 if slopes and torch.is_grad_enabled() else 0
        self.count(len(images), len(images) * (1 + backward))
        outputs = functional_call(self.model, state, (images,), options)
        if not isinstance(outputs, Tensor):
            raise TypeError(
                'SynFlow, NTKSAP and SDMPrune take one tensor of outputs, but '
                f'{type(self.model).__name__} gives a '
                f'{type(outputs).__name__}: choose another criterion'
            )
        return outputs

    def _state(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Copies of all that the weights leave out, in their precision."""
        like = next(iter(weights.values()))
        everything = [
            *self.model.named_parameters(),
            *self.model.named_buffers(),
        ]
        return {
            name: tensor.detach().to(like.device, like.dtype, copy=True)
            if tensor.is_floating_point()
            else tensor.clone()
            for name, tensor in everything
            if name not in weights
        }


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def _measuring(model: nn.Module) -> Iterator[None]:
    """Evaluation, but for normalisation that measures what it sees."""
    norms = _measures(model)
    momenta = [norm.momentum for norm in norms]
    with _evaluating(model):
        for norm in norms:
            norm.training, norm.momentum = True, 1.0
        try:
            yield
        finally:
            for norm, momentum in zip(norms, momenta):
                norm.momentum = momentum


def _measures(model: nn.Module) -> list[_NormBase]:
    """The layers that keep statistics of what they see."""
    return [
        module
        for module in model.modules()
        if isinstance(module, _NormBase) and module.track_running_stats
    ]
