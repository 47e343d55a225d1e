"""How channels flow between layers, as torch-pruning's graph has it."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from epsd_mm.pruning.layers import is_deformable, layer_weights

Trace = Callable[[nn.Module], Any]


@dataclass
class Space:
    """The channels at one side of one operation.

    Attributes:
        of: The layer, or a parameter that is no layer's; None for an
            operation without weights.
        side: ``'read'`` or ``'emitted'``; ``'both'`` where what is emitted
            are the channels that are read.
        size: How many there are.
        output: Whether they are an output of the network.
        axis: Of a parameter, the axis that has the channels.
    """

    of: nn.Module | nn.Parameter | None
    side: str
    size: int = 0
    output: bool = False
    axis: int = 0


@dataclass
class Wire:
    """Channels of one operation that the next one reads.

    Attributes:
        source: Number of the space that emits them.
        target: Number of the space that reads them.
        pairs: Channels of the source and of the target, of shape (pairs, 2).
        lost: Channels of the source that have no place in the target.
    """

    source: int
    target: int
    pairs: Tensor
    lost: Tensor


class Wiring(NamedTuple):
    """All spaces of a network, and the wires between them."""

    spaces: list[Space]
    wires: list[Wire]


#: What torch-pruning raises where it cannot follow a model.
_LOST = (
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    RecursionError,
    TypeError,
)


class _Index(NamedTuple):
    """A channel, and the one that it was: what torch-pruning maps."""

    idx: int
    root_idx: int


def wiring(model: nn.Module, trace: Trace) -> Wiring:
    """Follow the channels of a model from layer to layer.

    The model is left as it was.

    Args:
        model: In any mode.
        trace: Calls it on an example, and returns tensors, or containers of
            some, that depend on all that shall be seen.

    Raises:
        ImportError: torch-pruning is not installed.
        ValueError: The graph cannot follow the model.
    """
    graph = _dependency_graph()

    def forward(model: nn.Module, _: Any) -> list[Tensor]:
        for param in model.parameters():  # some models freeze theirs in eval
            param.requires_grad_(param.is_floating_point())
        with _offsets_apart(model) as offsets, _emitted(model) as emitted:
            returned = [t for t in tensors(trace(model)) if t.requires_grad]
        ends = [*returned, *offsets]
        ends += _unread(emitted, ends)
        # The product marks an output also where a layer returns it.
        outputs = [t * 1 for t in ends]
        if not returned:
            raise ValueError(
                f'{type(model).__name__} cannot be traced: none of its '
                'outputs depends on its weights in a way that autograd sees '
                '(is its forward pass under no_grad, or checkpointed? Then '
                'switch that off, or give find_groups a trace that calls '
                'the part that is differentiable)'
            )
        return outputs

    with traceable(model), ExitStack() as hooks:
        for module in model.modules():
            if isinstance(module, nn.Linear):
                hook = module.register_forward_hook(_no_view)
                hooks.callback(hook.remove)
        try:
            graph.build_dependency(model, None, forward, verbose=False)
        except _LOST as e:
            raise ValueError(
                f'{type(model).__name__} cannot be traced by torch-pruning: '
                f'{type(e).__name__}: {e}. Give find_groups a trace that '
                'calls a part of it that can be, or prune single weights'
            ) from e
    return _from_graph(graph)


def _no_view(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    """A copy: what changes a view in place hides the layer from autograd."""
    return output.clone()


@contextmanager
def _offsets_apart(model: nn.Module) -> Iterator[list[Tensor]]:
    """Let what tells deformable convolutions where to look end there.

    Those channels are no features that they read, whether they are given or
    come from a layer of their own.

    Yields:
        Them, after the model was called.
    """
    offsets: list[Tensor] = []

    def apart(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.requires_grad:
            return value
        offsets.append(value)
        return value.detach()

    def given(module: nn.Module, args: tuple, kwargs: dict) -> tuple:
        others = {
            name: value if name in ('x', 'input') else apart(value)
            for name, value in kwargs.items()
        }
        return (*args[:1], *map(apart, args[1:])), others

    def own(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        return apart(output)

    with ExitStack() as hooks:
        for module in filter(is_deformable, model.modules()):
            hook = module.register_forward_pre_hook(given, with_kwargs=True)
            hooks.callback(hook.remove)
            for layer in module.children():
                hook = layer.register_forward_hook(own)
                hooks.callback(hook.remove)
        yield offsets


@contextmanager
def _emitted(model: nn.Module) -> Iterator[list[Tensor]]:
    """What layers return, in the order of their calls."""
    emitted: list[Tensor] = []

    def note(module: nn.Module, inputs: tuple, output: Any) -> None:
        if isinstance(output, Tensor) and output.requires_grad:
            emitted.append(output)

    with ExitStack() as hooks:
        for module in model.modules():
            if layer_weights(module):
                hook = module.register_forward_hook(note)
                hooks.callback(hook.remove)
        yield emitted


def _unread(emitted: Sequence[Tensor], ends: Sequence[Tensor]) -> list[Tensor]:
    """What layers compute and nothing reads: they are called all the same."""
    seen: set = set()
    _follow(ends, seen)
    found = []
    for tensor in reversed(emitted):
        if tensor.grad_fn not in seen:
            found.append(tensor)
            _follow([tensor], seen)
    return found


def _follow(ends: Iterable[Tensor], seen: set) -> None:
    """Add all functions of autograd's graph from which tensors come."""
    waiting = [tensor.grad_fn for tensor in ends]
    while waiting:
        function = waiting.pop()
        if function is not None and function not in seen:
            seen.add(function)
            waiting += [before for before, _ in function.next_functions]


