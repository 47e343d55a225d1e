"""Post-training quantization of an exported file to int8, by NNCF."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from epsd_mm.check_env import require
from epsd_mm.quiet import quiet

from . import run

_CONVOLVE = {'Conv', 'ConvTranspose'}
_MULTIPLY = {*_CONVOLVE, 'Gemm', 'MatMul'}
#: Of a level that has no region in all of the calibration set the range is
#: not known, but that of the regions of all levels is. No runtime has a
#: deformable convolution in int8.
_ALWAYS_FLOAT = {'RoiAlign', 'ScatterND', 'DeformConv'}
#: Which inputs of an operator say where and how, and are not features.
_PLACES = dict(
    Gather={1},
    GatherND={1},
    GatherElements={1},
    RoiAlign={1, 2},
    DeformConv={2, 4},
    ScatterND={1},
    Where={0},
    Reshape={1},
    Expand={1},
)


@dataclass(frozen=True)
class _Node:
    name: str
    kind: str
    inputs: tuple[str | None, ...]


def quantize(
    file: Path, pictures: Sequence[Image.Image], target: Path
) -> Path:
    """Write the int8 form of an exported file.

    What works on features becomes int8. What comes after them, the
    decoding of boxes and their suppression, stays float: a box of 320 pixels
    in 8 bits would be off by more than one.

    Args:
        file: ``.onnx``, as it was exported. OpenVINO converts the result,
            so that both runtimes have the same layers in int8.
        pictures: Real ones of the training data, by which ranges are set.
        target: The new file.

    Returns:
        ``target``.

    Raises:
        ImportError: NNCF or a runtime is not installed.
        ValueError: There is no picture, the file is no export or is
            quantized already, or it has no layer to quantize.
    """
    check_calibration(pictures)
    import nncf
    import onnx

    network = run.load(file)
    if network.metadata.precision != 'float32':
        raise ValueError(
            f'{file} is {network.metadata.precision} already: take the file '
            'of float32'
        )
    feeds = [network.feed_of(picture) for picture in pictures]
    graph, nodes = _read(file)
    kept = float_nodes(nodes)
    if not any(node.kind in _MULTIPLY for node in nodes):
        raise ValueError(
            f'{file} has no layer that can be quantized: take it in float32, '
            'without --quantize'
        )
    ignored = nncf.IgnoredScope(names=sorted(kept), validate=False)
    with quiet('nncf'):
        graph = nncf.quantize(
            graph,
            nncf.Dataset(feeds),
            subset_size=len(feeds),
            ignored_scope=ignored,
        )
    metadata = replace(network.metadata, precision='int8').to_json()
    onnx.helper.set_model_props(graph, {run.KEY: metadata})
    onnx.save(graph, target)
    return target


def check_calibration(pictures: Sequence[Image.Image]) -> None:
    """Raise where a quantization cannot begin.

    Args:
        pictures: Of the training data.

    Raises:
        ImportError: NNCF or what it needs is not installed.
        ValueError: There is no picture.
    """
    require('nncf', 'onnx', 'onnxruntime', needed_by='--quantize')
    if not pictures:
        raise ValueError(
            'the calibration set is empty: quantization sets its ranges by '
            'images of the training data, so name a config that has some'
        )


def float_nodes(nodes: Sequence[_Node]) -> set[str]:
    """Names of nodes whose results reach no later layer as features.

    Convolutions are not among them, be they the last ones. A matrix that is
    the last layer is: it costs little, and OpenVINO fails to compile a
    detector where its scales would move through the reshaping behind it.

    Args:
        nodes: Of a graph, in any order.
    """
    by_name = {node.name: node for node in nodes}
    waiting = [node for node in nodes if node.kind in _MULTIPLY]
    features: set[str] = set()
    while waiting:
        node = waiting.pop()
        places = _PLACES.get(node.kind, set())
        for index, name in enumerate(node.inputs):
            known = name not in by_name or name in features
            if index not in places and not known:
                features.add(name)
                waiting.append(by_name[name])
    kept = {
        node.name
        for node in nodes
        if node.kind not in _CONVOLVE and node.name not in features
    }
    return kept | {n.name for n in nodes if n.kind in _ALWAYS_FLOAT}


def _read(file: Path) -> tuple[Any, list[_Node]]:
    import onnx

    model = onnx.load(file)
    made_by = {}
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f'{node.op_type}_{index}'
        made_by.update(dict.fromkeys(node.output, node.name))
    nodes = [
        _Node(n.name, n.op_type, tuple(made_by.get(i) for i in n.input))
        for n in model.graph.node
    ]
    return model, nodes
