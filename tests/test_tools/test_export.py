"""tools/export.py: a file that computes what the network computes."""

import json
import shutil

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from epsd_mm.deploy import exporting
from epsd_mm.deploy import run as runtime
from epsd_mm.deploy.equivalence import CLOSE, in_double
from epsd_mm.deploy.pictures import of_data_set
from epsd_mm.families.deployable import as_deployed, not_exportable

from ..helpers.runners import CLASSES, tiny_detector_cfg
from ..helpers.scores import in_order, spread


@pytest.fixture(scope='module')
def trained(tmp_path_factory, drawn):
    """A detector's config, its checkpoint, and the model itself."""
    folder = tmp_path_factory.mktemp('export')
    cfg = tiny_detector_cfg(drawn / 'VOCdevkit', folder / 'of')
    for name in ('work_dir', 'experiment_name', 'visualizer'):
        cfg.pop(name)
    dataset = cfg.train_dataloader.dataset
    load, boxes, _, pack = dataset.pipeline
    resize = dict(type='Resize', scale=(96, 64), keep_ratio=True)
    cfg.test_dataloader = dict(
        dataset=dataset.copy() | dict(pipeline=[load, resize, boxes, pack])
    )
    path = folder / 'detector.py'
    cfg.dump(path)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
    spread(model, 96)
    checkpoint = folder / 'trained.pth'
    content = dict(
        state_dict=model.state_dict(),
        meta=dict(dataset_meta=dict(classes=CLASSES)),
    )
    torch.save(content, checkpoint)
    return path, checkpoint, model


@pytest.fixture
def exported(trained, run):
    """The folder of a file for any size, written once."""
    config, checkpoint, _ = trained
    folder = config.parent / 'exported'
    if not folder.exists():
        run('export', config, checkpoint, '--out', folder, '--dynamic')
    return folder


@pytest.fixture
def at_once(exported, monkeypatch):
    """An export of another checkpoint writes the file of the first."""

    def copy(module, inputs, names, metadata, path, dynamic):
        shutil.copy(exported / 'model.onnx', path)

    monkeypatch.setattr(exporting, 'write_onnx', copy)


def compare_batch(model, file, shape):
    """A file is about as far from double precision as torch is."""
    generator = torch.Generator().manual_seed(3)
    image = torch.randn(shape, generator=generator) * 50 + 116
    size = torch.tensor([shape[2:]] * shape[0]).float()
    deployed = as_deployed(model)
    with torch.no_grad():
        single = deployed(image, size)
        exact = in_double(deployed)(image.double(), size.double())
    found = runtime.load(file)(image.numpy(), size.numpy())
    assert (single.scores > 0).sum() > 5 * shape[0]
    for row in range(shape[0]):
        one, exactly, other = (
            in_order(*(torch.as_tensor(part[row]).double() for part in parts))
            for parts in (
                single,
                exact,
                [found[name] for name in ('boxes', 'scores', 'labels')],
            )
        )
        torch.testing.assert_close(one, exactly, rtol=0, atol=1e-2)
        noise = (one - exactly).abs().max().item()
        allowed = max(2e-3, 2 * noise)
        torch.testing.assert_close(other, exactly, rtol=0, atol=allowed)


@pytest.mark.parametrize('shape', [(1, 3, 64, 96), (3, 3, 128, 64)])
def test_a_file_finds_the_boxes_of_the_network_in_any_batch(
    trained, exported, shape
):
    compare_batch(trained[2], exported / 'model.onnx', shape)


def test_an_export_is_whole_and_compared(exported):
    names = {path.name for path in exported.iterdir()}
    assert names == {'model.onnx', 'run.py', 'report.json'}
    report = json.loads((exported / 'report.json').read_text())
    assert report['comparison']['images'] == 8  # of the test set
    for side in ('file', 'torch'):
        assert report['comparison'][side]['objects'] > 20
        assert 0 < report['comparison'][side]['score'] < 1e-4


def test_what_the_file_says_of_itself(trained, exported):
    metadata = runtime.load(exported / 'model.onnx').metadata
    assert metadata.task == 'detection'
    assert tuple(metadata.classes) == tuple(CLASSES)
    assert (metadata.width, metadata.height, metadata.divisor) == (96, 64, 32)
    assert metadata.score_threshold == 0.05
    mean = trained[2].data_preprocessor.mean.flatten().tolist()
    assert metadata.pad == pytest.approx(mean)  # which is in RGB here


