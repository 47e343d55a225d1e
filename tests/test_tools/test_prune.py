"""tools/prune.py: what it writes is a network that trains by itself."""

import json

import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector, init_detector
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint
from mmpretrain.models import LinearClsHead

from epsd_mm.pruning import weight_count

from ..helpers.datasets import picture_folder
from ..helpers.runners import tiny_classifier_cfg, tiny_detector_cfg

UNITS = dict(type='channels', multiple_of=1)
EPSD = dict(
    type='EPSDHook',
    sparsity=0.5,
    criterion='SNIP',
    sd_loss=dict(type='CSKDLoss'),
    draws=1,
    allocation='uniform',
    structure=UNITS,
)


@pytest.fixture(scope='module')
def config(tmp_path_factory, drawn):
    """A detector of few channels, half of which are to go."""
    folder = tmp_path_factory.mktemp('pruned')
    cfg = tiny_detector_cfg(drawn / 'VOCdevkit', folder / 'of', EPSD)
    for name in ('work_dir', 'experiment_name', 'visualizer'):
        cfg.pop(name)
    path = folder / 'detector.py'
    cfg.dump(path)
    return path


@pytest.fixture
def compact(config, run):
    """The folder with the compact network, written once."""
    folder = config.parent / 'compact'
    if not folder.exists():
        run('prune', config, '--out', folder)
    return folder


def built(path):
    cfg = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
        model.init_weights()
    return model


def test_the_config_is_of_a_plain_smaller_network(compact, config):
    cfg, base = map(Config.fromfile, (compact / 'config.py', config))
    assert cfg.model.type == 'Compact'
    assert cfg.model.of == base.model.type
    assert {*base.model} - {*cfg.model} == set()
    model = built(compact / 'config.py')
    assert type(model).__name__ == 'FasterRCNN'
    saved = torch.load(compact / 'init.pth', weights_only=True)['state_dict']
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, saved[name]), name
    report = json.loads((compact / 'epsd' / 'report.json').read_text())
    kept = sum(layer['kept'] for layer in report['layers'].values())
    weights = [p for p in model.parameters() if p.dim() > 1]
    assert sum(w.numel() for w in weights) == kept
    assert (compact / 'epsd' / 'density.png').is_file()


def test_it_trains_with_self_distillation_and_resumes(
    compact, run, tmp_path, capfd
):
    options = ('--cfg-options', f'experiment_name={tmp_path.name}')
    config = compact / 'config.py'
    run('train', config, '--work-dir', tmp_path, *options)
    path = tmp_path / 'epoch_1.pth'
    first = torch.load(path, weights_only=False)
    start = torch.load(compact / 'init.pth', weights_only=True)['state_dict']
    assert first['state_dict'].keys() == start.keys()
    assert all(
        first['state_dict'][n].shape == t.shape for n, t in start.items()
    )
    options += ('train_cfg.max_epochs=2',)
    run('train', config, '--work-dir', tmp_path, '--resume', *options)
    assert (tmp_path / 'epoch_2.pth').is_file()
    assert 'loss_sd' in capfd.readouterr().out


def test_mmdets_own_functions_take_it(compact):
    cfg = Config.fromfile(compact / 'config.py')
    cfg.test_dataloader = cfg.train_dataloader
    cfg.test_dataloader.dataset.pipeline = [
        dict(type='LoadImageFromNDArray'),
        dict(type='Resize', scale=(64, 64)),
        dict(
            type='PackDetInputs',
            meta_keys=('img_shape', 'ori_shape', 'scale_factor'),
        ),
    ]
    model = init_detector(cfg, str(compact / 'init.pth'), device='cpu')
    found = inference_detector(model, np.zeros((64, 64, 3), np.uint8))
    assert len(found.pred_instances.scores) >= 0
    assert model.dataset_meta['classes'][0] == 'disc'
    assert model.backbone.layer4[1].conv1.out_channels < 32


def test_checkpoints_of_whole_and_compact_networks_are_told_apart(
    compact, config, run, tmp_path
):
    whole = built(config)
    path = tmp_path / 'whole.pth'
    torch.save(dict(meta={}, state_dict=whole.state_dict()), path)
    narrow = compact / 'config.py'
    for start in ('load_from', 'model.init_cfg.checkpoint'):
        with pytest.raises(SystemExit, match='in this compact network'):
            options = (f'{start}={path}', f'experiment_name={tmp_path.name}')
            out = tmp_path / start
            run('train', narrow, '--work-dir', out, '--cfg-options', *options)
    start = f'load_from={compact / "init.pth"}'
    with pytest.raises(SystemExit, match='is of a compact network'):
        options = (start, f'experiment_name={tmp_path.name}')
        out = tmp_path / 'reverse'
        run('train', config, '--work-dir', out, '--cfg-options', *options)


