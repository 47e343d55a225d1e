"""Exported files in int8: what is quantized, what is not, what it costs."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from epsd_mm.deploy import run
from epsd_mm.deploy.exporting import _as_openvino
from epsd_mm.deploy.quantize import _Node, float_nodes, quantize
from epsd_mm.deploy.run import KEY, Resize
from tests.helpers.exported import metadata_of, write_classifier

TAIL = ('scale', 'decode')


def pictures(count):
    generator = np.random.default_rng(0)
    return [
        Image.fromarray(generator.integers(0, 256, (48, 64, 3), np.uint8))
        for _ in range(count)
    ]


@pytest.fixture
def file(tmp_path):
    """Two convolutions, and behind them arithmetic on 'probabilities'."""
    generator = np.random.default_rng(1)
    weights = [
        numpy_helper.from_array(
            generator.normal(0, deviation, shape).astype(np.float32), name
        )
        for name, shape, deviation in (
            ('first', (8, 3, 3, 3), 0.01),
            ('second', (2, 8, 3, 3), 0.1),
        )
    ]
    weights.append(numpy_helper.from_array(np.float32(320), 'by'))
    nodes = [
        helper.make_node('Conv', ['image', 'first'], ['a'], 'conv1'),
        helper.make_node('Relu', ['a'], ['b'], 'relu'),
        helper.make_node('Conv', ['b', 'second'], ['c'], 'conv2'),
        helper.make_node('GlobalAveragePool', ['c'], ['d'], 'pool'),
        helper.make_node('Flatten', ['d'], ['e'], 'flat'),
        helper.make_node('Mul', ['e', 'by'], ['f'], 'scale'),
        helper.make_node('Add', ['f', 'f'], ['probabilities'], 'decode'),
    ]
    graph = helper.make_graph(
        nodes,
        'g',
        [
            helper.make_tensor_value_info(
                'image', TensorProto.FLOAT, ['batch', 3, 48, 64]
            )
        ],
        [
            helper.make_tensor_value_info(
                'probabilities', TensorProto.FLOAT, ['batch', 2]
            )
        ],
        weights,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=10
    )
    metadata = metadata_of('classification', resize=Resize('stretch'))
    helper.set_model_props(model, {KEY: metadata.to_json()})
    onnx.save(model, tmp_path / 'model.onnx')
    return tmp_path / 'model.onnx'


def test_layers_become_int8_and_what_follows_them_stays(file):
    target = quantize(file, pictures(8), file.with_name('int8.onnx'))
    graph = onnx.load(target).graph
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type == 'Conv':
            assert {makers[i].op_type for i in node.input if i in makers} == {
                'DequantizeLinear'
            }
        if node.name in TAIL:
            assert 'DequantizeLinear' not in {
                makers[i].op_type for i in node.input if i in makers
            }
    assert sum(node.op_type == 'Conv' for node in graph.node) == 2
    before, after = run.load(file), run.load(target)
    assert before.metadata.precision == 'float32'
    assert after.metadata.precision == 'int8'
    for picture in pictures(2):
        batch = after.feed_of(picture)['image']
        one, other = (n(batch)['probabilities'] for n in (before, after))
        assert np.abs(one - other).max() < 0.03 * np.abs(one).max()
        assert np.abs(one - other).max() > 0


def test_openvino_takes_the_int8_file(file):
    quantize(file, pictures(8), file)
    expected = run.load(file)
    other = run.load(_as_openvino(file, expected.metadata))
    assert other.metadata.precision == 'int8'
    batch = np.concatenate([expected.feed_of(p)['image'] for p in pictures(3)])
    one, another = (n(batch)['probabilities'] for n in (expected, other))
    assert np.abs(one - another).max() < 0.02 * np.abs(one).max()


def test_where_regions_lie_stays_float_before_layers_too():
    nodes = [
        _Node('backbone', 'Conv', (None, None)),
        _Node('act', 'Relu', ('backbone',)),
        _Node('rpn', 'Conv', ('act', None)),
        _Node('decode', 'Mul', ('rpn',)),
        _Node('nms', 'NonMaxSuppression', ('decode',)),
        _Node('boxes', 'Gather', ('decode', 'nms')),
        _Node('rois', 'RoiAlign', ('act', 'boxes')),
        _Node('flat', 'Reshape', ('rois', None)),
        _Node('hidden', 'Gemm', ('flat', None)),
        _Node('head', 'Gemm', ('hidden', None)),
        _Node('final', 'Softmax', ('head',)),
    ]
    stay = {'decode', 'nms', 'boxes', 'rois', 'head', 'final'}
    assert float_nodes(nodes) == stay
    assert float_nodes(nodes[::-1]) == stay


def test_nothing_is_written_where_it_cannot_be(file, tmp_path):
    target = tmp_path / 'int8.onnx'
    with pytest.raises(ValueError, match='calibration set is empty'):
        quantize(file, [], target)
    plain = write_classifier(tmp_path / 'plain.onnx')
    with pytest.raises(ValueError, match='be quantized: .* without --q'):
        quantize(plain, pictures(1), target)
    assert not target.exists()
    quantize(file, pictures(1), target)
    with pytest.raises(ValueError, match='is int8 already'):
        quantize(target, pictures(1), tmp_path / 'again.onnx')
