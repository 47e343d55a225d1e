"""Runners over small data, from the configs that mmdet ships."""

from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.utils import register_all_modules

from .models import tiny_classifier_config

VOC = 'mmdet::pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py'
CLASSES = ('disc', 'square', 'triangle', 'star')
EPSD = dict(
    type='EPSDHook',
    sparsity=0.8,
    criterion=dict(type='ProsPr', steps=1, lr=1e-3),
    sd_loss=dict(type='CSKDLoss'),
    draws=1,
    allow_empty_layers=True,
)
PAIRS = dict(
    type='ClassPairBatchSampler', base=dict(type='AspectRatioBatchSampler')
)


def config_of(name, work_dir):
    """A config that mmdet ships, quiet and for the CPU."""
    cfg = Config.fromfile(_with_base(name, work_dir))
    cfg.work_dir = str(work_dir)
    cfg.default_hooks.logger.interval = 1
    cfg.randomness = dict(seed=0)
    cfg.experiment_name = f'test-{abs(hash(str(work_dir)))}'
    # Or it would write where an earlier run of the process did.
    cfg.visualizer.name = cfg.experiment_name
    cfg.custom_imports = dict(imports=['epsd_mm'])
    return cfg


def tiny_detector_cfg(data_root, work_dir, epsd=EPSD, epochs=1):
    """mmdet's VOC Faster R-CNN with few channels, on a drawn set."""
    cfg = config_of(VOC, work_dir)
    model = cfg.model
    model.backbone.update(
        depth=18,
        base_channels=4,
        stem_channels=4,
        frozen_stages=-1,
        norm_eval=False,
        init_cfg=None,
        zero_init_residual=False,
    )
    model.neck.update(in_channels=[4, 8, 16, 32], out_channels=8)
    model.rpn_head.update(in_channels=8, feat_channels=8)
    model.rpn_head.anchor_generator.scales = [4]
    extractor = model.roi_head.bbox_roi_extractor
    extractor.update(out_channels=8, finest_scale=14)
    extractor.roi_layer.update(output_size=3)
    model.roi_head.bbox_head.update(
        in_channels=8, fc_out_channels=16, roi_feat_size=3, num_classes=4
    )
    model.train_cfg.rcnn.sampler.num = 32
    model.train_cfg.rpn_proposal.update(nms_pre=100, max_per_img=40)
    model.test_cfg.rpn.update(nms_pre=100, max_per_img=40)
    train = dict(
        type='XMLDataset',
        metainfo=dict(classes=CLASSES),
        data_root=f'{data_root}/',
        data_prefix=dict(sub_data_root='VOC2007/'),
        ann_file='VOC2007/ImageSets/Main/trainval.txt',
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackDetInputs'),
        ],
    )
    cfg.train_dataloader = dict(
        batch_size=4,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=True),
        batch_sampler=PAIRS,
        dataset=train,
    )
    if epsd is None or epsd.get('sd_loss') is None:
        cfg.train_dataloader.batch_sampler = PAIRS['base']
    for key in ('val', 'test'):
        cfg[f'{key}_dataloader'] = cfg[f'{key}_cfg'] = None
        cfg[f'{key}_evaluator'] = None
    cfg.train_cfg = dict(by_epoch=True, max_epochs=epochs)
    cfg.param_scheduler = []
    if epsd is not None:
        cfg.default_hooks.epsd = dict(epsd)
    return cfg


def tiny_classifier_cfg(pictures, work_dir, epsd, epochs=1, sampler=None):
    """A small residual classifier of mmpretrain on a folder of pictures."""
    work_dir.mkdir(parents=True, exist_ok=True)
    name = f'test-{abs(hash(str(work_dir)))}'
    register_all_modules(init_default_scope=False)
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            custom_imports=dict(imports=['epsd_mm']),
            model=tiny_classifier_config(),
            train_dataloader=dict(
                batch_size=4,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=True),
                collate_fn=dict(type='default_collate'),
                dataset=dict(
                    type='CustomDataset',
                    data_root=str(pictures),
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        dict(type='RandomFlip', prob=0.5),
                        dict(type='PackInputs'),
                    ],
                ),
            ),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05)),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            default_hooks=dict(
                epsd=epsd, logger=dict(type='LoggerHook', interval=1)
            ),
            work_dir=str(work_dir),
            experiment_name=name,
            visualizer=dict(type='Visualizer', name=name),
            randomness=dict(seed=0),
        )
    )
    if sampler is not None:
        cfg.train_dataloader.batch_sampler = dict(type=sampler)
    return cfg


def runner_of(cfg):
    """Build the runner of a config."""
    return Runner.from_cfg(cfg)


def prepared(cfg):
    """A runner just before its hooks see before_train."""
    runner = runner_of(cfg)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner._init_model_weights()
    return runner


def hook_of(runner):
    """The EPSDHook of a runner."""
    (hook,) = [h for h in runner.hooks if type(h).__name__ == 'EPSDHook']
    return hook


def _with_base(name, work_dir):
    work_dir.mkdir(parents=True, exist_ok=True)
    path = work_dir / 'config.py'
    path.write_text(f'_base_ = {name!r}\n')
    return str(path)
