"""Our configs of detectors, and one of mmpretrain with a few lines added."""

import json
import xml.etree.ElementTree as ET

import cv2
import numpy as np
import pytest
from mmdet.datasets import VOCDataset

import epsd_mm
from epsd_mm.datasets.drawn_voc import generate_voc
from epsd_mm.datasets.leaves import leaf_configs
from epsd_mm.engine.variants import apply_sd_loss
from tests.helpers.queries import narrow_queries
from tests.helpers.runners import (
    config_of,
    hook_of,
    prepared,
    runner_of,
)

# The lines that README.md shows, with the plain loss and small settings.
LINES = dict(
    custom_imports=dict(imports=['epsd_mm'], allow_failed_imports=False),
    default_hooks=dict(
        epsd=dict(
            type='EPSDHook',
            sparsity=0.9,
            criterion=dict(type='ProsPr', steps=1, lr=1e-4),
            draws=1,
            allow_empty_layers=True,
        )
    ),
)
NAMES = ('aeroplane', 'bicycle', 'bird', 'boat')


@pytest.fixture(scope='module')
def voc(tmp_path_factory):
    """A drawn set in VOC's names, as VOC2007, VOC2012 and COCO files."""
    root = tmp_path_factory.mktemp('voc')
    devkit = generate_voc(root, train=6, test=2, size=96, classes=NAMES)
    (devkit / 'VOC2012').symlink_to('VOC2007')
    (devkit / 'annotations').mkdir()
    for split in ('trainval', 'test'):
        target = 'voc0712_trainval' if split == 'trainval' else 'voc07_test'
        text = json.dumps(coco_of(devkit / 'VOC2007', split))
        (devkit / 'annotations' / f'{target}.json').write_text(text)
    return devkit


def coco_of(folder, split):
    """The annotations of a VOC split in COCO's form."""
    classes = VOCDataset.METAINFO['classes']
    images, annotations = [], []
    ids = (folder / f'ImageSets/Main/{split}.txt').read_text().split()
    for number, name in enumerate(ids):
        root = ET.parse(folder / f'Annotations/{name}.xml').getroot()
        size = [int(root.find(f'size/{k}').text) for k in ('width', 'height')]
        images.append(
            dict(
                id=number,
                file_name=f'VOC2007/JPEGImages/{name}.jpg',
                width=size[0],
                height=size[1],
            )
        )
        for obj in root.findall('object'):
            x1, y1, x2, y2 = (
                int(obj.find(f'bndbox/{k}').text)
                for k in ('xmin', 'ymin', 'xmax', 'ymax')
            )
            box = [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1]
            annotations.append(
                dict(
                    id=len(annotations),
                    image_id=number,
                    category_id=classes.index(obj.find('name').text),
                    bbox=box,
                    area=box[2] * box[3],
                    iscrowd=0,
                )
            )
    categories = [dict(id=i, name=name) for i, name in enumerate(classes)]
    return dict(images=images, annotations=annotations, categories=categories)


def narrow(cfg):
    """A slim ResNet without pretrained weights, and what fits it.

    SSD's VGG has no setting for its number of channels.
    """
    model = cfg.model
    if model.type == 'DINO':
        classes = model.bbox_head.num_classes
        narrow_queries(model).bbox_head.num_classes = classes
        return
    slim = dict(
        base_channels=8,
        stem_channels=8,
        init_cfg=None,
        zero_init_residual=False,
    )
    if model.type == 'SingleStageDetector':
        channels = (64, 128, 32, 32, 32, 32)
        model.backbone = dict(
            type='ResNet', depth=50, **slim, num_stages=3, out_indices=(1, 2)
        )
        model.backbone.update(strides=(1, 2, 2), dilations=(1, 1, 1))
        model.neck.update(in_channels=channels[:2], out_channels=channels)
        model.bbox_head.in_channels = channels
        return
    if model.type == 'RTMDet':
        model.backbone.update(widen_factor=0.125, init_cfg=None)
        model.neck.update(in_channels=[32, 64, 128], out_channels=16)
        model.bbox_head.update(in_channels=16, feat_channels=16)
        return
    model.backbone.update(slim)
    model.neck.update(in_channels=[32, 64, 128, 256], out_channels=32)
    if model.type in ('RetinaNet', 'FCOS'):
        model.bbox_head.update(in_channels=32, feat_channels=32)
        if model.type == 'FCOS':
            # A group of one value, as on the last level, has no variance.
            model.bbox_head.norm_cfg = dict(type='GN', num_groups=4)
        return
    model.rpn_head.update(in_channels=32, feat_channels=32)
    model.roi_head.bbox_roi_extractor.out_channels = 32
    model.roi_head.bbox_head.update(in_channels=32, fc_out_channels=64)


# What of a pipeline says how large images are.
SIZES = dict(
    Resize='scale', RandomResize='scale', RandomCrop='crop_size', Pad='size'
)


