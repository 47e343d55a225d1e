"""Which weights of a network may be pruned, and which stay whole."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import is_lazy

from .layers import hooked_weights, layer_weights
from .names import matches, matching, summary
from .stored import UncallableError, changes_to_weights

Globs = Sequence[str] | None

_NORMALISATIONS = (
    _NormBase,
    *(
        getattr(nn, name)
        for name in ('LayerNorm', 'GroupNorm', 'RMSNorm')
        if hasattr(nn, name)  # RMSNorm: since torch 2.4
    ),
)


def weight_count(model: nn.Module) -> int:
    """All weights of a network: its parameters, frozen ones too.

    Biases and normalisation count, buffers do not. What has several names
    counts once.
    """
    return sum(param.numel() for param in model.parameters())


@dataclass(frozen=True)
class Unpruned:
    """Weights that stay whole although nobody said so.

    Attributes:
        layer: Class of the layers that hold them.
        names: Names of the parameters.
        weights: How many weights they have together.
        share: That number over the number of all weights.
    """

    layer: str
    names: list[str]
    weights: int
    share: float


def prunable_parameters(
    model: nn.Module, include: Globs = None, exclude: Globs = None
) -> dict[str, nn.Parameter]:
    """Weights of convolution and linear layers that require a gradient.

    Deformable convolutions are convolutions, and the projections of
    ``nn.MultiheadAttention`` are linear layers. Biases and normalisation
    layers are never prunable; frozen weights are not, because no gradient
    ranks them. A weight that several layers share appears once, under its
    first name.

    Args:
        model: The network.
        include: Globs of parameter names, such as
            ``'backbone.*'``; only matching weights are prunable.
        exclude: Globs of weights to leave dense, also of those that
            :meth:`Prunability.unpruned` would list.

    Returns:
        The parameters by name, in the model's own order.

    Raises:
        ValueError: A glob matches nothing, nothing is left, or a layer
            changes its weight before it multiplies by it.
    """
    return Prunability(model, include, exclude).prunable()


class Prunability:
    """What may be pruned of a network, and what stays whole.

    Args:
        model: The network.
        include: See :func:`prunable_parameters`.
        exclude: See there.

    Raises:
        ValueError: A glob matches nothing, or a weight has no shape yet.
    """

    def __init__(
        self,
        model: nn.Module,
        include: Globs = None,
        exclude: Globs = None,
    ) -> None:
        self.model = model
        self.globs = f'include={include} and exclude={exclude}'
        self.params = dict(model.named_parameters())
        for name, param in self.params.items():
            if is_lazy(param):
                raise ValueError(
                    f'{name} has no shape yet: call the model on a batch first'
                )
        self.layers = _layers_by_weight(model)
        scales = _normalising(model)
        trainable = {
            name: p
            for name, p in self.params.items()
            if p.requires_grad and p.numel()
        }
        self.candidates = {
            n: p for n, p in trainable.items() if p in self.layers
        }
        self.others = {
            n: p
            for n, p in trainable.items()
            if p not in self.layers and p not in scales and is_matrix(p)
        }
        never = {
            name: 'is never pruned' if p.requires_grad else 'is frozen'
            for name, p in self.params.items()
            if name not in self.candidates
        }
        self.matrices = {**self.candidates, **self.others}
        self.chosen = set(self.matrices)
        if include is not None:
            matching(self.candidates, include, 'include', never)
            self.chosen = {n for n in self.matrices if matches(n, include)}
        if exclude is not None:
            self.chosen -= matching(self.matrices, exclude, 'exclude', never)

    def prunable(self) -> dict[str, nn.Parameter]:
        """The weights that may go, in the model's own order.

        Raises:
            ValueError: There are none, or a layer changes its weight before
                it multiplies by it.
        """
        left = {n: p for n, p in self.candidates.items() if n in self.chosen}
        if not left:
            others = ', '.join(u.layer for u in self.unpruned())
            raise ValueError(
                f'nothing is prunable: of {len(self.candidates)} convolution '
                'and linear weights that require a gradient, none is left by '
                + self.globs
                + (others and f'; weights of {others} never are')
                + '. Let include and exclude leave some, or train layers '
                'that are frozen'
            )
        self.check_stored(left, 'leave them dense: exclude=')
        return left

    def check_stored(self, names: Iterable[str], remedy: str) -> None:
        """Refuse weights that are not multiplied by as they are stored.

        Args:
            names: Names of parameters, frozen or not.
            remedy: Words for the message before the names of what is wrong.

        Raises:
            ValueError: A layer changes its weight before it multiplies by
                it.
        """
        changed: dict[str, list[str]] = {}
        for name in names:
            if how := self._changed(name):
                changed.setdefault(how, []).append(name)
        if changed:
            listed = [
                f'{", ".join(summary(group, self.matrices))} ({how})'
                for how, group in changed.items()
            ]
            wrong = [name for group in changed.values() for name in group]
            raise ValueError(
                'some layers change their stored weights before they '
                'multiply by them, so that what is scored and set to zero is '
                f'not what takes part: {"; ".join(listed)}. Remedy: {remedy}'
                f'{summary(wrong, self.matrices)}'
            )

    def unpruned(self) -> list[Unpruned]:
        """Kernels and matrices that nobody excluded, by class of layer.

        Those are trainable parameters of at least two dimensions longer
        than one, if they do not belong to a normalisation: no vector of
        scales is one, whatever its shape. Tables that are looked up or
        added, such as embeddings, are matrices too: their weights are as
        many as they are.
        """
        by_layer: dict[str, dict[str, int]] = {}
        for name, param in self.others.items():
            if name in self.chosen:
                layer = type(_owner(self.model, name)).__name__
                by_layer.setdefault(layer, {})[name] = param.numel()
        everything = weight_count(self.model)
        return [
            Unpruned(layer, [*sizes], number, number / everything)
            for layer, sizes in by_layer.items()
            for number in [sum(sizes.values())]
        ]

    def unchecked(self) -> dict[str, str]:
        """Prunable weights of layers that cannot be tried, and why."""
        reasons = {}
        for name, param in self.candidates.items():
            if name in self.chosen:
                try:
                    _changes(self.layers[param], param)
                except UncallableError as e:
                    reasons[name] = str(e)
        return reasons

    def _changed(self, name: str) -> str:
        param = self.params[name]
        try:
            return _changes(self.layers.get(param, ()), param)
        except UncallableError:
            return ''  # taken on trust, and told: see unchecked


def is_matrix(param: nn.Parameter) -> bool:
    """Whether it has at least two dimensions longer than one."""
    return sum(side > 1 for side in param.shape) > 1


def _layers_by_weight(
    model: nn.Module,
) -> dict[nn.Parameter, list[nn.Module]]:
    """The layers of each weight; one that is shared has several."""
    layers: dict[nn.Parameter, list[nn.Module]] = {}
    for module in model.modules():
        for weight in layer_weights(module) + hooked_weights(module):
            layers.setdefault(weight, []).append(module)
    return layers


def _normalising(model: nn.Module) -> set[nn.Parameter]:
    return {
        param
        for module in model.modules()
        if isinstance(module, _NORMALISATIONS)
        for param in module.parameters(recurse=False)
    }


def _changes(layers: Sequence[nn.Module], weight: nn.Parameter) -> str:
    """What is done to a weight, in words; empty for nothing."""
    for layer in layers:
        kind = type(layer).__name__
        if any(weight is hooked for hooked in hooked_weights(layer)):
            hooks = layer._forward_pre_hooks.values()
            names = ', '.join(type(hook).__name__ for hook in hooks)
            return f'{kind} with the hook {names}'
        if operators := changes_to_weights(layer):
            return f'{kind}: {", ".join(operators)}'
    return ''


def _owner(model: nn.Module, name: str) -> nn.Module:
    """The layer that has a parameter, if only through parametrisations."""
    path = name.rpartition('.')[0].split('.')
    if 'parametrizations' in path:
        path = path[: path.index('parametrizations')]
    return model.get_submodule('.'.join(path))
