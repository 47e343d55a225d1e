"""tools/test.py: the metric, the sparsity beside it, predictions on disk."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import epsd_mm
from epsd_mm.pruning import Masks
from epsd_mm.results import read_result

DEMO = epsd_mm.config_path('demo_faster_rcnn')
TOOLS = Path(__file__).parents[2] / 'tools'


def configure(tool, *argv):
    test = tool('test')
    return test.configure(test.parse_args([*map(str, argv)]))


@pytest.fixture
def checkpoint(tool, tmp_path, demo_options):
    """A small detector, masks remove a fifth of one layer."""
    train = tool('train')
    args = train.parse_args([DEMO, '--work-dir', str(tmp_path)] + demo_options)
    from mmdet.registry import MODELS

    model = MODELS.build(train.configure(args).model)
    weight = model.rpn_head.rpn_conv.weight
    weight.data.view(-1)[: weight.numel() // 5] = 0
    masks = Masks({'rpn_head.rpn_conv.weight': weight.detach() != 0})
    torch.save(
        dict(state_dict=model.state_dict(), epsd=dict(masks=masks.pack())),
        tmp_path / 'model.pth',
    )
    return tmp_path / 'model.pth'


def test_metric_sparsity_and_predictions(
    run, tmp_path, demo_options, checkpoint
):
    out = tmp_path / 'out.pkl'
    run(
        'test',
        DEMO,
        checkpoint,
        '--work-dir',
        tmp_path / 'work',
        '--out',
        out,
        *demo_options,
    )
    (log,) = (tmp_path / 'work').rglob('*.log')
    text = log.read_text()
    assert 'pascal_voc/mAP' in text
    (line,) = [
        t for t in text.splitlines() if 'rpn_head.rpn_conv' in t and '│' in t
    ]
    assert line.split('│')[1:-1] and '0.8000' in line
    params = torch.load(checkpoint)['state_dict']
    covered = params['rpn_head.rpn_conv.weight'].numel()
    assert f'sparsity 0.2000 of {covered:,} prunable weights, 0.0' in text
    assert 'of convolution and linear' not in text
    result = read_result(tmp_path / 'work')
    assert result['metric/pascal_voc/mAP'].better == 'higher'
    everything = sum(
        params[name].numel()
        for name in params
        if not name.endswith(('running_mean', 'running_var', '_tracked'))
    )
    zeros = covered - params['rpn_head.rpn_conv.weight'].count_nonzero()
    measured = {
        name: result[f'metric/sparsity/{name}'].value
        for name in ('prunable', 'all', 'kept')
    }
    assert measured == dict(
        prunable=pytest.approx(0.2, abs=1e-4),
        all=pytest.approx(int(zeros) / everything),
        kept=covered - int(zeros),
    )
    samples = pickle.loads(out.read_bytes())
    assert len(samples) == 4
    assert all('pred_instances' in sample for sample in samples)
    assert not any('gt_instances' in sample for sample in samples)


def test_painted_images(run, tmp_path, demo_options, checkpoint):
    run(
        'test',
        DEMO,
        checkpoint,
        '--work-dir',
        tmp_path / 'work',
        '--show-dir',
        'painted',
        *demo_options,
    )
    assert len(list((tmp_path / 'work').rglob('painted/*.jpg'))) == 4


def test_flips_double_the_views(run, tmp_path, demo_options, checkpoint):
    run(
        'test',
        DEMO,
        checkpoint,
        '--work-dir',
        tmp_path / 'work',
        '--tta',
        *demo_options,
    )
    (log,) = (tmp_path / 'work').rglob('*.log')
    text = log.read_text()
    assert 'pascal_voc/mAP' in text and "type='DetTTAModel'" in text
    # The names of the model itself, as in its checkpoint.
    assert '│ rpn_head.rpn_conv ' in text and 'module.rpn_head' not in text


def test_tta_transforms_by_scope(tool, tmp_path):
    cfg = configure(tool, DEMO, 'x.pth', '--tta')
    assert cfg.model.type == 'DetTTAModel'
    last = cfg.test_dataloader.dataset.pipeline[-1]
    assert last.type == 'TestTimeAug'
    assert [t.prob for t in last.transforms[0]] == [1.0, 0.0]
    assert 'flip' in last.transforms[1][0].meta_keys
    images = tmp_path / 'images.py'
    images.write_text(classifier_config(tmp_path))
    cfg = configure(tool, images, 'x.pth', '--tta')
    assert cfg.model.type == 'AverageClsScoreTTA'
    last = cfg.test_dataloader.dataset.pipeline[-1]
    assert last.transforms[1][0].type == 'PackInputs'


def test_out_must_be_a_pickle(tool):
    with pytest.raises(ValueError, match='--out a.json must end in .pkl'):
        configure(tool, DEMO, 'x.pth', '--out', 'a.json')


def test_showing_needs_a_visualization_hook(tool):
    options = ['--cfg-options', 'default_hooks.visualization=None']
    with pytest.raises(ValueError, match='VisualizationHook'):
        configure(tool, DEMO, 'x.pth', '--show-dir', 'd', *options)


def test_visualization_settings_by_scope(tool, tmp_path):
    hook = configure(
        tool, DEMO, 'x.pth', '--show', '--wait-time', 1
    ).default_hooks.visualization
    assert hook.draw is True and hook.show is True and hook.wait_time == 1
    images = tmp_path / 'images.py'
    images.write_text(classifier_config(tmp_path))
    hook = configure(
        tool, images, 'x.pth', '--show-dir', 'd'
    ).default_hooks.visualization
    assert hook.enable is True and hook.out_dir == 'd'
    assert 'draw' not in hook


def classifier_config(root):
    """A classifier of two classes of images, as mmpretrain writes one."""
    return f"""
