"""Channels of mm models: a unit can be cut out where it can be zero."""

import copy

import pytest
import torch
from torch import nn

from epsd_mm.families import channel_groups
from epsd_mm.structure import Width

from ..helpers.families import FAMILIES, tiny_fcos, tiny_rtmdet
from ..helpers.models import (
    seeded_model,
    shipped,
    tiny_cascade,
    tiny_faster_rcnn,
    tiny_retinanet,
    tiny_ssd,
    to_float64,
)
from ..helpers.narrowing import liven, random_units, with_zeros, without
from ..helpers.stock import stock

BUILDS = [*FAMILIES, tiny_cascade]


@pytest.fixture(scope='module', params=BUILDS, ids=lambda b: b.__name__)
def model(request):
    return to_float64(liven(request.param()))


@pytest.fixture(scope='module')
def groups(model):
    return channel_groups(model)


def outputs(model):
    """What its parts return, one after the other, without any decoding."""
    size = 300 if hasattr(getattr(model, 'neck', None), 'l2_norm') else 128
    images = torch.rand(2, 3, size, size, dtype=torch.float64) - 0.5
    features = model.extract_feat(images)
    if not hasattr(model, 'roi_head'):
        head = model.bbox_head if hasattr(model, 'bbox_head') else model.head
        return flat(head(features))
    found = [model.rpn_head(features)]
    rois = [[0, 0, 0, 40, 40], [1, 9, 9, 90, 90], [0, 0, 0, 128, 128]]
    rois = torch.tensor(rois, dtype=torch.float64)
    extractors = model.roi_head.bbox_roi_extractor
    heads = model.roi_head.bbox_head
    if not isinstance(heads, nn.ModuleList):
        extractors, heads = [extractors], [heads]
    for extractor, head in zip(extractors, heads):
        extractor.out_channels = features[0].shape[1]
        found.append(head(extractor(features[:4], rois)))
    return flat(found)


def flat(nested):
    if isinstance(nested, torch.Tensor):
        return [nested]
    return [tensor for each in nested for tensor in flat(each)]


@pytest.mark.parametrize('training', [False, True], ids=['eval', 'train'])
def test_a_network_without_units_returns_what_zeros_return(
    model, groups, training
):
    removed = random_units(groups)
    results = []
    for remove in (with_zeros, without):
        torch.manual_seed(0)
        results.append(outputs(remove(model, groups, removed).train(training)))
    dense = flat(outputs(copy.deepcopy(model)))
    for zeros, cut, all_units in zip(*results, dense):
        assert (zeros - cut).abs().max() < 1e-9 * zeros.abs().max()
        assert (zeros - all_units).abs().max() > 1e-3 * zeros.abs().max()


def test_every_weight_is_claimed_or_named_whole(model, groups):
    claimed = {}
    for group in groups.values():
        for member in group.members:
            key = member.name, member.axis
            count = claimed.get(key, 0) + member.index.numel()
            claimed[key] = count
    for name, layer in model.named_modules():
        if not isinstance(layer, (nn.Conv2d, nn.Linear)):
            continue
        rows, columns = layer.weight.shape[:2]
        into = claimed.get((f'{name}.weight', 1), 0)
        from_image = columns in (3, 12) and name.startswith('backbone')
        depthwise = layer.__dict__.get('groups', 1) > 1
        assert into == (0 if from_image or depthwise else columns), name
        if name in groups.whole:
            assert (f'{name}.weight', 0) not in claimed
        else:
            assert claimed[f'{name}.weight', 0] == rows, name


def test_only_what_the_task_fixes_stays_whole(model, groups):
    last = {
        *('head.fc', 'retina_cls', 'retina_reg', 'conv_cls', 'conv_reg'),
        *('conv_centerness', 'rtm_cls', 'rtm_reg', 'multi_level_conv_cls'),
        *('multi_level_conv_reg', 'multi_level_conv_obj', 'rpn_cls'),
        *('rpn_reg', 'fc_cls', 'fc_reg', 'bbox_head.cls_convs'),
        'bbox_head.reg_convs',
    }
    for layer, reason in groups.whole.items():
        assert any(end in layer for end in last), layer
        assert reason == 'its outputs are those of the network'


def test_roi_features_are_joined_with_all_their_columns():
    groups = channel_groups(tiny_faster_rcnn())
    group = groups['neck.fpn_convs.0.conv']
    (columns,) = (
        member
        for member in group.members
        if member.name == 'roi_head.bbox_head.shared_fcs.0.weight'
    )
    assert columns.index.tolist() == [
        [*range(9 * unit, 9 * unit + 9)] for unit in range(8)
    ]
    assert groups.attributes == {
        'roi_head.bbox_roi_extractor.out_channels': Width(columns.name, 1, 9)
    }