def tensors(outputs: Any) -> Iterator[Tensor]:
    """All floating-point tensors in nested containers."""
    if isinstance(outputs, Tensor):
        if outputs.is_floating_point():
            yield outputs
    elif isinstance(outputs, Mapping):
        for value in outputs.values():
            yield from tensors(value)
    elif isinstance(outputs, Sequence) and not isinstance(outputs, str):
        for value in outputs:
            yield from tensors(value)


@contextmanager
def traceable(model: nn.Module) -> Iterator[None]:
    """In eval mode, with gradients; afterwards the model is as before."""
    modes = {module: module.training for module in model.modules()}
    wanted = {param: param.requires_grad for param in model.parameters()}
    buffers = {module: {**module._buffers} for module in modes}
    values = {buffer: buffer.clone() for buffer in model.buffers()}
    hooks = {module: [*module._forward_hooks] for module in modes}
    states = random.getstate(), np.random.get_state()
    devices = {t.device.index for t in wanted if t.is_cuda}
    try:
        with torch.random.fork_rng(devices), torch.enable_grad():
            for module in modes:
                module.training = False
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        for module, mode in modes.items():
            module.training = mode
            for hook in set(module._forward_hooks) - {*hooks[module]}:
                del module._forward_hooks[hook]
        for param, value in wanted.items():
            param.requires_grad_(value)
        for module, own in buffers.items():
            module._buffers.update(own)
        with torch.no_grad():
            for buffer, value in values.items():
                buffer.copy_(value)


def _dependency_graph() -> Any:
    try:
        import torch_pruning
    except ImportError as e:
        raise ImportError(
            'units of structure need torch-pruning: pip install '
            '".[structure]" in a clone of epsd_mm, or torch-pruning'
        ) from e

    class Deformable(torch_pruning.function.ConvPruner):
        """Only tells widths; nothing is pruned by it."""

    class Graph(torch_pruning.DependencyGraph):
        """With deformable convolutions."""

        def get_pruner_of_module(self, module):
            if isinstance(module, nn.Module) and is_deformable(module):
                return self.CUSTOMIZED_PRUNERS[type(module)]
            return super().get_pruner_of_module(module)

        def build_dependency(self, model, *args, **kwargs):
            kinds = {type(m) for m in model.modules() if is_deformable(m)}
            pruners = {kind: Deformable() for kind in kinds}
            return super().build_dependency(
                model, *args, customized_pruners=pruners, **kwargs
            )

        def _trace(self, *args, **kwargs):
            # Convolutions of offsets are parts of some deformable ones.
            self.IGNORED_LAYERS_IN_TRACING = []
            nodes = super()._trace(*args, **kwargs)
            for node in nodes.values():
                if _is(node, '_ReshapeOp') and not _flattens(node):
                    # Of which it would guess what becomes of channels.
                    node.type = torch_pruning.ops.OPTYPE.ELEMENTWISE
                elif _is(node, '_ConcatOp'):
                    node.module.concat_sizes = _joined_sizes(node)
                elif _is(node, '_SplitOp'):
                    kind = type(node.module)
                    node.module.__class__ = type(
                        '_SplitOp', (_SizesByReader, kind), {}
                    )
                    vars(node.module)['node'] = node
            return nodes

    return Graph()


