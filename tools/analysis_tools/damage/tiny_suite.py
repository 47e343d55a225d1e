"""A suite whose cells take seconds, over pictures that are drawn for it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = 4
_CONFIG = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['epsd_mm'], allow_failed_imports=False)
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        type='ClsDataPreprocessor', mean=[128.0] * 3, std=[64.0] * 3
    ),
    backbone=dict(
        type='ResNet_CIFAR', depth=18, stem_channels=4, base_channels=4,
        num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1,),
        zero_init_residual=False,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead', num_classes={classes}, in_channels=8,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
data = dict(type='CustomDataset', data_root={pictures!r})
train_dataloader = dict(
    batch_size=8, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        **data,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomCrop', crop_size=12, padding=2),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=8, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **data,
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
    ),
)
val_evaluator = [dict(type='Accuracy'), dict(type='Calibration')]
val_cfg = dict()
train_cfg = dict(by_epoch=True, max_epochs={epochs}, val_interval={epochs})
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9))
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=2),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2),
    epsd=dict(
        type='EPSDHook', sparsity=0.5,
        criterion=dict(type='ProsPr', steps=1, lr=0.01),
        sd_loss=dict(type='PSKDLoss'), draws=4, allow_empty_layers=True,
    ),
)
randomness = dict(seed=0)
"""
_SUITE = """
title = 'Drawn pictures'
setups = dict(pictures=dict(config='config.py', metric='accuracy/top1'))
methods = {methods!r}
sparsities = [0.5]
seeds = list(range({seeds}))
"""


METHODS = {
    'dense': dict(variant='dense'),
    'SD only': dict(variant='sd-only'),
    'EPSD': dict(),
}


def write_tiny_suite(
    folder: Path,
    seeds: int = 2,
    epochs: int = 30,
    methods: Sequence[str] = tuple(METHODS),
) -> Path:
    """Draw the pictures and write the suite.

    Args:
        folder: For all of it.
        seeds: Of the suite, which has a cell of each method for each.
        epochs: Of a cell, of six steps each.
        methods: Names out of :data:`METHODS`.

    Returns:
        Path of the suite.
    """
    pictures = folder / 'pictures'
    _draw(pictures)
    values = dict(classes=CLASSES, pictures=str(pictures), epochs=epochs)
    (folder / 'config.py').write_text(_CONFIG.format(**values))
    chosen = {name: METHODS[name] for name in methods}
    text = _SUITE.format(methods=chosen, seeds=seeds)
    (folder / 'suite.py').write_text(text)
    return folder / 'suite.py'


def _draw(root: Path, each: int = 12, size: int = 12) -> None:
    """Noise in a colour for each class."""
    generator = np.random.default_rng(0)
    for label in range(CLASSES):
        folder = root / f'class_{label}'
        folder.mkdir(parents=True)
        for index in range(each):
            colour = 30 * np.array([label & 1, label >> 1 & 1, 1])
            noise = generator.integers(0, 160, (size, size, 3))
            picture = Image.fromarray((noise + colour).astype(np.uint8))
            picture.save(folder / f'{index}.png')
