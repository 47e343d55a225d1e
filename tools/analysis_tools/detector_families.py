"""Sixty detectors of mmdet, one a way to detect, and batches for them."""

import epsd_mm  # noqa: F401, I001  (first: it repairs broken environments)

from importlib.resources import files
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData, PixelData

CONFIGS = files('mmdet') / '.mim/configs'

#: The smallest config of each. Left out of mmdet's folders are data sets,
#: trackers, semi-supervised and vision-language models, training recipes,
#: networks that differ in nothing but their backbone (but for a few), what
#: needs an operator that mmcv has for GPUs alone (CARAFE), and heads that
#: know masks but no boxes.
FAMILIES = {
    # one stage, anchors or points
    'RetinaNet': 'retinanet/retinanet_r18_fpn_1x_coco.py',
    'SSD': 'ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py',
    'FCOS': 'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
    'ATSS': 'atss/atss_r50_fpn_1x_coco.py',
    'RTMDet': 'rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
    'YOLOX': 'yolox/yolox_nano_8xb8-300e_coco.py',
    'YOLOv3': 'yolo/yolov3_mobilenetv2_8xb24-320-300e_coco.py',
    'YOLOF': 'yolof/yolof_r50-c5_8xb8-1x_coco.py',
    'GFL': 'gfl/gfl_r50_fpn_1x_coco.py',
    'VFNet': 'vfnet/vfnet_r50_fpn_1x_coco.py',
    'PAA': 'paa/paa_r50_fpn_1x_coco.py',
    'LAD': 'lad/lad_r50-paa-r101_fpn_2xb8_coco_1x.py',
    'TOOD': 'tood/tood_r50_fpn_1x_coco.py',
    'DDOD': 'ddod/ddod_r50_fpn_1x_coco.py',
    'DyHead': 'dyhead/atss_r50_fpn_dyhead_1x_coco.py',
    'FSAF': 'fsaf/fsaf_r50_fpn_1x_coco.py',
    'FoveaBox': 'foveabox/fovea_r50_fpn_4xb4-1x_coco.py',
    'FreeAnchor': 'free_anchor/freeanchor_r50_fpn_1x_coco.py',
    'AutoAssign': 'autoassign/autoassign_r50-caffe_fpn_1x_coco.py',
    'CenterNet': 'centernet/centernet_r18_8xb16-crop512-140e_coco.py',
    'CenterNet2': 'centernet/'
    'centernet-update_r18_fpn_8xb8-amp-lsj-200e_coco.py',
    'RepPoints': 'reppoints/reppoints-moment_r50_fpn_1x_coco.py',
    'GA-RetinaNet': 'guided_anchoring/ga-retinanet_r50_fpn_1x_coco.py',
    'SABL-RetinaNet': 'sabl/sabl-retinanet_r50_fpn_1x_coco.py',
    'GHM': 'ghm/retinanet_r50_fpn_ghm-1x_coco.py',
    'PISA-RetinaNet': 'pisa/retinanet-r50_fpn_pisa_1x_coco.py',
    'Libra RetinaNet': 'libra_rcnn/libra-retinanet_r50_fpn_1x_coco.py',
    'NAS-FCOS': 'nas_fcos/'
    'nas-fcos_r50-caffe_fpn_nashead-gn-head_4xb4-1x_coco.py',
    'NAS-FPN': 'nas_fpn/retinanet_r50_nasfpn_crop640-50e_coco.py',
    'PVT': 'pvt/retinanet_pvtv2-b0_fpn_1x_coco.py',
    # two stages
    'Faster R-CNN': 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    'Mask R-CNN': 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    'Cascade R-CNN': 'cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py',
    'HTC': 'htc/htc_r50_fpn_1x_coco.py',
    'SCNet': 'scnet/scnet_r50_fpn_1x_coco.py',
    'Mask Scoring R-CNN': 'ms_rcnn/ms-rcnn_r50_fpn_1x_coco.py',
    'PointRend': 'point_rend/point-rend_r50-caffe_fpn_ms-1x_coco.py',
    'Grid R-CNN': 'grid_rcnn/grid-rcnn_r50_fpn_gn-head_1x_coco.py',
    'Double-Head R-CNN': 'double_heads/dh-faster-rcnn_r50_fpn_1x_coco.py',
    'Dynamic R-CNN': 'dynamic_rcnn/dynamic-rcnn_r50_fpn_1x_coco.py',
    'Libra R-CNN': 'libra_rcnn/libra-faster-rcnn_r50_fpn_1x_coco.py',
    'PISA R-CNN': 'pisa/faster-rcnn_r50_fpn_pisa_1x_coco.py',
    'SABL R-CNN': 'sabl/sabl-faster-rcnn_r50_fpn_1x_coco.py',
    'Cascade RPN': 'cascade_rpn/'
    'cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco.py',
    'GA-RPN': 'guided_anchoring/ga-faster-rcnn_r50_fpn_1x_coco.py',
    'GRoIE': 'groie/faste-rcnn_r50_fpn_groie_1x_coco.py',
    'TridentNet': 'tridentnet/tridentnet_r50-caffe_1x_coco.py',
    'CrowdDet': 'crowddet/crowddet-rcnn_r50_fpn_8xb2-30e_crowdhuman.py',
    'DCN': 'dcn/faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py',
    'PAFPN': 'pafpn/faster-rcnn_r50_pafpn_1x_coco.py',
    'GroupNorm+WS': 'gn+ws/faster-rcnn_r50_fpn_gn-ws-all_1x_coco.py',
    'Swin': 'swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py',
    # queries
    'DETR': 'detr/detr_r18_8xb2-500e_coco.py',
    'Conditional DETR': 'conditional_detr/'
    'conditional-detr_r50_8xb2-50e_coco.py',
    'DAB-DETR': 'dab_detr/dab-detr_r50_8xb2-50e_coco.py',
    'Deformable DETR': 'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py',
    'DINO': 'dino/dino-4scale_r50_8xb2-12e_coco.py',
    'DDQ': 'ddq/ddq-detr-4scale_r50_8xb2-12e_coco.py',
    'Sparse R-CNN': 'sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco.py',
    'QueryInst': 'queryinst/queryinst_r50_fpn_1x_coco.py',
}