def test_units_under_group_normalisation_are_its_groups():
    groups = channel_groups(tiny_fcos())
    group = groups['bbox_head.cls_convs.0.conv']
    assert group.units == 4
    assert all(
        member.index.tolist() == [[*range(4 * u, 4 * u + 4)] for u in range(4)]
        for member in group.members
    )


def test_convolutions_shared_by_levels_are_normalised_by_all_their_norms():
    groups = channel_groups(tiny_rtmdet())
    (group,) = (
        g for g in groups.values() if g.name == 'bbox_head.cls_convs.0.0.conv'
    )
    assert group.layers('producer') == ['bbox_head.cls_convs.0.0.conv']
    assert group.layers('norm') == [
        f'bbox_head.cls_convs.{level}.0.bn' for level in range(3)
    ]
    assert all(m.normalised for m in group.members if m.role == 'producer')


def test_masks_that_wait_for_assigned_boxes_are_followed_too():
    cfg = shipped('yolact/yolact_r50_1xb8-55e_coco.py')
    cfg.backbone.update(base_channels=4, stem_channels=4, init_cfg=None)
    cfg.neck.update(in_channels=[16, 32, 64, 128], out_channels=16)
    cfg.bbox_head.update(in_channels=16, feat_channels=16)
    protos = (16, 16, 16, None, 16, 32)
    cfg.mask_head.update(in_channels=16, proto_channels=protos)
    groups = channel_groups(seeded_model(cfg, 0, False))
    prototypes = groups['mask_head.protonet.0']
    assert prototypes.layers('consumer') == ['mask_head.protonet.2']
    # Which training alone calls.
    semantic = 'mask_head.segm_branch.segm_conv'
    assert semantic in groups['neck.fpn_convs.0.conv'].layers('consumer')
    assert 'those of the network' in groups.whole[semantic]


def test_proposals_that_are_parameters_need_no_head():
    cfg = shipped('sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco.py')
    cfg.backbone.update(base_channels=4, stem_channels=4, init_cfg=None)
    cfg.neck.update(in_channels=[16, 32, 64, 128], out_channels=16)
    cfg.rpn_head.update(num_proposals=20, proposal_feature_channel=16)
    roi = cfg.roi_head
    roi.update(num_stages=1, stage_loss_weights=[1])
    roi.proposal_feature_channel = roi.bbox_roi_extractor.out_channels = 16
    (head,) = roi.bbox_head = roi.bbox_head[:1]
    head.update(in_channels=16, num_heads=2, feedforward_channels=32)
    head.dynamic_conv_cfg.update(in_channels=16, feat_channels=8)
    head.dynamic_conv_cfg.out_channels = 16
    cfg.train_cfg.rcnn = cfg.train_cfg.rcnn[:1]
    groups = channel_groups(seeded_model(cfg, 0, False))
    assert groups['roi_head.bbox_head.0.ffn.layers.0.0'].units == 32
    assert groups['backbone.layer4.0.conv1'].units == 32
    for last in ('fc_cls', 'fc_reg'):
        reason = groups.whole[f'roi_head.bbox_head.0.{last}']
        assert reason == 'its outputs are those of the network'


def test_channels_that_say_where_to_look_are_no_features():
    groups = channel_groups(stock('VFNet'))
    names = [f'bbox_head.{kind}_convs.0.conv' for kind in ('cls', 'reg')]
    assert [groups[name].units for name in names] == [32, 32]
    assert groups[names[0]].layers('consumer') == ['bbox_head.vfnet_cls_dconv']
    assert 'those of the network' in groups.whole['bbox_head.vfnet_reg']


@pytest.mark.parametrize('build', [tiny_faster_rcnn, tiny_rtmdet])
def test_the_model_is_left_as_it_was(build):
    model = build()
    tensors = model.state_dict(keep_vars=True)
    values = {name: tensor.clone() for name, tensor in tensors.items()}
    state = torch.get_rng_state()
    channel_groups(model)
    assert torch.equal(torch.get_rng_state(), state)
    for name, tensor in model.state_dict(keep_vars=True).items():
        assert tensor is tensors[name]
        assert torch.equal(tensor, values[name])
    for module in model.modules():
        assert module.training
        assert not module._forward_hooks and not module._forward_pre_hooks
    if hasattr(model, 'roi_head'):
        assert model.roi_head.bbox_roi_extractor.out_channels == 8


def test_a_size_that_the_model_does_not_take_is_named():
    with pytest.raises(
        ValueError, match='SingleStageDetector cannot .* size 32'
    ):
        channel_groups(tiny_ssd(), size=32)


def test_a_model_that_cannot_be_called_is_told_in_one_sentence(monkeypatch):
    model = tiny_retinanet()
    monkeypatch.setattr(model, '_forward', lambda *args: model.mask_head)
    with pytest.raises(ValueError, match='AttributeError: .*mask_head') as e:
        channel_groups(model)
    assert len(str(e.value).splitlines()) == 1
