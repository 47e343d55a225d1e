"""A pruned checkpoint in a process that has no epsd_mm."""

import subprocess
import sys
from pathlib import Path

from epsd_mm.datasets.drawn_voc import generate_voc
from tests.helpers.runners import (
    CLASSES,
    hook_of,
    runner_of,
    tiny_detector_cfg,
)

SCRIPT = """
import runpy, sys
# Only what a broken torchvision needs; the package itself cannot be had.
compat = runpy.run_path({compat!r})
compat['repair_torchvision']()
sys.modules['epsd_mm'] = None
from mmdet.apis import inference_detector, init_detector
import numpy as np
model = init_detector({config!r}, {checkpoint!r}, device='cpu')
result = inference_detector(model, np.zeros((64, 64, 3), np.uint8))
assert 'pred_instances' in result
zeros = sum(int((p == 0).sum()) for p in model.parameters() if p.ndim > 1)
print('zeros', zeros)
"""


def test_checkpoint_loads_in_mmdet_alone(tmp_path):
    data_root = generate_voc(
        tmp_path / 'drawn', train=8, test=2, size=64, classes=CLASSES
    )
    runner = runner_of(tiny_detector_cfg(data_root, tmp_path / 'run'))
    runner.train()
    plain = tiny_detector_cfg(data_root, tmp_path / 'plain', epsd=None)
    plain.pop('custom_imports')
    plain.test_dataloader = dict(
        dataset=dict(
            type='XMLDataset',
            metainfo=dict(classes=CLASSES),
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='Resize', scale=(64, 64), keep_ratio=True),
                dict(
                    type='PackDetInputs',
                    meta_keys=('ori_shape', 'img_shape', 'scale_factor'),
                ),
            ],
        )
    )
    config = tmp_path / 'plain.py'
    plain.dump(str(config))
    script = SCRIPT.format(
        compat=str(Path(__file__).parents[2] / 'epsd_mm' / 'compat.py'),
        config=str(config),
        checkpoint=str(tmp_path / 'run' / 'epoch_1.pth'),
    )
    done = subprocess.run(
        [sys.executable, '-c', script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    masks = hook_of(runner).masks
    zeros = int(done.stdout.split('zeros')[-1])
    assert zeros >= masks.total - masks.kept
