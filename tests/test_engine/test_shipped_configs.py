"""Our configs of detectors; others with a few lines, or a piece, added."""

import json
import re
import xml.etree.ElementTree as ET

import cv2
import numpy as np
import pytest
import torch
from mmdet.datasets import VOCDataset
from mmengine.config import DictAction
from mmengine.hooks import Hook

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
CLASSIFIER = 'mmpretrain::resnet/resnet18_8xb16_cifar10.py'
DETECTOR = 'mmdet::pascal_voc/retinanet_r50_fpn_1x_voc0712.py'
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
    if model.type in ('RTMDet', 'YOLOX'):
        model.backbone.update(widen_factor=0.125, init_cfg=None)
        model.neck.update(in_channels=[32, 64, 128], out_channels=16)
        model.bbox_head.update(in_channels=16, feat_channels=16)
        return
    model.backbone.update(slim)
    model.neck.update(in_channels=[32, 64, 128, 256], out_channels=32)
    if model.type in ('RetinaNet', 'FCOS', 'ATSS'):
        model.bbox_head.update(in_channels=32, feat_channels=32)
        if model.type != 'RetinaNet':
            # A group of one value, as on the last level, has no variance.
            model.bbox_head.norm_cfg = dict(type='GN', num_groups=4)
        return
    model.rpn_head.update(in_channels=32, feat_channels=32)
    model.train_cfg.rpn_proposal.max_per_img = 100
    model.roi_head.bbox_roi_extractor.out_channels = 32
    heads = model.roi_head.bbox_head
    for head in heads if isinstance(heads, list) else [heads]:
        head.update(in_channels=32, fc_out_channels=64)


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
        ('voc_atss_epsd', 'CSKDLoss'),
        ('voc_rtmdet_tiny_epsd', 'CSKDLoss'),
        ('voc_yolox_tiny_epsd', 'DLBLoss'),
        ('voc_cascade_rcnn_epsd', 'PSKDLoss'),
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
    shrink_images(cfg, voc)
    runner = prepared(cfg)
    hook_of(runner).before_train(runner)
    masks = hook_of(runner).masks
    assert masks.kept == round(0.1 * masks.total)
    report = json.loads((tmp_path / 'epsd' / 'report.json').read_text())
    assert np.isfinite(report['steps'][0]['losses']).all()
    # A picture may have nothing but difficult objects.
    assert any(term['sd'] for term in report['terms'])


def shrink_images(cfg, voc):
    """Train on a few drawn images of 128 pixels."""
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


