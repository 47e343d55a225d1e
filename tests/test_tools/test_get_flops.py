"""tools/analysis_tools/get_flops.py, on the heads of mmdet's VOC configs."""

import json
from argparse import Namespace
from collections import Counter

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

import epsd_mm
from epsd_mm.analysis.image_counts import mean_of
from epsd_mm.pruning import Masks
from tests.helpers.models import tiny_classifier_config
from tests.helpers.runners import config_of, tiny_detector_cfg

TOOL = 'analysis_tools/get_flops'
SLIM = dict(depth=18, base_channels=4, stem_channels=4)
# Positions of a 64 x 64 image at strides 4 to 64 and 8 to 128.
FPN, HIGH_FPN = 16**2 + 8**2 + 4**2 + 2**2 + 1, 8**2 + 4**2 + 2**2 + 1 + 1


@pytest.fixture
def measure(run, tmp_path, capsys):
    """What the tool writes for a config, and what it prints."""

    def run_tool(cfg, *options):
        path = tmp_path / 'model.py'
        cfg.dump(path)
        run(TOOL, path, '--json', tmp_path / 'flops.json', *options)
        figures = json.loads((tmp_path / 'flops.json').read_text())
        return figures, capsys.readouterr().out

    return run_tool


@pytest.fixture
def faster_rcnn(tmp_path):
    return tiny_detector_cfg(tmp_path, tmp_path / 'run', epsd=None)


def slim(name, tmp_path):
    """A config of mmdet with a slim ResNet-18 and an FPN of 8 channels."""
    cfg = config_of(f'mmdet::{name}.py', tmp_path)
    cfg.model.backbone.update(SLIM)
    cfg.model.neck.update(in_channels=[4, 8, 16, 32], out_channels=8)
    return cfg


def weight_of(cfg, name):
    return MODELS.build(cfg.model).state_dict()[name]


def test_faster_rcnn_by_hand(measure, faster_rcnn):
    figures, text = measure(faster_rcnn, '--shape', '64')
    assert figures['images'] == [dict(height=64, width=64, number=1)]
    parts = figures['parts']
    assert list(parts) == ['backbone', 'neck', 'rpn_head', 'roi_head']
    # A 3x3 convolution, then 3 anchors with a score and a box each.
    rpn = 8 * 8 * 9 + 8 * 3 + 8 * 3 * 4
    assert parts['rpn_head']['multiply_adds'] == rpn * FPN
    # Two linear layers, then 4 classes and background, and 4 boxes; for
    # the 40 proposals of test_cfg, whatever an untrained RPN proposes.
    roi = 8 * 9 * 16 + 16 * 16 + 16 * 5 + 16 * 4 * 4
    assert figures['proposals'] == 40
    assert parts['roi_head']['multiply_adds'] == roi * 40
    assert figures['all']['density'] == 1
    assert '40 proposals' in text and 'were seen' not in text
    assert sum(p['multiply_adds'] for p in parts.values()) == pytest.approx(
        figures['all']['multiply_adds']
    )


def test_masks_of_a_file_and_of_a_checkpoint(measure, faster_rcnn, tmp_path):
    name = 'rpn_head.rpn_conv.weight'
    model = MODELS.build(faster_rcnn.model)
    mask = torch.zeros(8, 8, 3, 3, dtype=torch.bool)
    mask[:2] = True
    masks = Masks({name: mask})
    masks.save(tmp_path / 'masks.pth')
    state = model.state_dict()
    dense, pruned = tmp_path / 'dense.pth', tmp_path / 'pruned.pth'
    torch.save(dict(state_dict=state), dense)
    torch.save(dict(state_dict=state, epsd=dict(masks=masks.pack())), pruned)
    whole, file, checkpoint = (
        measure(faster_rcnn, '--shape', '64', *option)[0]
        for option in (
            ('--checkpoint', dense),
            ('--masks', tmp_path / 'masks.pth'),
            ('--checkpoint', pruned),
        )
    )
    assert file == checkpoint
    assert whole['all']['density'] == 1
    assert file['layers'][name]['density'] == 0.25
    removed = 6 * 8 * 9
    everything = sum(p.numel() for p in model.parameters())
    assert file['all_weights']['total'] == everything
    assert file['all_weights']['kept'] == everything - removed
    rpn = file['all_weights']['parts']['rpn_head']
    assert rpn['total'] - rpn['kept'] == removed
    assert file['prunable'] == dict(
        kept=2 * 8 * 9, total=8 * 8 * 9, density=0.25
    )
    assert whole['all_weights']['sparsity'] == 0
    assert whole['prunable'] is None
    for figures in (file['parts']['rpn_head'], file['all']):
        assert figures['total'] - figures['kept'] == removed
        saved = figures['multiply_adds'] - figures['sparse_multiply_adds']
        assert saved == pytest.approx(removed * FPN)


def test_zeros_count_where_a_checkpoint_has_no_masks(
    measure, faster_rcnn, tmp_path
):
    """It said sparsity 0, and tools/test.py of the same file did not."""
    name = 'rpn_head.rpn_conv.weight'
    state = MODELS.build(faster_rcnn.model).state_dict()
    layers = {n for n, w in state.items() if w.dim() > 1}
    for layer in layers:
        state[layer] = torch.ones_like(state[layer])
    state[name][2:] = 0
    torch.save(dict(state_dict=state), tmp_path / 'zeros.pth')
    option = '--checkpoint', tmp_path / 'zeros.pth'
    figures, text = measure(faster_rcnn, '--shape', '64', *option)
    assert figures['layers'][name]['density'] == 0.25
    removed, total = 6 * 8 * 9, sum(state[n].numel() for n in layers)
    everything = figures['all_weights']
    assert everything['total'] - everything['kept'] == removed
    assert figures['prunable'] is None
    assert (
        f'sparsity {removed / total:.4f} of {total:,} weights of convolution'
        in text
    )