#: Where 128 pixels are not enough.
_SIZES = {'SSD': 320, 'DDOD': 384, 'DINO': 256, 'DDQ': 256}


def config_of(name: str) -> Config:
    """The config of one of :data:`FAMILIES`, as it is shipped."""
    return Config.fromfile(str(CONFIGS / FAMILIES[name]))


def build_detector(name: str) -> BaseModel:
    """A detector as mmdet ships it, with random weights, to be trained.

    Nothing is fetched. Residual branches start alive, as pretrained ones
    are. To save time, those with a ResNet have a quarter of the channels,
    its necks and heads included, and 64 proposals are sampled.

    Args:
        name: One of :data:`FAMILIES`.
    """
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    cfg = config_of(name).model
    _start_anew(cfg)
    if name not in _AS_WIDE and cfg.backbone.type == 'ResNet':
        _narrow(cfg)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg)
        model.init_weights()
    model.train()
    return model


#: Some parts have a width that no config sets.
_AS_WIDE = ('Conditional DETR', 'GroupNorm+WS', 'SCNet')
_RESNETS = ('ResNet', 'TridentResNet')


def _narrow(cfg: ConfigDict) -> None:
    """A quarter of the channels, of a teacher too."""
    necks = [cfg[name] for name in ('neck', 'teacher_neck') if name in cfg]
    necks = [neck[0] if isinstance(neck, list) else neck for neck in necks]
    inputs = [_quarter(neck.in_channels) for neck in necks]
    _narrow_parts(cfg)
    for neck, channels in zip(necks, inputs):
        neck.in_channels = channels
    if 'encoder' in cfg:
        cfg.bbox_head.embed_dims = 64
    for name in ('backbone', 'teacher_backbone'):
        if name in cfg:
            cfg[name].update(base_channels=16, stem_channels=16)


