"""Transformers: heads and neurons are units, residual streams stay whole."""

import copy
import re

import pytest
import torch
from mmcv.ops import MultiScaleDeformableAttention
from mmpretrain.utils import register_all_modules

from epsd_mm.engine.model_units import ModelUnits
from epsd_mm.engine.settings import Settings
from epsd_mm.families import channel_groups, let_heads_go
from epsd_mm.structure import find_groups

from ..helpers.models import build, seeded_model, shipped
from ..helpers.narrowing import liven, random_units, with_zeros, without


def classifier(backbone, channels, head):
    register_all_modules(init_default_scope=False)
    torch.manual_seed(0)
    cfg = dict(
        type='ImageClassifier',
        backbone=backbone,
        head=dict(type=head, num_classes=4, in_channels=channels),
    )
    if head == 'LinearClsHead':
        cfg['neck'] = dict(type='GlobalAveragePooling')
    return build(cfg, 'mmpretrain')


def tiny_vit():
    arch = dict(embed_dims=24, num_layers=2, num_heads=4)
    arch['feedforward_channels'] = 20
    backbone = dict(type='VisionTransformer', arch=arch, img_size=32)
    backbone.update(patch_size=8, drop_rate=0.0)
    return classifier(backbone, 24, 'VisionTransformerClsHead')


def tiny_swin():
    arch = dict(embed_dims=16, depths=[2, 2], num_heads=[4, 8])
    backbone = dict(type='SwinTransformer', arch=arch, img_size=32)
    backbone.update(window_size=4, drop_path_rate=0.0, out_indices=(1,))
    return classifier(backbone, 32, 'LinearClsHead')


def tiny_convnext():
    arch = dict(depths=[1, 1], channels=[8, 16])
    backbone = dict(type='ConvNeXt', arch=arch, out_indices=(1,))
    backbone.update(drop_path_rate=0.0, gap_before_final_norm=True)
    model = classifier(backbone, 16, 'LinearClsHead')
    model.neck = None
    return model


BUILDS = [tiny_vit, tiny_swin, tiny_convnext]


@pytest.mark.parametrize('build', BUILDS)
def test_a_network_without_units_returns_what_zeros_return(build):
    model = liven(build().double()).eval()
    groups = channel_groups(model, 32)
    let_heads_go(model)
    image = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    removed = random_units(groups)
    zeros = with_zeros(model, groups, removed)(image, mode='tensor')
    cut = without(model, groups, removed)(image, mode='tensor')
    assert (zeros - cut).abs().max() < 1e-9
    assert (zeros - model(image, mode='tensor')).abs().max() > 1e-3


def test_a_head_emits_its_values_and_its_queries_and_keys_go_with_it():
    groups = channel_groups(tiny_vit())
    group = groups['backbone.layers.0.attn.qkv']
    assert group.units == 4
    of_one = [*range(6, 12)]
    queries_and_keys = [start + i for start in (0, 24) for i in of_one]
    values = [48 + i for i in of_one]
    assert [(m.name, m.role, m.index[1].tolist()) for m in group.members] == [
        ('backbone.layers.0.attn.qkv.weight', 'consumer', queries_and_keys),
        ('backbone.layers.0.attn.qkv.weight', 'producer', values),
        ('backbone.layers.0.attn.qkv.bias', 'consumer', queries_and_keys),
        ('backbone.layers.0.attn.qkv.bias', 'producer', values),
        ('backbone.layers.0.attn.proj.weight', 'consumer', of_one),
    ]


def test_a_window_head_has_its_bias_of_positions():
    groups = channel_groups(tiny_swin())
    group = groups['backbone.stages.1.blocks.0.attn.w_msa.qkv']
    table, *_ = group.members
    assert table.name.endswith('relative_position_bias_table')
    assert (table.axis, table.index.tolist()) == (1, [[h] for h in range(8)])


@pytest.mark.parametrize('build', BUILDS)
def test_only_heads_and_neurons_are_units(build):
    groups = channel_groups(build(), 32)
    names = {re.sub(r'\d+', 'N', name) for name in groups}
    assert names <= {
        'backbone.layers.N.attn.qkv',
        'backbone.layers.N.ffn.layers.N.N',
        'backbone.stages.N.blocks.N.attn.w_msa.qkv',
        'backbone.stages.N.blocks.N.ffn.layers.N.N',
        'backbone.stages.N.N.pointwise_convN',
    }
    reasons = {*groups.whole.values()}
    assert len(reasons) == 2
    assert 'its outputs are those of the network' in reasons
    assert any('normalises its channels together' in r for r in reasons)