def _from_graph(graph: Any) -> Wiring:
    nodes = [*reversed(graph.module2node.values())]  # inputs first
    spaces: list[Space] = []
    read, emitted = {}, {}
    for node in nodes:
        pruner = graph.get_pruner_of_module(node.module)
        of = node.module if node.module in graph._module2name else None
        ends = [graph.get_in_channels(node), graph.get_out_channels(node)]
        read[node] = len(spaces)
        if pruner.prune_in_channels == pruner.prune_out_channels:
            output = _is(node, '_OutputOp')
            size = 0 if of is None else ends[1] or 0
            spaces.append(Space(of, 'both', size, output, node.pruning_dim))
        else:
            spaces.append(Space(of, 'read', ends[0]))
            spaces.append(Space(of, 'emitted', ends[1]))
        emitted[node] = len(spaces) - 1
    links = [
        (emitted[node], read[dependency.target], mappings)
        for node in nodes
        for dependency, mappings in _readers(node)
    ]
    _infer_sizes(spaces, links)
    wires = [_wire(spaces, *link) for link in links]
    wires += _equal_slices(spaces, wires)
    for node, number in read.items():
        wires += _equal_parts(node, number, spaces[number])
    return Wiring(spaces, wires)


def _readers(node: Any) -> Iterator[tuple[Any, list[Any]]]:
    """What reads the outputs of a node, and the channels on their way."""
    steps: dict[Any, list[list[Callable]]] = {}
    # Those to the inputs come first, and say the same backwards.
    for dependency in node.dependencies[len(node.inputs) :]:
        mappings = _mappings(dependency)
        target = dependency.target
        if target not in steps:
            steps[target] = [_parts_read(node, target), _joined(node, target)]
        parts, places = steps[target]
        if parts and mappings[0] is not None:
            mappings[0] = parts.pop(0)
        if places:
            mappings[1] = places.pop(0)
        yield dependency, [step for step in mappings if step is not None]


def _is(node: Any, kind: str) -> bool:
    return type(node.module).__name__ == kind


class _SizesByReader:
    """Tells torch-pruning the size of what each reader of a split reads.

    Its own are by the order of readers, and of some there are none.
    """

    @property
    def split_sizes(self) -> list[int]:
        node = vars(self)['node']
        sizes, read = _part_sizes(node), {}
        numbers = []
        for reader in node.outputs:
            waiting = read.setdefault(reader, _numbers_read(node, reader))
            numbers.append(waiting.pop(0) if waiting else 0)
        return [sizes[number] for number in numbers]

    @split_sizes.setter
    def split_sizes(self, sizes: list[int]) -> None:
        """What torch-pruning believes is not of use."""


def _numbers_read(split: Any, reader: Any) -> list[int]:
    """Numbers of the parts that a node reads."""
    return [
        number
        for function, number in reader.grad_fn.next_functions
        if function is split.grad_fn
    ]


def _parts_read(split: Any, reader: Any) -> list[Callable]:
    """Which parts a node reads; torch-pruning goes by the order of readers."""
    if not _is(split, '_SplitOp'):
        return []
    sizes = _part_sizes(split)
    return [
        partial(_part, sum(sizes[:number]), sum(sizes[: number + 1]))
        for number in _numbers_read(split, reader)
    ]


def _part_sizes(split: Any) -> list[int]:
    """Sizes of what a node splits channels into, all of which may be read."""
    shapes = [m.shape for m in split.grad_fn._input_metadata]
    axis = split.grad_fn._saved_dim
    # A negative axis is saved as a very large one.
    return [shape[axis if axis < len(shape) else -1] for shape in shapes]


def _joined(node: Any, concat: Any) -> list[Callable]:
    """Where a concatenation of channels has what a node emits."""
    if not _is(concat, '_ConcatOp') or concat.grad_fn._saved_dim != 1:
        return []
    shapes = _joined_shapes(concat)
    if not shapes or len(shapes[0]) == 3:  # channels, or a sequence
        return []
    return [
        partial(_moved, sum(shape[1] for shape in shapes[:place]))
        for place, each in enumerate(concat.inputs)
        if each is node
    ]


def _joined_sizes(concat: Any) -> list[int] | None:
    """Sizes of what a concatenation joins.

    torch-pruning takes those of layers, of whose outputs it may be a part.
    """
    axis = concat.grad_fn._saved_dim
    return [
        shape[axis if axis < len(shape) else -1]
        for shape in _joined_shapes(concat)
    ] or None


