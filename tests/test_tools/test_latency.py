"""tools/latency.py: networks measured in turn, each in its own process."""

import json

import pytest

import epsd_mm
from epsd_mm import processors
from epsd_mm.deploy import latency
from epsd_mm.deploy.latency import Measurement, kind_of, what_zeros_gave
from tests.helpers.exported import (
    as_openvino,
    metadata_of,
    write_classifier,
    write_detector,
)


def measurement(**changed):
    values = dict(
        target='a.onnx',
        runtime='onnxruntime',
        kind='dense',
        model='SSD',
        size=(300, 300),
        batch=1,
        sparsity=0.0,
        seconds=[1.0, 2.0, 30.0],
        memory=2**20,
        bytes=2**20,
    )
    return Measurement(**values | changed)


def test_a_disturbed_run_moves_neither_median_nor_the_dense_ratio():
    assert measurement().median == 2.0
    low, high = measurement(seconds=[4, 1, 3, 2, 100]).quartiles
    assert (low, high) == (2, 4)
    assert measurement(seconds=[3.0]).quartiles == (3.0, 3.0)


def test_zeros_are_compared_with_their_like_alone():
    zeros = measurement(kind='zeros', sparsity=0.9, seconds=[2.1])
    others = [
        measurement(runtime='openvino'),
        measurement(batch=8),
        measurement(size=(320, 320)),
        measurement(model='RetinaNet'),
        measurement(kind='compact'),
        measurement(bytes=2**19),  # a narrower one, though dense
    ]
    assert what_zeros_gave([zeros, *others]) == []
    (sentence,) = what_zeros_gave([zeros, *others, measurement()])
    assert sentence == (
        '90% zeros alone: 1.05 of the time of dense in ONNX Runtime at '
        'batch 1.'
    )


@pytest.mark.parametrize(
    ('known', 'kind'),
    [
        ({}, 'dense'),
        (dict(sparsity=0.01), 'dense'),
        (dict(sparsity=0.5), 'zeros'),
        (dict(sparsity=0.0, compaction='half'), 'compact'),
        (dict(compaction='half', precision='int8'), 'compact int8'),
    ],
)
def test_what_a_network_is_called(known, kind):
    assert kind_of(known) == kind


@pytest.mark.parametrize(
    ('lines', 'name'),
    [
        (['vendor_id\t: A', 'model name\t: AMD EPYC 7763'], 'AMD EPYC 7763'),
        (['CPU implementer\t: 0x41', 'CPU part\t: 0xd0c'], ' 0x41 0xd0c'),
    ],
)
def test_a_processor_has_a_name(lines, name, monkeypatch):
    """Two of ARM have two: they are not as fast as one another."""
    monkeypatch.setattr(processors, '_cpuinfo', lambda: lines)
    assert processors.processor().endswith(name)


def test_int8_units_are_those_of_the_processor(monkeypatch):
    lines = ['flags\t: sse avx512_vnni avx2 amx_int8', 'bugs: avx_vnni']
    monkeypatch.setattr(processors, '_cpuinfo', lambda: lines)
    assert set(latency.int8_units()) == {'AVX-512 VNNI', 'AMX-INT8'}
    monkeypatch.setattr(processors, '_cpuinfo', lambda: [])
    assert latency.int8_units() == []


def test_16_bits_are_a_runtime_of_its_own_where_the_processor_has_them(
    monkeypatch,
):
    monkeypatch.setattr(processors, '_cpuinfo', lambda: ['flags: avx512_bf16'])
    assert latency.installed('openvino_bf16')
    monkeypatch.setattr(processors, '_cpuinfo', lambda: ['flags: avx2'])
    assert not latency.installed('openvino_bf16')
    assert latency.installed('openvino')


def test_files_are_measured_in_every_runtime_and_at_every_batch(
    run, tmp_path, capsys
):
    dense = write_detector(tmp_path / 'dense.onnx', metadata_of(sparsity=0.0))
    zeros = write_detector(tmp_path / 'zeros.onnx', metadata_of(sparsity=0.9))
    other = as_openvino(dense, metadata_of())
    out = tmp_path / 'out.json'
    few = ('--rounds', 3, '--warm-up', 1, '--batch', 1, 2, '--out', out)
    both = ('--runtimes', 'onnxruntime', 'openvino')
    run('latency', dense, zeros, other, *few, *both)
    text = capsys.readouterr().out
    assert text.count('90% zeros alone: ') == 4
    content = json.loads(out.read_text())
    assert content['machine']['threads'] == 1
    runs = content['runs']
    assert len(runs) == 2 * (2 * 2 + 1)
    for each in runs:
        assert len(each['seconds']) == 3 and min(each['seconds']) > 0
        # Neither torch nor mm is in the process.
        assert each['memory'] < 300 * 2**20
    (weights,) = {r['bytes'] for r in runs if r['target'] == str(dense)}
    assert weights == dense.stat().st_size


@pytest.mark.slow
def test_configs_are_measured_in_torch(run, tmp_path, capsys):
    config = epsd_mm.config_path('demo_faster_rcnn')
    out = tmp_path / 'out.json'
    few = ('--rounds', 2, '--warm-up', 0, '--batch', 1, '--size', 64, 64)
    run('latency', config, *few, '--out', out)
    (only,) = json.loads(out.read_text())['runs']
    assert only['runtime'] == 'torch' and only['kind'] == 'dense'
    assert only['size'] == [64, 64] and len(only['seconds']) == 2


@pytest.mark.parametrize(
    ('suffix', 'package'), [('.onnx', 'onnxruntime'), ('.xml', 'openvino')]
)
def test_where_no_runtime_is_installed_the_line_for_one_is_given(
    suffix, package, monkeypatch
):
    monkeypatch.setattr(latency, 'installed', lambda runtime: False)
    told = f'none is installed: .* -m pip install {package}==[0-9.]+$'
    with pytest.raises(ValueError, match=told):
        latency.measure([f'model{suffix}'])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--rounds', 0], 'rounds is 0'),
        (['--threads', 0], 'threads is 0'),
        (['--batch', 0], 'batches'),
        (['--runtimes', 'torch'], "not by ..torch'"),
        (['--out', 'nowhere/out.json'], 'there is no folder'),
    ],
)
def test_what_cannot_be_measured_is_said(run, tmp_path, options, message):
    file = write_classifier(tmp_path / 'model.onnx')
    with pytest.raises(SystemExit, match=message):
        run('latency', file, *options)


def test_files_that_are_none_are_named(run, tmp_path):
    with pytest.raises(SystemExit, match='there is no file'):
        run('latency', tmp_path / 'nowhere.onnx')
    file = write_detector(tmp_path / 'any.onnx', False, ('height', 'width'))
    with pytest.raises(SystemExit, match='any size: say --size'):
        run('latency', file, '--runtimes', 'onnxruntime')


def test_a_process_that_dies_is_said(tmp_path, monkeypatch):
    script = tmp_path / 'dies.py'
    script.write_text('import os\nos._exit(1)\n')
    monkeypatch.setattr(latency, '_SCRIPT', script)
    file = write_classifier(tmp_path / 'model.onnx')
    with pytest.raises(ValueError, match='model.onnx in .*it has died'):
        latency.measure([str(file)], ['onnxruntime'])