def small_classifier(cfg, pictures):
    """mmpretrain's ResNet-18 for CIFAR-10, slim, on pictures."""
    cfg.model.backbone.update(base_channels=8, zero_init_residual=False)
    cfg.model.backbone.stem_channels = 8
    cfg.model.head.update(in_channels=64, num_classes=3)
    cfg.train_dataloader.update(
        batch_size=4, num_workers=0, persistent_workers=False
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


def test_trains_a_config_of_mmpretrain_with_pairs(pictures, tmp_path):
    cfg = config_of(CLASSIFIER, tmp_path)
    cfg.merge_from_dict(LINES)
    small_classifier(cfg, pictures)
    cfg.default_hooks.epsd.sd_loss = dict(type='CSKDLoss')
    cfg.train_dataloader.batch_sampler = dict(type='ClassPairBatchSampler')
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


def piece(name):
    return epsd_mm.config_path(f'_base_/methods/{name}')


# What is asked of a piece so that it has something to do in two steps.
SHORT = dict(
    gmp={'policy.every': 1, 'policy.end': 1.0},
    set={'policy.every': 1, 'policy.end': 1.0},
    rigl={'policy.every': 1, 'policy.end': 1.0},
    ntk_sap={'criterion.rounds': 2},
    kd={},
)


def with_piece(base, name, work_dir, changes):
    """A config with a piece beside it, quiet and for the CPU."""
    cfg = config_of([base, piece(name)], work_dir)
    options = SHORT[name].items()
    cfg.merge_from_dict({f'custom_hooks.0.{k}': v for k, v in options})
    changes(cfg)
    if name == 'kd':
        cfg.custom_hooks[0].sd_loss.teacher = trained(base, work_dir, changes)
    return cfg


def trained(base, work_dir, changes):
    """The same network without a piece, as a run would leave it."""
    folder = work_dir / 'teacher'
    cfg = config_of(base, folder)
    changes(cfg)
    path = folder / 'epoch_1.pth'
    model = prepared(cfg).model
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    cfg.dump(folder / 'dense.py')
    return dict(config=str(folder / 'dense.py'), checkpoint=str(path))


class Seen(Hook):
    """Masks of the start and after each iteration, which the weights have."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.masks = []

    def before_train(self, runner):
        self.after_train_iter(runner)

    def after_train_iter(self, runner, *unused, **more):
        masks = hook_of(runner).masks or {}
        weights = dict(runner.model.named_parameters())
        assert not any(weights[n][~mask].any() for n, mask in masks.items())
        self.masks.append(masks)


def check_piece(name, cfg):
    """Train, and see that masks are what the method says."""
    runner, seen = runner_of(cfg), Seen()
    runner.register_hook(seen)
    runner.train()
    first, last = seen.masks[0], seen.masks[-1]
    scalars = runner.message_hub.log_scalars
    assert ('train/loss_sd' in scalars) == (name == 'kd')
    if name == 'kd':  # a dense student
        assert not last and scalars['train/loss_sd'].data[0].any()
        return
    assert last.kept == round(0.1 * last.total)
    if name == 'gmp':
        assert first.kept == first.total
        # One share for all layers, where it is many weights.
        shares = [layer['density'] for layer in last.layers().values()]
        assert max(shares) < 0.15
    else:
        assert first.kept == last.kept
        assert (first == last) == (name == 'ntk_sap')


@pytest.mark.parametrize('name', SHORT)
def test_a_piece_trains_a_config_of_mmpretrain(name, pictures, tmp_path):
    def changes(cfg):
        small_classifier(cfg, pictures)
        cfg.train_dataloader.num_batch_per_epoch = 1

    check_piece(name, with_piece(CLASSIFIER, name, tmp_path, changes))


def test_a_branch_that_starts_at_zero_is_told_with_the_option_that_mends_it(
    pictures, tmp_path
):
    """As in mmpretrain's own config, which leaves its setting out."""

    def changes(cfg):
        small_classifier(cfg, pictures)
        del cfg.model.backbone['zero_init_residual']
        cfg.train_dataloader.num_batch_per_epoch = 1

    cfg = with_piece(CLASSIFIER, 'ntk_sap', tmp_path, changes)
    with pytest.raises(ValueError) as error:
        runner_of(cfg).train()
    said = str(error.value)
    assert 'all scores are exactly zero in 16 of 21 layers' in said
    assert 'starts at zero is backbone.layer1.0.bn2.weight and 7 more' in said
    (option,) = re.findall(r'--cfg-options (\S+?)\)', said)
    path, value = option.split('=')
    cfg.merge_from_dict({path: DictAction._parse_iterable(value)})
    check_piece('ntk_sap', cfg)


@pytest.mark.parametrize('name', ['gmp', 'rigl', 'kd'])
def test_a_piece_trains_a_config_of_mmdet(name, voc, tmp_path):
    def changes(cfg):
        narrow(cfg)
        shrink_images(cfg, voc)
        for key in ('val', 'test'):
            cfg[f'{key}_dataloader'] = cfg[f'{key}_cfg'] = None
            cfg[f'{key}_evaluator'] = None
        cfg.train_dataloader.num_batch_per_epoch = 2
        cfg.train_cfg = dict(by_epoch=True, max_epochs=1)

    check_piece(name, with_piece(DETECTOR, name, tmp_path, changes))