@pytest.mark.parametrize(
    'build, layers',
    [(tiny_vit, 'ffn'), (tiny_swin, 'ffn'), (tiny_convnext, 'pointwise_conv')],
)
def test_neurons_are_those_of_the_mlp_of_each_block(build, layers):
    settings = Settings.build(
        sparsity=0.1, criterion='SNIP', structure='neurons'
    )
    units = ModelUnits(model := build(), settings)
    every = channel_groups(model)
    assert [*units.groups] == [name for name in every if layers in name]
    attention = [name for name in every if layers not in name]
    reasons = {units.groups.whole[name] for name in attention}
    assert reasons <= {'because it is no neuron of an MLP'}


def test_window_attention_of_any_heads_is_the_stock_one_with_all():
    for shift in (0, 2):
        model = tiny_swin().double().eval()
        block = model.backbone.stages[0].blocks[1].attn
        block.shift_size = shift
        stock = copy.deepcopy(model)
        before = let_heads_go(model)
        assert len(before) == 4
        image = torch.randn(2, 3, 32, 32, dtype=torch.float64)
        ours, theirs = (m(image, mode='tensor') for m in (model, stock))
        assert (ours - theirs).abs().max() < 1e-12
        assert model.state_dict().keys() == stock.state_dict().keys()


def test_finding_groups_leaves_the_classes_of_a_model():
    model = tiny_swin()
    kinds = [type(module) for module in model.modules()]
    channel_groups(model)
    assert [type(module) for module in model.modules()] == kinds


def test_packed_projections_of_detr_are_named():
    cfg = shipped('detr/detr_r50_8xb2-150e_coco.py')
    cfg.backbone = dict(type='ResNet', depth=18, base_channels=4)
    cfg.backbone.update(stem_channels=4, out_indices=(3,))
    cfg.neck.in_channels = [32]
    cfg.neck.out_channels = 16
    for part in (cfg.encoder, cfg.decoder):
        part.num_layers = 1
        layer = part.layer_cfg
        layer.ffn_cfg.update(embed_dims=16, feedforward_channels=12)
        for attention in ('self_attn_cfg', 'cross_attn_cfg'):
            if attention in layer:
                layer[attention].update(embed_dims=16, num_heads=2)
    cfg.positional_encoding.num_feats = 8
    cfg.bbox_head.embed_dims = 16
    groups = channel_groups(seeded_model(cfg, 0, False))
    packed = 'MultiheadAttention packs its projections'
    assert groups.whole['encoder.layers.0.self_attn.attn'] == packed
    assert groups.whole['decoder.layers.0.cross_attn.attn'] == packed
    assert groups['encoder.layers.0.ffn.layers.0.0'].units == 12
    assert 'backbone.layer4.1.conv1' in groups
    assert 'bbox_head.reg_ffn.layers.0.0' in groups


class Deformable(torch.nn.Module):
    """One image of 4x4 positions that looks at itself."""

    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Linear(8, 16)
        self.attention = MultiScaleDeformableAttention(
            16, num_heads=4, num_levels=1, num_points=2, batch_first=True
        )
        self.norm = torch.nn.LayerNorm(16)

    def forward(self, x):
        x = self.stem(x)
        points = torch.full((1, 16, 1, 2), 0.4, dtype=x.dtype)
        shape, start = torch.tensor([[4, 4]]), torch.tensor([0])
        return self.norm(
            self.attention(
                x,
                reference_points=points,
                spatial_shapes=shape,
                level_start_index=start,
            )
        )


def test_heads_of_deformable_attention_go_with_where_they_look():
    model = liven(Deformable()).eval()
    x = torch.randn(1, 16, 8)
    groups = find_groups(model, x)
    (group,) = groups.values()
    assert (group.name, group.units) == ('attention.value_proj', 4)
    assert group.layers('producer') == ['attention.value_proj']
    assert group.layers('consumer') == [
        'attention.sampling_offsets',
        'attention.attention_weights',
        'attention.output_proj',
    ]
    removed = {group.name: [1, 2]}
    cut = without(model, groups, removed)
    cut.attention.num_heads = 2
    zeros = with_zeros(model, groups, removed)
    assert (zeros(x) - cut(x)).abs().max() < 1e-5