def test_openvino_finds_them_too_and_replaces_an_earlier_export(
    trained, exported, at_once, run, tmp_path
):
    config, checkpoint, model = trained
    out = tmp_path / 'exported'
    shutil.copytree(exported, out)
    run('export', config, checkpoint, '--to', 'openvino', '--out', out)
    names = {path.name for path in out.iterdir()}
    assert names == {'model.xml', 'model.bin', 'run.py', 'report.json'}
    assert list(tmp_path.iterdir()) == [out]
    compare_batch(model, out / 'model.xml', (2, 3, 64, 96))


def test_a_file_that_computes_something_else_is_not_written(
    trained, at_once, run, tmp_path
):
    config, checkpoint, _ = trained
    content = torch.load(checkpoint, weights_only=True)
    content['state_dict']['roi_head.bbox_head.fc_cls.bias'][0] += 1
    torch.save(content, tmp_path / 'other.pth')
    with pytest.raises(SystemExit, match='does not compute what.*a score'):
        run('export', config, tmp_path / 'other.pth', '--out', tmp_path / 'x')
    assert [path.name for path in tmp_path.iterdir()] == ['other.pth']


def refused(run, *args):
    with pytest.raises(SystemExit) as error:
        run('export', *args)
    return str(error.value)


def test_who_has_no_form_as_a_file_is_told_where_others_are_listed(
    trained, run, tmp_path, monkeypatch
):
    def refuse(*args):
        raise not_exportable('OddNet', 'it is odd')

    monkeypatch.setattr('epsd_mm.deploy.exporting.deployable', refuse)
    told = refused(run, *trained[:2], '--out', tmp_path / 'x')
    assert told.startswith('error: OddNet cannot be exported: it is odd.')
    assert told.endswith('docs/exportable.md')
    assert list(tmp_path.iterdir()) == []


def test_bad_input_is_told_in_a_sentence(trained, run, tmp_path, drawn):
    config, checkpoint, _ = trained
    out = ('--out', tmp_path / 'new')
    full = tmp_path / 'full'
    full.mkdir()
    (full / 'mine.txt').write_text('mine')
    told = refused(run, config, checkpoint, '--out', full)
    assert 'holds something else than an earlier export' in told
    assert (full / 'mine.txt').read_text() == 'mine'
    told = refused(run, config, checkpoint, *out, '--size', 100, 64)
    assert 'say --size 96 64' in told
    told = refused(run, config, checkpoint, *out, '--images', tmp_path)
    assert 'there is no image in' in told
    told = refused(run, config, checkpoint, *out, '--num-images', 0)
    assert 'must be at least 1' in told
    content = torch.load(checkpoint, weights_only=True)
    name = 'backbone.conv1.weight'
    content['state_dict'][name] = torch.zeros(7, 3, 7, 7)
    torch.save(content, tmp_path / 'other.pth')
    told = refused(run, config, tmp_path / 'other.pth', *out)
    assert f'network of the config: {name}, ' in told
    assert '(7, 3, 7, 7) there' in told
    assert not (tmp_path / 'new').exists()
    assert Config.fromfile(config).test_dataloader  # as the fixture has it


def test_quantize_writes_int8_by_images_of_the_training_data(
    trained, run, at_once, tmp_path, capsys
):
    config, checkpoint, _ = trained
    few = ('--quantize', '--calibration-images', 3)
    run('export', config, checkpoint, '--out', tmp_path / 'int8', *few)
    network = runtime.load(tmp_path / 'int8' / 'model.onnx')
    assert network.metadata.precision == 'int8'
    report = json.loads((tmp_path / 'int8' / 'report.json').read_text())
    assert report['metadata']['precision'] == 'int8'
    assert report['calibrated_by'] == 3
    assert '━' not in capsys.readouterr().out  # of a bar of NNCF's
    found, of = report['found_again_in_int8']
    assert 0 < found <= of == report['comparison']['file']['objects']
    compare_int8(tmp_path / 'int8' / 'model.onnx', network)