def test_single_weights_leave_masks_that_train(config, run, tmp_path):
    out = tmp_path / 'masked'
    single = (
        'default_hooks.epsd.structure=None',
        'default_hooks.epsd.allocation=global',
        'default_hooks.epsd.allow_empty_layers=True',
    )
    run('prune', config, '--out', out, '--cfg-options', *single)
    run('train', out / 'config.py', '--work-dir', tmp_path / 'trained')
    checkpoint = torch.load(
        tmp_path / 'trained/epoch_1.pth', weights_only=False
    )
    packed = torch.load(out / 'epsd' / 'masks.pth', weights_only=True)
    assert checkpoint['epsd']['masks'] is not None
    assert packed is not None


def test_channels_that_a_training_kept_at_zero_are_removed_exactly(
    config, run, tmp_path
):
    name = ('--cfg-options', f'experiment_name={tmp_path.name}')
    run('train', config, '--work-dir', tmp_path / 'masked', *name)
    trained, out = tmp_path / 'masked' / 'epoch_1.pth', tmp_path / 'compact'
    run('prune', config, '--out', out, '--checkpoint', trained)
    narrow, whole = built(out / 'config.py').eval(), built(config).eval()
    load_checkpoint(whole, str(trained), strict=True)
    images = torch.randn(2, 3, 64, 64)
    for one, other in zip(
        *(m.rpn_head(m.extract_feat(images)) for m in (narrow, whole))
    ):
        for level, expected in zip(one, other):
            assert torch.allclose(level, expected, rtol=1e-4, atol=1e-5)
    assert weight_count(narrow) < 0.6 * weight_count(whole)


def test_a_trained_network_is_pruned_and_pruned_again(
    compact, config, run, tmp_path
):
    torch.manual_seed(1)
    trained = dict(meta={}, state_dict=built(config).state_dict())
    path, once, twice = (tmp_path / n for n in ('a.pth', 'once', 'twice'))
    torch.save(trained, path)
    name = ('--cfg-options', f'experiment_name={tmp_path.name}')
    run('prune', config, '--out', once, '--checkpoint', path, *name)
    before = trained['state_dict']['backbone.layer1.0.conv1.weight']
    after = built(once / 'config.py').backbone.layer1[0].conv1.weight
    assert after.numel() < before.numel() and torch.isin(after, before).all()
    cfg = Config.fromfile(once / 'config.py')
    cfg.default_hooks.epsd = dict(EPSD)
    cfg.dump(tmp_path / 'again.py')
    run('prune', tmp_path / 'again.py', '--out', twice, *name)
    assert Config.fromfile(twice / 'config.py').model.of == 'FasterRCNN'
    narrow, narrower = (built(f / 'config.py') for f in (once, twice))
    assert weight_count(narrower) < 0.6 * weight_count(narrow)
    torch.save(dict(meta={}, state_dict=narrow.state_dict()), path)
    with pytest.raises(SystemExit, match='is not of the network'):
        run('prune', config, '--out', tmp_path / 'c', '--checkpoint', path)


