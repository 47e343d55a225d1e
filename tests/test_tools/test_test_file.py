"""tools/test.py --file: an exported file under the config's evaluators."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import epsd_mm
from epsd_mm.deploy.run import Resize
from epsd_mm.results import read_result
from tests.helpers.datasets import picture_folder
from tests.helpers.exported import (
    BOXES,
    as_openvino,
    metadata_of,
    write_classifier,
    write_detector,
)

from .test_test import classifier_config

DEMO = epsd_mm.config_path('demo_faster_rcnn')


@pytest.fixture
def of_demo(tool):
    """Metadata of a detector of the demo's classes."""
    test = tool('test')
    cfg = test.configure(test.parse_args([DEMO, 'x.pth']))
    classes = test.configured_classes(cfg, 'test_dataloader')

    def metadata(**changed):
        return metadata_of(classes=list(classes), **changed)

    return metadata


@pytest.mark.parametrize('ending', ['onnx', 'xml'])
def test_boxes_are_scaled_back_and_unused_rows_left_out(
    run, tmp_path, demo_options, of_demo, ending
):
    file = write_detector(tmp_path / 'model.onnx', of_demo(), (512, 512))
    if ending == 'xml':
        file = as_openvino(file, of_demo())
    out = tmp_path / 'out.pkl'
    work = ('--work-dir', tmp_path / 'work', '--out', out)
    run('test', DEMO, '--file', file, *work, *demo_options)
    assert 'metric/pascal_voc/mAP' in read_result(tmp_path / 'work')
    samples = pickle.loads(out.read_bytes())
    assert len(samples) == 4
    for sample in samples:
        found = sample['pred_instances']
        scale = np.tile(sample['scale_factor'], 2)
        assert np.allclose(found['bboxes'] * scale, BOXES[:2], atol=1e-4)
        assert found['labels'].tolist() == [1, 0]


def test_a_classifier_reads_the_channels_in_their_order(run, tmp_path):
    picture_folder(tmp_path / 'images', classes=2, size=32)
    metadata = metadata_of(
        'classification',
        classes=['class_0', 'class_1'],
        resize=Resize('stretch'),
        pad=[0, 0, 0],
    )
    file = write_classifier(tmp_path / 'model.onnx', metadata, (32, 32))
    config = tmp_path / 'images.py'
    text = classifier_config(tmp_path).replace(
        "type='CustomDataset',",
        "type='CustomDataset', metainfo=dict(classes=['class_0', 'class_1']),",
    )
    # mmengine's hooks draw with the newest name, whoever made it.
    text += "visualizer = dict(type='Visualizer', name='visualizer')\n"
    config.write_text(text)
    out = tmp_path / 'out.pkl'
    work = ('--work-dir', tmp_path / 'work', '--out', out)
    run('test', config, '--file', file, *work)
    for sample in pickle.loads(out.read_bytes()):
        path = Path(sample['img_path'])
        mean = np.asarray(Image.open(path))[..., 0].mean() / 255
        assert sample['pred_score'][1] == pytest.approx(mean, abs=1e-5)
    assert 'metric/accuracy/top1' in read_result(tmp_path / 'work')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'say what to test'),
        (['x.pth', '--file', 'x.onnx'], 'say what to test'),
        (['--file', 'x.onnx', '--tta'], '--tta has no effect'),
        (['--file', 'nowhere.onnx'], 'there is no file nowhere.onnx'),
    ],
)
def test_what_cannot_be_tested_is_said(
    run, tmp_path, demo_options, arguments, message
):
    with pytest.raises(SystemExit, match=message):
        run('test', DEMO, *arguments, '--work-dir', tmp_path, *demo_options)


def test_a_file_of_other_classes_or_smaller_images_is_refused(
    run, tmp_path, demo_options, of_demo
):
    work = ('--work-dir', tmp_path / 'work', *demo_options)
    file = write_detector(tmp_path / 'other.onnx')
    with pytest.raises(SystemExit, match='knows the classes.*dark'):
        run('test', DEMO, '--file', file, *work)
    file = write_detector(tmp_path / 'small.onnx', of_demo(), (16, 16))
    with pytest.raises(SystemExit, match='16 x 16: export it with --dynamic'):
        run('test', DEMO, '--file', file, *work)
