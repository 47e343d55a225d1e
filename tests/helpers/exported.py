"""Files as an export writes them, small enough to be checked by hand."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from epsd_mm.deploy.run import KEY, Metadata, Resize

#: What the detector finds in every image, in pixels of its canvas.
BOXES = np.array([[2, 4, 22, 34], [0, 0, 64, 64], [0, 0, 0, 0]], np.float32)
SCORES = np.array([0.9, 0.4, 0.0], np.float32)
LABELS = np.array([1, 0, -1])


def metadata_of(task='detection', **changed):
    """Of a network of two classes on a canvas of 64 x 48."""
    values = dict(
        task=task,
        classes=['dark', 'light'],
        resize=Resize('keep_ratio', scale=[64, 48]),
        width=64,
        height=48,
        divisor=16,
        pad=[10.0, 20.0, 30.0],
        score_threshold=0.05,
        model='Tiny',
    )
    return Metadata(**values | changed)


def write_detector(path, metadata=None, canvas=(48, 64)):
    """Finds the same boxes in each image; ``False``: without metadata."""
    metadata = metadata_of() if metadata is None else metadata
    batch = [
        _constant('start', np.array([0])),
        _constant('end', np.array([1])),
        helper.make_node('Shape', ['size'], ['shape']),
        helper.make_node('Slice', ['shape', 'start', 'end'], ['count']),
    ]
    outputs = []
    values = dict(boxes=BOXES, scores=SCORES, labels=LABELS)
    for name, value in values.items():
        batch += [
            _constant(f'{name}_one', value[None]),
            _constant(f'{name}_tail', np.array(value.shape)),
            helper.make_node(
                'Concat', ['count', f'{name}_tail'], [f'{name}_to'], axis=0
            ),
            helper.make_node('Expand', [f'{name}_one', f'{name}_to'], [name]),
        ]
        outputs.append((name, value.dtype, ['batch', *value.shape]))
    inputs = [('image', ['batch', 3, *canvas]), ('size', ['batch', 2])]
    return _save(path, batch, inputs, outputs, metadata)


def write_classifier(path, metadata=None, canvas=(48, 64)):
    """Says ``light`` with the mean of red over 255."""
    nodes = [
        _constant('axes', np.array([1, 2, 3])),
        _constant('white', np.array(255, np.float32)),
        _constant('one', np.array(1, np.float32)),
        _constant('first', np.array([0])),
        _constant('last', np.array([1])),
        helper.make_node('Slice', ['image', 'first', 'last', 'last'], ['red']),
        helper.make_node('ReduceMean', ['red', 'axes'], ['m'], keepdims=0),
        helper.make_node('Unsqueeze', ['m', 'last'], ['mean']),
        helper.make_node('Div', ['mean', 'white'], ['light']),
        helper.make_node('Sub', ['one', 'light'], ['dark']),
        helper.make_node(
            'Concat', ['dark', 'light'], ['probabilities'], axis=1
        ),
    ]
    outputs = [('probabilities', np.dtype('float32'), ['batch', 2])]
    metadata = metadata or metadata_of('classification')
    return _save(
        path, nodes, [('image', ['batch', 3, *canvas])], outputs, metadata
    )


def _constant(name, value):
    tensor = numpy_helper.from_array(value, name)
    return helper.make_node('Constant', [], [name], value=tensor)


def _save(path, nodes, inputs, outputs, metadata):
    graph = helper.make_graph(
        nodes,
        'tiny',
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in inputs
        ],
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(dtype), shape
            )
            for name, dtype, shape in outputs
        ],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=10
    )
    if metadata is not False:
        helper.set_model_props(model, {KEY: metadata.to_json()})
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def as_openvino(path, metadata):
    """The same network as a file of OpenVINO beside it."""
    import openvino

    network = openvino.convert_model(path)
    network.set_rt_info(metadata.to_json(), [KEY])
    target = path.with_suffix('.xml')
    openvino.save_model(network, target, compress_to_fp16=False)
    return target