def test_a_checkpoint_of_another_model_is_refused(
    measure, faster_rcnn, tmp_path
):
    torch.save(dict(state_dict={}), tmp_path / 'other.pth')
    with pytest.raises(SystemExit, match="has no 'backbone.conv1.weight'"):
        measure(faster_rcnn, '--checkpoint', tmp_path / 'other.pth')


def test_cascade_counts_each_stage_for_all_proposals(measure, tmp_path):
    cfg = slim('cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco', tmp_path)
    cfg.model.rpn_head.update(in_channels=8, feat_channels=8)
    roi = cfg.model.roi_head
    roi.bbox_roi_extractor.out_channels = 8
    for head in roi.bbox_head:
        head.update(in_channels=8, fc_out_channels=16, num_classes=4)
    cfg.model.test_cfg.rpn.max_per_img = 10
    figures, _ = measure(cfg, '--shape', '64', '64')
    stage = 8 * 49 * 16 + 16 * 16 + 16 * 5 + 16 * 4
    parts = figures['parts']
    assert parts['roi_head']['multiply_adds'] == 3 * stage * 10
    assert parts['rpn_head']['multiply_adds'] > 0


def test_retinanet_counts_its_head_on_every_level(measure, tmp_path):
    cfg = slim('pascal_voc/retinanet_r50_fpn_1x_voc0712', tmp_path)
    cfg.model.bbox_head.update(in_channels=8, feat_channels=8, stacked_convs=1)
    cfg.test_dataloader.dataset.pipeline[1].scale = (60, 40)
    figures, text = measure(cfg)
    # Padded to whole multiples of 32.
    assert figures['images'] == [dict(height=64, width=64, number=1)]
    head = 2 * 8 * 8 * 9 + 8 * 9 * 9 * 20 + 8 * 9 * 9 * 4
    parts = figures['parts']
    assert parts['bbox_head']['multiply_adds'] == head * HIGH_FPN
    assert figures['proposals'] is None and 'proposals' not in text


def test_ssd_at_the_size_of_its_config(measure, tmp_path):
    cfg = config_of('mmdet::pascal_voc/ssd300_voc0712.py', tmp_path)
    figures, text = measure(cfg)
    assert figures['images'] == [dict(height=300, width=300, number=1)]
    levels = zip(
        (38, 19, 10, 5, 3, 1),
        (512, 1024, 512, 256, 256, 256),
        (4, 6, 6, 6, 4, 4),
    )
    head = sum(n * n * c * 9 * anchors * 25 for n, c, anchors in levels)
    assert figures['parts']['bbox_head']['multiply_adds'] == head
    assert 'were seen' not in text


def test_a_classifier_counts_with_its_head(measure):
    cfg = Config(
        dict(default_scope='mmpretrain', model=tiny_classifier_config())
    )
    figures, _ = measure(cfg, '--shape', '8')
    parts = figures['parts']
    assert list(parts) == ['backbone', 'head']
    assert parts['head']['multiply_adds'] == 8 * 4
    layers = figures['layers']
    assert layers['backbone.conv1.weight']['multiply_adds'] == 3 * 4 * 9 * 64


def test_the_size_is_asked_for_where_the_config_has_none(
    run, measure, faster_rcnn
):
    config = epsd_mm.config_path('cifar100_resnet18_epsd')
    with pytest.raises(SystemExit, match='no size of images; --shape gives'):
        run(TOOL, config)
    with pytest.raises(SystemExit, match='no test set: .*; --shape gives'):
        measure(faster_rcnn)


def test_of_several_test_sets_the_first_says_the_size(tool):
    def with_scale(*scale):
        resize = dict(type='Resize', scale=scale)
        return dict(type='VOCDataset', pipeline=[resize])

    repeated = dict(type='RepeatDataset', dataset=with_scale(60, 40), times=2)
    both = dict(type='ConcatDataset', datasets=[repeated, with_scale(9, 9)])
    cfg = Config(dict(test_dataloader=dict(dataset=both)))
    args = Namespace(shape=None, num_images=None)
    assert tool(TOOL).shapes_of(args, cfg) == [(40, 60)]


def test_images_of_the_test_set(run, demo_options, tmp_path):
    config, out = epsd_mm.config_path('demo_faster_rcnn'), tmp_path / 'f.json'
    run(TOOL, config, '--num-images', 3, '--json', out, *demo_options)
    images = json.loads(out.read_text())['images']
    assert images == [dict(height=128, width=128, number=3)]
    with pytest.raises(SystemExit, match='--num-images 5: .* has 4'):
        run(TOOL, config, '--num-images', 5, *demo_options)


def test_the_mean_weighs_sizes_by_their_images():
    def layers(done):
        figures = dict(kept=1, multiply_adds=done, sparse_multiply_adds=done)
        return {'a.weight': figures}

    shapes = Counter({(32, 32): 3, (64, 32): 1})
    counted = dict(zip(shapes, (layers(100.0), layers(300.0))))
    assert mean_of(counted, shapes) == layers(150.0)