def _narrow_parts(part: Any) -> None:
    if isinstance(part, (list, tuple)):
        for each in part:
            _narrow_parts(each)
    if not isinstance(part, ConfigDict):
        return
    for name, value in part.items():
        if name.endswith(('channels', 'channel', 'embed_dims', 'num_feats')):
            of_width = value in (128, 256) and type(value) is int
            part[name] = value // 4 if of_width else value
        else:
            _narrow_parts(value)
    if 'fc_out_channels' in part:
        part.fc_out_channels = 256
    if 'feedforward_channels' in part:
        part.feedforward_channels = 128


def _quarter(channels: int | list[int]) -> int | list[int]:
    if isinstance(channels, int):
        return channels // 4
    return [count // 4 for count in channels]


def _start_anew(part: Any) -> None:
    if isinstance(part, (list, tuple)):
        for each in part:
            _start_anew(each)
    if not isinstance(part, ConfigDict):
        return
    if 'checkpoint' in (part.get('init_cfg') or {}):
        part.init_cfg = None
    if part.get('type') in _RESNETS:
        part.setdefault('zero_init_residual', False)
        # The statistics that go with pretrained weights are not there. With
        # an eps of 0 (NAS-FCOS) torch normalises by nothing else.
        part.norm_eval = (part.get('norm_cfg') or {}).get('eps') == 0
    if 'sampler' in part and 'num' in (part.sampler or {}):
        part.sampler.num = min(part.sampler.num, 64)
    if part.get('teacher_ckpt'):
        part.teacher_ckpt = None
    for each in part.values():
        _start_anew(each)


def detection_batch(
    name: str, images: int, seed: int, classes: int | None
) -> dict:
    """A collated batch with what the pipeline of a detector loads.

    Args:
        name: One of :data:`FAMILIES`.
        images: How many; their names and objects are always the same.
        seed: Of the pixels.
        classes: Of the detector, if it tells.
    """
    size = _SIZES.get(name, 128)
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.rand(images, 3, size, size, generator=generator) * 255
    loads = _loads(config_of(name))
    samples = [_sample(i, size, classes or 3, loads) for i in range(images)]
    return dict(inputs=list(inputs), data_samples=samples)


def _loads(cfg: Config) -> ConfigDict:
    for step in cfg.get('train_pipeline') or ():
        if step.type == 'LoadAnnotations':
            return step
    return ConfigDict()


def _sample(number: int, size: int, classes: int, loads: ConfigDict) -> Any:
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    generator = torch.Generator().manual_seed(number)
    corners = torch.rand(3, 2, generator=generator) * size * 0.4
    sides = (0.25 + torch.rand(3, 2, generator=generator) * 0.3) * size
    boxes = torch.cat([corners, corners + sides], dim=1)
    masks = np.zeros((3, size, size), np.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist()):
        mask[top:bottom, left:right] = 1
    sample = DetDataSample(
        gt_instances=InstanceData(
            bboxes=boxes,
            labels=torch.arange(3) % classes,
            object_ids=torch.arange(3),
        ),
        ignored_instances=InstanceData(
            bboxes=boxes[:0], labels=torch.zeros(0, dtype=torch.int64)
        ),
    )
    if loads.get('with_mask'):
        sample.gt_instances.masks = BitmapMasks(masks, size, size)
        sample.ignored_instances.masks = BitmapMasks(masks[:0], size, size)
    if loads.get('with_seg'):
        segments = torch.from_numpy(masks[:1]).long()
        sample.gt_sem_seg = PixelData(sem_seg=segments)
    shape = (size, size)
    sample.set_metainfo(
        dict(
            img_path=f'{number}.jpg',
            img_id=number,
            img_shape=shape,
            ori_shape=shape,
            scale_factor=(1.0, 1.0),
        )
    )
    return sample