def compare_int8(file, network):
    """OpenVINO compiles both stages, and finds what ONNX Runtime finds."""
    import openvino

    path = exporting._as_openvino(file, network.metadata)
    graph = openvino.Core().read_model(path)
    # It is right for one size alone; the export looks for that.
    graph.reshape(dict(image=[2, 3, 64, 96], size=[2, 2]))
    hint = dict(INFERENCE_PRECISION_HINT='f32')
    other = openvino.compile_model(graph, 'CPU', hint)
    generator = torch.Generator().manual_seed(3)
    image = torch.randn((2, 3, 64, 96), generator=generator) * 50 + 116
    one = network(image.numpy())
    sizes = torch.tensor([[64.0, 96.0]] * 2)
    found = other(dict(image=image.numpy(), size=sizes.numpy()))
    near, limit = 0, CLOSE * 96
    for boxes, others in zip(one['boxes'][:, :20], found['boxes']):
        near += (abs(boxes[:, None] - others).max(-1).min(1) < limit).sum()
    # Half of 40, as the export asks: both round, so that some proposals are
    # ordered otherwise. Of the file whose sizes are open it finds none.
    assert near > 20, near


def test_int8_that_openvino_computes_otherwise_is_not_written(
    trained, run, at_once, tmp_path, monkeypatch
):
    config, checkpoint, _ = trained
    counts = iter([(150, 200), (90, 200)])  # of int8, and of OpenVINO's
    monkeypatch.setattr(exporting, 'found_again', lambda *args: next(counts))
    monkeypatch.setattr(exporting, 'quantize', lambda *args: None)
    few = ('--quantize', '--calibration-images', 2, '--to', 'openvino')
    told = refused(run, config, checkpoint, '--out', tmp_path / 'x', *few)
    assert 'otherwise than ONNX Runtime: it gives 90 of 200 answers' in told
    assert list(tmp_path.iterdir()) == []


def test_calibration_is_spread_over_a_set_that_may_be_sorted(
    trained, drawn, tool
):
    config, checkpoint, _ = trained
    export = tool('export')
    few = ['--quantize', '--calibration-images', '3']
    args = export.parse_args(
        [str(config), str(checkpoint), '--out', 'x', *few]
    )
    args.work_dir = None
    cfg = export.resolve(args, export.run_of(args))
    found = export.calibration(args, cfg)
    folder = drawn / 'VOCdevkit' / 'VOC2007'
    names = (folder / 'ImageSets/Main/trainval.txt').read_text().split()
    assert len(names) == 8
    for picture, index in zip(found, (0, 2, 5), strict=True):
        path = folder / 'JPEGImages' / f'{names[index]}.jpg'
        assert picture == runtime.open_image(path)


def test_what_mixes_images_is_calibrated_by_those_inside(trained):
    cfg = Config.fromfile(trained[0])
    cfg.default_scope = 'mmdet'
    plain = cfg.train_dataloader.dataset
    mixed = dict(type='MultiImageMixDataset', dataset=plain, pipeline=[])
    twice = dict(type='RepeatDataset', times=2, dataset=mixed)
    found = {}
    for name, dataset in dict(plain=plain, twice=twice).items():
        cfg.train_dataloader.dataset = dataset
        found[name] = list(of_data_set(cfg, 'train_dataloader', spread=3))
    assert found['plain'] == found['twice'] and len(found['twice']) == 3


def test_a_config_without_images_to_compare_on_is_told(trained, run, tmp_path):
    cfg = Config.fromfile(trained[0])
    cfg.pop('test_dataloader')
    cfg.dump(tmp_path / 'config.py')
    told = refused(run, tmp_path / 'config.py', trained[1], '--out', 'x')
    assert 'has no test_dataloader, of which images are needed' in told


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            ['--quantize', '--calibration-images', 0],
            'calibration set is empty',
        ),
        (['--calibration-images', 3], 'images 3 is for --quantize: add that'),
    ],
)
def test_a_calibration_of_nothing_is_refused(
    trained, run, tmp_path, options, message
):
    config, checkpoint, _ = trained
    with pytest.raises(SystemExit, match=message):
        run('export', config, checkpoint, '--out', tmp_path / 'x', *options)
    assert not (tmp_path / 'x' / 'report.json').exists()
