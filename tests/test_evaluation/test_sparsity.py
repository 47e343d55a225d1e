"""Sparsity is measured from the weights, of every layer that has some."""

import pytest
import torch
from mmcv.ops import ModulatedDeformConv2dPack
from torch import nn

from epsd_mm.evaluation.sparsity import (
    layer_sparsity,
    sparsity_of_all,
    sparsity_table,
)


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 5)
    )


def test_counts_zeros_of_convolution_and_linear_weights_only():
    model = network()
    model[0].weight.data[0] = 0
    model[0].bias.data.zero_()
    model[1].weight.data.zero_()
    model[3].weight.data.zero_()
    assert layer_sparsity(model) == {'0': (81, 108), '3': (0, 20)}


def test_frozen_and_transposed_layers_count():
    model = nn.Sequential(nn.ConvTranspose2d(2, 3, 2), nn.Conv1d(2, 2, 1))
    model.requires_grad_(False)
    assert layer_sparsity(model) == {'0': (24, 24), '1': (4, 4)}


def test_attention_counts_with_its_projections():
    packed = nn.MultiheadAttention(4, 2)
    packed.in_proj_weight.data[:4] = 0
    apart = nn.MultiheadAttention(4, 2, kdim=6, vdim=5)
    apart.k_proj_weight.data.zero_()
    assert layer_sparsity(nn.ModuleDict(dict(a=packed, b=apart))) == {
        'a': (32, 48),
        'a.out_proj': (16, 16),
        'b': (36, 60),
        'b.out_proj': (16, 16),
    }


def test_a_shared_layer_counts_once():
    shared = nn.Linear(2, 2)
    assert len(layer_sparsity(nn.Sequential(shared, shared))) == 1


def test_table_has_each_layer_and_the_total():
    model = network()
    model[0].weight.data[0] = 0
    lines = sparsity_table(model).splitlines()
    cells = [line.replace('│', ' ').split() for line in lines]
    assert ['0', '81', '108', '0.7500'] in cells
    assert ['3', '20', '20', '1.0000'] in cells
    assert ['all', '101', '128', '0.7891'] in cells
    # 128 weights, and biases and a normalisation of 4 + 2 * 4 + 5.
    assert ['0', '112', '85', '0.2411'] in cells
    assert ['all', '145', '118', '0.1862'] in cells
    assert lines[-1] == (
        'sparsity 0.2109 of 128 weights of convolution and linear layers, '
        '0.1862 of all 145 weights'
    )


def test_long_names_are_not_cut():
    model = nn.ModuleDict({'x' * 60: nn.Linear(1, 1)})
    assert 'x' * 60 in sparsity_table(model)


def test_a_model_without_such_layers():
    assert '0.0000 of all 0 weights' in sparsity_table(nn.ReLU())


def removing(model, *names):
    """Masks that remove the first half of some weights, in place."""
    masks = {}
    for name in names:
        weight = dict(model.named_parameters())[name]
        masks[name] = torch.ones_like(weight, dtype=torch.bool)
        masks[name].view(-1)[: weight.numel() // 2] = False
        weight.data *= masks[name]
    return masks


def test_named_weights_are_those_that_were_prunable():
    model = network()
    removing(model, '3.weight')
    # Of 20 weights ten; those of the convolution were excluded.
    assert sparsity_table(model, ['3.weight', 'elsewhere']).endswith(
        'sparsity 0.5000 of 20 prunable weights, 0.0690 of all 145 weights'
    )


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.LSTM(3, 4), nn.Linear(4, 6))
        self.head = nn.Linear(6, 2, bias=False)
        self.register_buffer('anchors', torch.zeros(50))


def test_all_weights_are_the_parameters_and_sparse_what_masks_remove():
    model = Detector()
    model.backbone[0].requires_grad_(False)
    model.backbone[1].bias.data.zero_()  # which is no sparsity
    masks = removing(model, 'backbone.1.weight', 'head.weight')
    lstm = 4 * 4 * (3 + 4 + 2)
    found = sparsity_of_all(model, masks)
    assert found['total'] == lstm + 30 + 12
    assert found['kept'] == lstm + 30 - 12 + 6
    assert found['sparsity'] == pytest.approx(18 / found['total'])
    assert found['parts'] == dict(
        backbone=dict(
            kept=lstm + 18,
            total=lstm + 30,
            sparsity=pytest.approx(12 / (lstm + 30)),
        ),
        head=dict(kept=6, total=12, sparsity=0.5),
    )


def test_weights_that_are_calculated_count_among_all_alone():
    model = network()
    nn.utils.parametrizations.weight_norm(model[0])
    assert layer_sparsity(model) == {'3': (20, 20)}
    # A length for each of four filters.
    assert sparsity_of_all(model, {})['total'] == 145 + 4


def test_deformable_convolutions_count():
    layer = ModulatedDeformConv2dPack(2, 3, 1)
    assert layer_sparsity(layer) == {'': (6, 6), 'conv_offset': (0, 6)}