def _joined_shapes(concat: Any) -> list[torch.Size]:
    """Shapes of what it joins; none where some of that is constant."""
    shapes = [
        function._input_metadata[number].shape
        for function, number in concat.grad_fn.next_functions
        if hasattr(function, '_input_metadata')
    ]
    return shapes if len(shapes) == len(concat.inputs) else []


def _moved(start: int, indices: list[_Index]) -> list[_Index]:
    return [_Index(i.idx + start, i.root_idx) for i in indices]


def _part(start: int, end: int, indices: list[_Index]) -> list[_Index]:
    return [
        _Index(i.idx - start, i.root_idx)
        for i in indices
        if start <= i.idx < end
    ]


def _mappings(dependency: Any) -> list[Callable | None]:
    """What is done to channel numbers on the way, without wrong guesses.

    torch-pruning takes any view of four axes for a flattening where a linear
    layer that comes later has as many columns.
    """
    for node in (dependency.source, dependency.target):
        if _is(node, '_ReshapeOp') and not _flattens(node):
            return [None, None]
    return [*dependency.index_mapping]


def _flattens(reshape: Any) -> bool:
    """Whether rows come out of it."""
    shapes = getattr(reshape.grad_fn, '_input_metadata', ())
    return all(len(metadata.shape) == 2 for metadata in shapes)


def _equal_parts(node: Any, number: int, space: Space) -> Iterator[Wire]:
    """What ``chunk`` makes equal parts of must stay so: they go together."""
    if not _is(node, '_SplitOp'):
        return
    sizes = _part_sizes(node)
    if len({*sizes}) == 1 and sum(sizes) == space.size:
        yield from _parts(number, space.size, sizes[0])


def _equal_slices(spaces: list[Space], wires: list[Wire]) -> list[Wire]:
    """The same for slices that make equal parts: ``x[:, : c // 2]``, say."""
    sliced: dict[int, set[tuple[int, int]]] = {}
    for wire in wires:
        sent = wire.pairs[:, 0].unique()
        if 0 < len(sent) < spaces[wire.source].size:
            part = int(sent[0]), int(sent[-1]) + 1
            sliced.setdefault(wire.source, set()).add(part)
    found = []
    for number, parts in sliced.items():
        size = min(end - start for start, end in parts)
        whole = range(0, spaces[number].size, size)
        if sorted(parts) == [(start, start + size) for start in whole]:
            found += _parts(number, spaces[number].size, size)
    return found


def _parts(number: int, size: int, part: int) -> Iterator[Wire]:
    """Channels of all parts of a space go with those of the first."""
    first = torch.arange(part)
    for start in range(part, size, part):
        pairs = torch.stack([first, first + start], dim=1)
        yield Wire(number, number, pairs, first[:0])


def _infer_sizes(spaces: list[Space], links: list[tuple]) -> None:
    """Sizes of what has no weights, from what flows into it."""
    known = {i for i, space in enumerate(spaces) if space.size}
    for _ in range(len(spaces)):
        changed = False
        for source, target, mappings in links:
            size = spaces[source].size
            if target in known or not size:
                continue
            _, reached = _mapped(mappings, size)
            least = int(reached.max()) + 1 if len(reached) else 0
            if least > spaces[target].size:
                spaces[target].size = least
                changed = True
        if not changed:
            return
    raise ValueError(
        'the model cannot be followed: channels of one of its loops become '
        'more with each turn. Give find_groups a trace that calls the part '
        'without that loop, or prune single weights'
    )


def _wire(
    spaces: list[Space], source: int, target: int, mappings: list[Any]
) -> Wire:
    sent, reached = _mapped(mappings, spaces[source].size)
    fits = reached < spaces[target].size
    pairs = torch.stack([sent[fits], reached[fits]], dim=1)
    return Wire(source, target, pairs, sent[~fits].unique())


def _mapped(mappings: list[Any], size: int) -> tuple[Tensor, Tensor]:
    """Each channel, and where it goes: as many times as it goes there."""
    channels = torch.arange(size)
    if not mappings:
        return channels, channels
    indices = [_Index(i, i) for i in range(size)]
    for mapping in mappings:
        indices = mapping(indices)
    sent = torch.tensor([i.root_idx for i in indices], dtype=torch.int64)
    reached = torch.tensor([i.idx for i in indices], dtype=torch.int64)
    return sent, reached
