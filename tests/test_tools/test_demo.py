"""What the demo measures is what it says it measures."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest


@pytest.fixture
def demo(tool):
    return tool('demo')


def result(**changes):
    return (
        dict(
            mAP50=0.81,
            weights=1000,
            kept=1000,
            flops=5e8,
            kept_flops=5e8,
            file_bytes=46_680_000,
            epoch_seconds=20.0,
            milliseconds=30.0,
        )
        | changes
    )


def cells_of(table):
    return [
        [c.strip() for c in t.split('│')[1:-1]] for t in table.splitlines()
    ]


def test_the_table_has_a_column_for_each_network(demo):
    zeros = result(kept=200, kept_flops=2e8, scoring_seconds=9.5)
    compact = result(
        weights=160, kept=160, flops=2.5e8, kept_flops=2.5e8, milliseconds=12.3
    )
    table = demo.result_table(dict(dense=result(), zeros=zeros, small=compact))
    cells = cells_of(table)
    assert ['mAP50 on the test images', *['0.810'] * 3] in cells
    assert ['weights that are not zero', '1,000', '200', '160'] in cells
    assert ['of the dense network', '100.0%', '20.0%', '16.0%'] in cells
    assert ['multiply-adds of an image', '500 M', '500 M', '250 M'] in cells
    assert ['of them with a zero', '0 M', '300 M', '0 M'] in cells
    assert ['milliseconds of an image', '30.0', '30.0', '12.3'] in cells
    assert ['seconds of scoring, once', '0.0', '9.5', '0.0'] in cells


def test_files_are_timed_as_tools_latency_times_them(demo, monkeypatch):
    asked = {}

    def measure(targets, runtimes, **options):
        asked.update(options, targets=targets, runtimes=runtimes)
        return [SimpleNamespace(median=0.012 * n) for n in (3, 2, 1)]

    monkeypatch.setattr(demo, 'measure', measure)
    assert demo.milliseconds() == pytest.approx([36, 24, 12])
    assert asked['targets'] == [
        str(network.exported / 'model.onnx') for network in demo.NETWORKS
    ]
    assert asked['runtimes'] == ['onnxruntime']
    assert asked['batches'] == [1]


def test_weights_and_multiply_adds_are_those_of_the_checkpoint(
    demo, monkeypatch, tmp_path
):
    (tmp_path / 'last_checkpoint').write_text('here.pth')
    network = replace(demo.NETWORKS[0], folder=tmp_path)
    counted = dict(total=9, kept=3, multiply_adds=90, sparse_multiply_adds=40)

    def get_flops(tool, *args):
        assert tool == 'analysis_tools/get_flops.py'
        assert str(args[args.index('--checkpoint') + 1]) == 'here.pth'
        args[args.index('--json') + 1].write_text(
            json.dumps(dict(all=counted))
        )

    monkeypatch.setattr(demo, 'run_tool', get_flops)
    expected = dict(weights=9, kept=3, flops=90, kept_flops=40)
    assert demo.count(network) == expected


def test_the_screen_ends_with_the_figures_and_where_all_is(
    demo, monkeypatch, tmp_path, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('sys.argv', ['demo.py'])
    demo.ROOT.mkdir(parents=True)
    demo.LOG.write_text('of an earlier demo\n')
    monkeypatch.setattr(demo, 'generate_voc', lambda *args, **options: args[0])
    monkeypatch.setattr(demo, 'train_and_test', lambda network: result())
    monkeypatch.setattr(demo, 'milliseconds', lambda: [3.0, 2.0, 1.0])
    ran = []
    monkeypatch.setattr(demo, 'run_tool', lambda tool, *args: ran.append(tool))
    monkeypatch.setattr(demo, 'draw_detections', ran.append)
    demo.main()
    shown = capsys.readouterr().out
    assert ran == ['prune.py', demo.ROOT / 'detections']
    assert ['milliseconds of an image', '3.0', '2.0', '1.0'] in cells_of(shown)
    for place in (demo.LOG, demo.ROOT / 'results.json', demo.ROOT / 'epsd'):
        assert str(place) in shown
    assert list(json.loads((demo.ROOT / 'results.json').read_text())) == [
        network.name for network in demo.NETWORKS
    ]
    assert not demo.LOG.exists()