default_scope = 'mmpretrain'
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CustomDataset',
        data_root={str(root / 'images')!r},
        pipeline=pipeline,
    ),
)
val_dataloader = test_dataloader = dict(
    train_dataloader, sampler=dict(type='DefaultSampler', shuffle=False)
)
val_evaluator = test_evaluator = dict(type='Accuracy', topk=(1,))
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet_CIFAR', depth=18, base_channels=8,
                  stem_channels=8, num_stages=4, out_indices=(3,),
                  style='pytorch'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=64,
              loss=dict(type='CrossEntropyLoss')),
    data_preprocessor=dict(mean=[128, 128, 128], std=[64, 64, 64],
                           num_classes=2),
)
train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=1)
val_cfg = test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
default_hooks = dict(
    visualization=dict(type='VisualizationHook', enable=False))
"""


@pytest.mark.slow
def test_a_classifier_needs_no_mmdet(tmp_path):
    rng = np.random.default_rng(0)
    for name, mean in (('dark', 60), ('light', 200)):
        (tmp_path / 'images' / name).mkdir(parents=True)
        for index in range(4):
            pixels = rng.normal(mean, 10, size=(32, 32, 3)).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(
                tmp_path / 'images' / name / f'{index}.png'
            )
    config = tmp_path / 'images.py'
    config.write_text(classifier_config(tmp_path))
    work, out = tmp_path / 'work', tmp_path / 'out.pkl'
    # None in sys.modules makes an import fail as if it were not installed.
    without_mmdet = (
        'import runpy, sys\n'
        'sys.modules["mmdet"] = None\n'
        f'sys.path[:0] = [{str(TOOLS)!r}, {str(TOOLS.parent)!r}]\n'
        'sys.argv.pop(0)\n'
        'runpy.run_path(sys.argv[0], run_name="__main__")\n'
    )

    def run(name, *args):
        command = [sys.executable, '-c', without_mmdet, TOOLS / name, *args]
        done = subprocess.run(
            [*map(str, command)], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout + done.stderr

    run('train.py', config, '--work-dir', work)
    text = run(
        'test.py',
        config,
        work / 'epoch_1.pth',
        '--work-dir',
        work,
        '--out',
        out,
    )
    assert 'accuracy/top1' in text
    assert 'backbone.layer1.0.conv1' in text and 'sparsity 0.0' in text
    assert len(pickle.loads(out.read_bytes())) == 8
