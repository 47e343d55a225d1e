"""Every backbone of the configs can be scored, and scored exactly."""

import copy
from functools import partial
from math import prod
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import nn

import epsd_mm
import epsd_mm.models  # noqa: F401
from epsd_mm.engine.model_objective import ModelObjective
from epsd_mm.families.observers import build_observer
from epsd_mm.families.observers.classifier import ClassifierObserver
from epsd_mm.pruning import meta_gradient, prunable_parameters
from tests.helpers.models import (
    build,
    classification_batch,
    register_mmpretrain,
    to_float64,
    trainable,
)
from tests.helpers.oracles import (
    classifier_loss,
    relative_error,
    unrolled_gradient,
)

# Weights of the network with 100 classes, biases and normalisation included,
# and how many layers of it are prunable.
PIECES = dict(
    preact_resnet18=(11_217_444, 1 + 16 + 3 + 1),
    resnet32_cifar=(472_756, 1 + 30 + 2 + 1),
    wrn20_8=(6_871_220, 1 + 18 + 3 + 1),
    vgg16_bn=(14_774_436, 13 + 1),
    vgg19_bn=(20_086_692, 16 + 1),
    mobilenetv2_cifar=(2_351_972, 1 + 2 + 16 * 3 + 1 + 1),
    vit_small_patch4_32=(3_600_676, 1 + 8 * 4 + 1),
)


def classifier(piece, **changes):
    """The model of a piece, with some options changed."""
    cfg = Config.fromfile(epsd_mm.config_path(f'_base_/models/{piece}'))
    assert list(cfg) == ['model']
    cfg.merge_from_dict(dict(model=changes))
    cfg.model.data_preprocessor = dict(
        type='ClsDataPreprocessor', mean=[128.0] * 3, std=[64.0] * 3
    )
    register_mmpretrain(init_default_scope=False)
    torch.manual_seed(0)
    return build(cfg.model, 'mmpretrain')


@pytest.mark.parametrize('piece', PIECES)
def test_a_piece_is_a_classifier_of_known_size(piece):
    """All but vectors and tokens is prunable."""
    model = classifier(piece)
    weights, layers = PIECES[piece]
    assert sum(p.numel() for p in model.parameters()) == weights
    prunable = prunable_parameters(model)
    assert len(prunable) == layers
    for name, p in model.named_parameters():
        if name not in prunable:
            last = name.rpartition('.')[2]
            assert p.ndim == 1 or last in ('cls_token', 'pos_embed')
    assert type(build_observer(model)) is ClassifierObserver


@pytest.mark.parametrize('piece', PIECES)
def test_a_piece_is_scored_as_it_stands(piece):
    model = classifier(piece)
    size = 32 if piece.startswith(('vgg', 'vit')) else 16
    masks = epsd_mm.prune(
        model,
        [classification_batch(size=size, seed=t) for t in range(3)],
        sparsity=0.9,
        criterion=dict(type='ProsPr', steps=2, lr=0.01),
        sd_loss=None,
        draws=1,
    )
    assert masks.sparsity == pytest.approx(0.9, abs=1e-5)
    assert all(mask.any() for mask in masks.values())


def test_every_piece_is_tested():
    """Those of classifiers here; tests/test_configs.py has the detectors."""
    folder = Path(epsd_mm.config_path('_base_/models/vgg16_bn')).parent
    pieces = {file.stem for file in folder.glob('*.py')}
    assert pieces == set(PIECES) | {'rtmdet_tiny', 'yolox_tiny'}


@pytest.mark.parametrize(
    'piece, features, classes, millions',
    [
        ('preact_resnet18', 512, 10, 11.17),
        ('resnet32_cifar', 64, 10, 0.46),  # He et al., table 6
        ('vgg16_bn', 512, 0, 14.72),  # 14.71 of convolutions
        ('mobilenetv2_cifar', 1280, 1000, 3.50),
    ],
)
def test_known_sizes_are_the_published_ones(
    piece, features, classes, millions
):
    """With as many classes as where they were published."""
    weights, _ = PIECES[piece]
    weights += (features + 1) * (classes - 100)
    assert weights / 1e6 == pytest.approx(millions, abs=0.01)