@MODELS.register_module()
class TrainedAlong(LinearClsHead):
    """With a layer that only the loss calls, so that no trace reaches it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.only_trained = torch.nn.Linear(self.in_channels, 4)

    def loss(self, feats, data_samples, **kwargs):
        self.only_trained(self.pre_logits(feats))
        return super().loss(feats, data_samples, **kwargs)


def test_what_cannot_be_trained_leaves_no_config(run, tmp_path):
    pictures = picture_folder(tmp_path / 'pictures')
    cfg = tiny_classifier_cfg(pictures, tmp_path / 'of', EPSD)
    cfg.default_hooks.epsd.sd_loss = None
    cfg.model.head.type = 'TrainedAlong'
    cfg.pop('work_dir')
    cfg.dump(tmp_path / 'config.py')
    for _ in range(2):  # the first leaves nothing in the way
        with pytest.raises(SystemExit, match='cannot be trained'):
            run('prune', tmp_path / 'config.py', '--out', tmp_path / 'out')
        assert not (tmp_path / 'out' / 'config.py').exists()
    assert not (tmp_path / 'out' / 'init.pth').exists()
    whole = "default_hooks.epsd.exclude=['backbone.layer2.*']"
    options = ('--out', tmp_path / 'out', '--cfg-options', whole)
    run('prune', tmp_path / 'config.py', *options)
    assert (tmp_path / 'out' / 'config.py').is_file()


VIT = dict(
    backbone=dict(
        type='VisionTransformer',
        arch=dict(
            embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=256
        ),
        img_size=32,
        patch_size=8,
    ),
    head=dict(type='VisionTransformerClsHead', in_channels=16),
)
SWIN = dict(
    backbone=dict(
        type='SwinTransformer',
        arch=dict(embed_dims=32, depths=[1, 1], num_heads=[2, 4]),
        img_size=32,
        window_size=4,
        out_indices=(1,),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', in_channels=64),
)


@pytest.mark.parametrize(
    'model, exclude, below',
    [(VIT, ['backbone.pos_embed'], 0.32), (SWIN, None, 0.35)],
)
def test_neurons_of_a_vision_transformer_go_by_sdm_prune(
    model, exclude, below, run, tmp_path
):
    """One word for the tool; the attention stays as it is."""
    pictures = picture_folder(tmp_path / 'pictures', size=32)
    epsd = dict(
        EPSD,
        draws=8,
        sparsity=0.9,
        sd_loss=None,
        allocation=None,
        structure=None,
        exclude=exclude,
    )
    cfg = tiny_classifier_cfg(pictures, tmp_path / 'of', epsd)
    start = dict(type='TruncNormal', layer='Linear', std=0.02)
    head = dict(model['head'], num_classes=4, init_cfg=start)
    cfg.model = dict(model, type='ImageClassifier', head=head)
    cfg.pop('work_dir')
    cfg.dump(tmp_path / 'config.py')
    out = tmp_path / 'out'
    words = ('--criterion', 'SDMPrune', '--sparsity', 0.3)
    words += ('--cfg-options', 'default_hooks.epsd.criterion.first=0.05')
    run('prune', tmp_path / 'config.py', '--out', out, *words)
    table = Config.fromfile(out / 'config.py').model.channels.layers
    assert len(table) == 4
    assert all('.ffn.' in name for name in table)
    shares = []
    for layer in table.values():
        whole, kept = layer.get('out_features', layer.get('in_features'))
        assert kept % 8 == 0
        shares.append(kept / whole)
    assert max(shares) < 1 and max(shares) - min(shares) < 0.1
    report = json.loads((out / 'epsd' / 'report.json').read_text())
    assert 0.3 <= report['sparsity'] < below
    first, second = report['steps']
    assert 'divergence' not in first
    assert second['divergence'] > 0
    assert (second['alpha'], second['temperature']) == (0.42, 0.5)
    run('train', out / 'config.py', '--work-dir', tmp_path / 'trained')
    assert (tmp_path / 'trained' / 'epoch_1.pth').is_file()


def test_what_is_there_is_not_written_over(compact, config, run):
    with pytest.raises(SystemExit, match='is there already'):
        run('prune', config, '--out', compact)


@pytest.mark.parametrize(
    'hooks',
    [
        {},
        dict(default_hooks=dict(x=dict(type='DenseHook', bad_boxes='drop'))),
        dict(custom_hooks=[dict(type='DenseHook', bad_boxes='drop')]),
        dict(custom_hooks=[dict(EPSD, criterion=None, bad_boxes='drop')]),
    ],
)
def test_what_prunes_no_more_or_not_yet_gets_a_way_to_score(
    hooks, tool, tmp_path
):
    path = tmp_path / 'config.py'
    Config(dict(model=dict(type='RetinaNet'), **hooks)).dump(path)
    prune = tool('prune')
    asked = (str(path), '--out', 'x', '--sparsity', '0.3')
    cfg = prune.configure(prune.parse_args([*asked, '--budget', 'weights']))
    found = [*cfg.get('default_hooks', {}).values()]
    (hook,) = found + [*cfg.get('custom_hooks', [])]
    assert hook.type == 'EPSDHook'
    assert hook.sparsity == 0.3
    assert hook.criterion.type == 'ProsPr'
    assert hook.structure == dict(type='channels', of='weights')
    assert hook.get('bad_boxes') == ('drop' if hooks else None)


def test_a_config_without_the_hook_needs_a_sparsity(run, tmp_path):
    config = tmp_path / 'config.py'
    config.write_text("model = dict(type='RetinaNet')\n")
    with pytest.raises(SystemExit, match='say --sparsity'):
        run('prune', config, '--out', tmp_path / 'out')
