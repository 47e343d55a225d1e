"""Sparsity is measured from the weights, of every layer that has some."""

import torch
from torch import nn

from epsd_mm.evaluation.sparsity import layer_sparsity, sparsity_table


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
    assert lines[-1] == 'sparsity 0.2109'


def test_long_names_are_not_cut():
    model = nn.ModuleDict({'x' * 60: nn.Linear(1, 1)})
    assert 'x' * 60 in sparsity_table(model)


def test_a_model_without_such_layers():
    assert sparsity_table(nn.ReLU()).endswith('sparsity 0.0000')
