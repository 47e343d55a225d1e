"""Trying groups: is a network without some units the one with zeros?"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _NormBase

from .attributes import Repeated, repeated
from .groups import Group, Groups, Width
from .widths import widths
from .wiring import Trace, tensors, traceable

#: Of the largest output. Single precision comes to 1e-5 in deep networks;
#: what a unit should not have touched changes by far more.
_TOLERANCE = 1e-4

#: How often weights are drawn, until outputs are equal. They may differ by
#: chance where a network sorts, as those that choose queries do: two values
#: that rounding brings into another order are enough.
_DRAWS = 2

#: A tensor's name, its axis, and the role of its positions.
_Where = tuple[str, int, str]


def tried(model: nn.Module, trace: Trace, groups: Groups) -> Groups:
    """Keep the groups whose units can go, alone and all together.

    With random weights, random units are removed: set to zero once, cut out
    once. Where that raises an error or the outputs differ, something reads
    the units that the graph has not seen, or would not do without them, and
    the group stays whole.

    Args:
        model: Left as it was.
        trace: Calls it.
        groups: What the graph says.
    """
    whole = dict(groups.whole)
    with traceable(model), torch.no_grad():
        trial = _Trial(model, trace, groups)
        trial.accept([g for g in groups.values() if g.units > 1])
        trial.accept_repeated(
            repeated(model, map(groups.__getitem__, trial.refused))
        )
    kept = []
    accepted = {group.name: group for group in trial.accepted}
    for name, group in groups.items():
        if name in accepted:
            kept.append(accepted[name])
        elif group.units == 1 or name in trial.refused:
            reason = trial.refused.get(name, 'its channels go all together')
            for layer in group.layers('producer'):
                whole.setdefault(layer, reason)
    return Groups(kept, whole, trial.attributes)


class _Trial:
    """Groups that can be cut together, and those that cannot.

    Suspected first are those with a part in the module that fails; where
    none is, halving finds them.

    Attributes:
        accepted: Those that can be cut.
        refused: Why others cannot, by name.
        attributes: What becomes narrower with them.
    """

    def __init__(self, model: nn.Module, trace: Trace, groups: Groups) -> None:
        generator = torch.Generator().manual_seed(0)
        self.refused: dict[str, str] = {}
        self.accepted: list[Group] = []
        self.attributes = dict(groups.attributes)
        self._model = _Traced(model, trace)
        self._failed: str | None = None
        self._zeros: dict[tuple[int, tuple[str, ...]], list[Tensor]] = {}
        self._names = _names(model)
        self._drawn = [
            _random_weights(model, generator) for _ in range(_DRAWS)
        ]
        self._removed = {
            name: _some_units(group.units, generator)
            for name, group in groups.items()
        }

    def accept(self, groups: list[Group]) -> None:
        """Those that can be cut beside the ones that were accepted before."""
        if not groups:
            return
        reason = self._difference([*self.accepted, *groups])
        if not reason:
            self.accepted += groups
        elif len(groups) == 1:
            self.refused[groups[0].name] = reason
        else:
            suspects = self._suspects(groups)
            if len(suspects) in (0, len(groups)):
                suspects = groups[len(groups) // 2 :]
            names = {group.name for group in suspects}
            self.accept([g for g in groups if g.name not in names])
            self.accept(suspects)

    def accept_repeated(self, found: list[Repeated]) -> None:
        """Of those that were refused, what attributes must be told of."""
        if not found:
            return
        before = len(self.accepted)
        stated = dict(self.attributes)
        for each in found:
            self.attributes |= each.attributes
        self.accept([each.group for each in found])
        attributes: dict[str, Width] = {}
        accepted = {group.name for group in self.accepted[before:]}
        for each in found:
            if each.group.name in accepted:
                attributes |= each.attributes
                for name in each.names:
                    self.refused.pop(name, None)
        # Those that say something else, a number of classes perhaps, stay.
        for last in sorted({p.rpartition('.')[2] for p in attributes}):
            fewer = {
                path: width
                for path, width in attributes.items()
                if path.rpartition('.')[2] != last
            }
            self.attributes = {**stated, **fewer}
            if not self._difference(self.accepted):
                attributes = fewer
        self.attributes = {**stated, **attributes}

    def _difference(self, groups: list[Group]) -> str:
        """Why these groups cannot be cut; empty if they can."""
        names = tuple(sorted(group.name for group in groups))
        removed = self._positions(groups)
        for draw, weights in enumerate(self._drawn):
            try:
                cut = self._cut_outputs(weights, removed)
            except (RuntimeError, ValueError, AssertionError, IndexError) as e:
                (line, *_) = str(e).splitlines() or [type(e).__name__]
                return f'its model cannot be called without some units: {line}'
            if (draw, names) not in self._zeros:  # only those of the last
                zeros = self._outputs(_zeroed(weights, removed), {})
                self._zeros = {(draw, names): zeros}
            if _all_close(self._zeros[draw, names], cut):
                return ''
        return 'a unit that is zero still changes the outputs'

    def _cut_outputs(
        self, weights: Mapping[str, Tensor], removed: Mapping[_Where, Tensor]
    ) -> list[Tensor]:
        narrow = _cut(weights, removed)
        shapes = {
            name: tensor.shape
            for name, tensor in narrow.items()
            if tensor.shape != weights[name].shape
        }
        model = self._model.model
        changes = widths(model, shapes, self.attributes)
        calls: list[str] = []
        self._failed = None
        with _calls(model, calls):
            try:
                return self._outputs(narrow, changes)
            except Exception:
                self._failed = calls[-1] if calls else None
                raise

    def _suspects(self, groups: list[Group]) -> list[Group]:
        """Those with a part in the module that failed, or around it."""
        path, found = self._failed, []
        while path and not found:
            inside = f'{path}.'
            found = [
                group
                for group in groups
                if any(m.name.startswith(inside) for m in group.members)
            ]
            path = path.rpartition('.')[0]
        return found

    def _positions(self, groups: list[Group]) -> dict[_Where, Tensor]:
        positions = defaultdict(list)
        for group in groups:
            for member in group.members:
                units = member.index[self._removed[group.name]]
                where = (member.name, member.axis, member.role)
                positions[where].append(units.flatten())
        return {where: torch.cat(each) for where, each in positions.items()}

    def _outputs(
        self, weights: Mapping[str, Tensor], attributes: dict[str, dict]
    ) -> list[Tensor]:
        named = {
            f'model.{name}': weights[first]
            for name, first in self._names.items()
        }
        torch.manual_seed(0)  # some networks draw numbers in eval mode too
        with _with_attributes(self._model.model, attributes):
            # What is tied has all of its names; torch would take a layer
            # with two names for two, and leave the last tensor in it.
            outputs = functional_call(
                self._model, named, (), tie_weights=False
            )
        return [*tensors(outputs)]


class _Traced(nn.Module):
    def __init__(self, model: nn.Module, trace: Trace) -> None:
        super().__init__()
        self.model = model
        self._trace = trace

    def forward(self) -> Any:
        return self._trace(self.model)


def _random_weights(
    model: nn.Module, generator: torch.Generator
) -> dict[str, Tensor]:
    """Values that neither vanish nor explode, whatever the model has."""

    def random(like: Tensor, scale: float) -> Tensor:
        values = torch.randn(like.shape, generator=generator) * scale
        return values.to(like)

    scales = {
        tensor
        for module in model.modules()
        if isinstance(module, (_NormBase, nn.GroupNorm, nn.LayerNorm))
        for tensor in (module.weight, getattr(module, 'running_var', None))
    }
    weights = {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        is_mean = name.endswith('running_mean')
        if not tensor.is_floating_point():
            weights[name] = tensor.clone()
        elif tensor in scales:
            weights[name] = random(tensor, 0.2).clamp_(-0.5, 0.5) + 1
        elif not isinstance(tensor, nn.Parameter) and not is_mean:
            weights[name] = tensor.clone()
        elif tensor.dim() > 1:
            # So that what goes in is what comes out, ReLU halving it between.
            weights[name] = random(tensor, (2 / tensor[0].numel()) ** 0.5)
        else:
            weights[name] = tensor.detach() + random(tensor, 0.2)
    return weights


def _names(model: nn.Module) -> dict[str, str]:
    """The first name of a parameter or buffer, by each of its names."""
    first: dict[Tensor, str] = {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        first[tensor] = name
    return {
        name: first[tensor]
        for prefix, module in model.named_modules()
        for own in (module.named_parameters, module.named_buffers)
        for name, tensor in own(prefix, recurse=False)
    }


def _some_units(units: int, generator: torch.Generator) -> Tensor:
    """At least one of several, and at most all but one."""
    order = torch.randperm(units, generator=generator)
    least, most = 1 + units // 4, 1 + units // 2
    number = int(torch.randint(least, most + 1, (), generator=generator))
    return order[: min(number, units - 1)]


def _zeroed(
    weights: Mapping[str, Tensor], removed: Mapping[_Where, Tensor]
) -> dict[str, Tensor]:
    zeroed = dict(weights)
    for (name, axis, role), positions in removed.items():
        if role != 'statistic':
            positions = positions.to(zeroed[name].device)
            zeroed[name] = zeroed[name].index_fill(axis, positions, 0)
    return zeroed


def _cut(
    weights: Mapping[str, Tensor], removed: Mapping[_Where, Tensor]
) -> dict[str, Tensor]:
    cut = dict(weights)
    for (name, axis, _), positions in removed.items():
        kept = torch.ones(cut[name].shape[axis], dtype=torch.bool)
        kept[positions] = False
        kept = kept.nonzero().flatten().to(cut[name].device)
        cut[name] = cut[name].index_select(axis, kept)
    return cut


def _all_close(zeros: list[Tensor], cut: list[Tensor]) -> bool:
    return len(zeros) == len(cut) and all(map(_close, zeros, cut))


def _close(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    finite = one.isfinite()
    if not torch.equal(finite, other.isfinite()):
        return False
    one, other = one[finite], other[finite]
    if not one.numel():
        return True
    allowed = _TOLERANCE * one.abs().max()
    return bool((one - other).abs().max() <= allowed)


@contextmanager
def _calls(model: nn.Module, calls: list[str]) -> Iterator[None]:
    """Note which modules are being called, the innermost one last."""

    def enter(name: str, *_: Any) -> None:
        calls.append(name)

    def leave(*_: Any) -> None:
        calls.pop()

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            before = module.register_forward_pre_hook(partial(enter, name))
            after = module.register_forward_hook(leave)
            hooks.callback(before.remove)
            hooks.callback(after.remove)
        yield


@contextmanager
def _with_attributes(
    model: nn.Module, attributes: Mapping[str, Mapping[str, int]]
) -> Iterator[None]:
    before = []
    for name, values in attributes.items():
        own = vars(model.get_submodule(name))
        before.append((own, {key: own[key] for key in values}))
        own.update(values)
    try:
        yield
    finally:
        for own, values in before:
            own.update(values)