def test_no_weight_of_the_transformer_is_left_out():
    """Four matrices a layer, the patches and the classifier."""
    model = classifier('vit_small_patch4_32')
    shapes = {
        name: tuple(p.shape) for name, p in prunable_parameters(model).items()
    }
    want = {'backbone.patch_embed.projection.weight': (192, 3, 4, 4)}
    for layer in range(8):
        name = f'backbone.layers.{layer}'
        want[f'{name}.attn.qkv.weight'] = (3 * 192, 192)
        want[f'{name}.attn.proj.weight'] = (192, 192)
        want[f'{name}.ffn.layers.0.0.weight'] = (768, 192)
        want[f'{name}.ffn.layers.1.weight'] = (192, 768)
    want['head.layers.head.weight'] = (100, 192)
    assert shapes == want
    vectors = [p for p in model.parameters() if p.ndim == 1]
    tokens = (1 + 1 + 8 * 8) * 192  # class token, positions
    rest = sum(v.numel() for v in vectors) + tokens
    total = sum(p.numel() for p in model.parameters())
    assert sum(prod(shape) for shape in shapes.values()) == total - rest


TINY_VIT = dict(
    arch=dict(
        embed_dims=8, num_layers=2, num_heads=2, feedforward_channels=16
    ),
    img_size=8,
)
RANDOM_VIT = dict(
    TINY_VIT,
    drop_rate=0.2,
    drop_path_rate=0.4,
    layer_cfgs=dict(attn_drop_rate=0.2),
)
# Piece, changes of its backbone, channels of its features, size of images.
SHRUNK = dict(
    preact=('preact_resnet18', dict(base_channels=2), 16, 16),
    preact_of_he=(
        'preact_resnet18',
        dict(base_channels=2, stem_norm=False, final_norm=True),
        16,
        16,
    ),
    wide=(
        'wrn20_8',
        dict(
            _delete_=True,
            type='WideResNet',
            depth=10,
            widen_factor=1,
            dropout=0.3,
        ),
        64,
        8,
    ),
    wide_bottleneck=('wrn20_8', dict(depth=11, widen_factor=1), 256, 8),
    vgg=(
        'vgg16_bn',
        dict(depth=11, num_stages=2, dilations=(1, 1), out_indices=(1,)),
        128,
        8,
    ),
    mobile=('mobilenetv2_cifar', dict(widen_factor=0.1), 1280, 16),
    vit=('vit_small_patch4_32', TINY_VIT, 8, 8),
    vit_with_dropout=('vit_small_patch4_32', RANDOM_VIT, 8, 8),
)
STEPS, LR, MOMENTUM = 2, 0.05, 0.9


def shrunk(name):
    piece, backbone, channels, size = SHRUNK[name]
    head = dict(in_channels=channels, num_classes=4)
    model = classifier(piece, backbone=backbone, head=head)
    batches = [classification_batch(size=size, seed=t) for t in range(3)]
    return to_float64(model), batches


def seeded(batches):
    for t, batch in enumerate(batches):
        torch.manual_seed(t)
        yield [copy.deepcopy(batch)]


def written_out(query, key, value, dropout_p):
    weights = torch.softmax(query @ key.mT / key.shape[-1] ** 0.5, dim=-1)
    return nn.functional.dropout(weights, dropout_p) @ value


def unrolled(model, batches):
    """The same steps through one graph, attention by its formula."""
    for module in model.modules():
        if hasattr(module, 'scaled_dot_product_attention'):
            module.scaled_dot_product_attention = written_out

    def at_step(t, batch, theta):
        torch.manual_seed(t)
        return classifier_loss(model, theta, batch)

    losses = [partial(at_step, t, b) for t, b in enumerate(batches)]
    return unrolled_gradient(losses, trainable(model), LR, MOMENTUM)


@pytest.mark.parametrize('name', SHRUNK)
def test_the_walk_back_is_the_unrolled_graph(name):
    model, batches = shrunk(name)
    walk = partial(
        meta_gradient,
        ModelObjective(model),
        trainable(model),
        steps=STEPS,
        lr=LR,
        momentum=MOMENTUM,
    )
    want = unrolled(copy.deepcopy(model), batches)
    got = walk(batches=seeded(batches)).gradient
    assert relative_error(got, want) < 1e-9
    kept = walk(batches=seeded(batches), kept_graphs=1).gradient
    assert relative_error(kept, want) < 1e-9
    first = walk(batches=seeded(batches), first_order=True).gradient
    assert relative_error(first, want) > 0.01, 'the test shows nothing'


def test_a_transformer_head_that_starts_at_zero_is_refused():
    """What mmpretrain's default would do to the ranking."""
    zero = dict(_delete_=True, type='Constant', layer='Linear', val=0)
    model = classifier(
        'vit_small_patch4_32',
        backbone=TINY_VIT,
        head=dict(in_channels=8, init_cfg=zero),
    )
    with pytest.raises(ValueError, match='backbone.layers.0.attn.qkv'):
        epsd_mm.prune(
            model,
            [classification_batch()],
            sparsity=0.5,
            criterion='SNIP',
            draws=1,
        )