@pytest.mark.parametrize(
    'name, sd_loss',
    [
        ('voc_retinanet_epsd', 'PSKDLoss'),
        ('voc_ssd300_epsd', 'DLBLoss'),
        ('voc_fcos_epsd', 'CSKDLoss'),
        ('voc_rtmdet_tiny_epsd', 'CSKDLoss'),
        ('voc_cocofmt_faster_rcnn_epsd', 'CSKDLoss'),
        ('voc_dino_epsd', 'CSKDLoss'),
        ('voc_dino_epsd', 'PSKDLoss'),
    ],
)
def test_scores_our_configs_of_detectors(name, sd_loss, voc, tmp_path):
    cfg = config_of(epsd_mm.config_path(name), tmp_path)
    apply_sd_loss(cfg, sd_loss)
    cfg.default_hooks.epsd.update(draws=1, batches_per_step=1)
    cfg.default_hooks.epsd.criterion.update(steps=1, lr=1e-4)
    narrow(cfg)
    if name == 'voc_dino_epsd':
        cfg.load_from = None
        # Attention looks nowhere in particular before it is trained.
        cfg.default_hooks.epsd.zero_layers = 'dense'
    for leaf in leaf_configs(cfg.train_dataloader.dataset):
        leaf.data_root = f'{voc}/'
        leaf.filter_cfg = dict(filter_empty_gt=True)
        # It shrinks the objects until SSD's coarse levels see none.
        leaf.pipeline = [s for s in leaf.pipeline if s['type'] != 'Expand']
        for step in every_step(leaf.pipeline):
            if step['type'] == 'RandomChoiceResize':
                step['scales'] = [(128, 128)]
            if step['type'] in SIZES and step.get('keep_ratio', True):
                step[SIZES[step['type']]] = (128, 128)
    cfg.train_dataloader.update(
        batch_size=2, num_workers=0, persistent_workers=False
    )
    runner = prepared(cfg)
    hook_of(runner).before_train(runner)
    masks = hook_of(runner).masks
    assert masks.kept == round(0.1 * masks.total)
    report = json.loads((tmp_path / 'epsd' / 'report.json').read_text())
    assert np.isfinite(report['steps'][0]['losses']).all()
    # A picture may have nothing but difficult objects.
    assert any(term['sd'] for term in report['terms'])


def every_step(pipeline):
    """Those of pipelines inside of others, too."""
    for step in pipeline:
        if isinstance(step, list):
            yield from every_step(step)
            continue
        yield step
        yield from every_step(step.get('transforms', ()))


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    """A folder of pictures in three classes, as CustomDataset reads it."""
    root = tmp_path_factory.mktemp('pictures')
    generator = np.random.default_rng(0)
    for label in range(3):
        (root / f'class{label}').mkdir()
        for number in range(6):
            picture = generator.integers(0, 80, (32, 32, 3), dtype=np.uint8)
            picture[:, :, label] += 150
            cv2.imwrite(str(root / f'class{label}/{number}.png'), picture)
    return root


def test_trains_a_config_of_mmpretrain_with_pairs(pictures, tmp_path):
    cfg = config_of('mmpretrain::resnet/resnet18_8xb16_cifar10.py', tmp_path)
    cfg.merge_from_dict(LINES)
    cfg.model.backbone.update(base_channels=8, zero_init_residual=False)
    cfg.model.backbone.stem_channels = 8
    cfg.model.head.update(in_channels=64, num_classes=3)
    cfg.default_hooks.epsd.sd_loss = dict(type='CSKDLoss')
    cfg.train_dataloader.update(
        batch_size=4,
        num_workers=0,
        persistent_workers=False,
        batch_sampler=dict(type='ClassPairBatchSampler'),
    )
    cfg.train_dataloader.dataset = dict(
        type='CustomDataset',
        data_prefix=str(pictures),
        pipeline=[
            dict(type='LoadImageFromFile'),
            *cfg.train_dataloader.dataset.pipeline,
        ],
    )
    for key in ('val', 'test'):
        cfg[f'{key}_dataloader'] = cfg[f'{key}_cfg'] = None
        cfg[f'{key}_evaluator'] = None
    cfg.train_cfg = dict(by_epoch=True, max_epochs=2)
    runner = runner_of(cfg)
    runner.train()
    masks = hook_of(runner).masks
    state = runner.model.state_dict()
    assert masks.kept == round(0.1 * masks.total)
    assert all(not state[name][~mask].any() for name, mask in masks.items())
    scalars = runner.message_hub.log_scalars
    assert scalars['train/loss_sd'].data[0].max() > 0
    total = scalars['train/loss'].data[0]
    parts = (
        scalars['train/loss_cls'].data[0] + scalars['train/loss_sd'].data[0]
    )
    assert np.allclose(total, parts, rtol=1e-5)
