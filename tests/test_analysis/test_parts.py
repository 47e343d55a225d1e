"""Weights, multiply-adds and score mass are summed by part."""

import pytest
import torch
from mmcv.ops import DeformConv2dPack, ModulatedDeformConv2dPack
from torch import nn
from torch.nn import functional as F

from epsd_mm.analysis import (
    by_part,
    layer_figures,
    multiply_adds,
    part_table,
    parts,
    summed,
)
from epsd_mm.pruning import Masks


class Detector(nn.Module):
    """Stride, groups, dilation, a transposed convolution, a linear layer."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 4, 3, groups=4, dilation=2),
        )
        self.neck = nn.ConvTranspose2d(4, 2, 2, stride=2)
        self.head = nn.Linear(2, 3)
        self.spare = nn.Linear(5, 5)

    def forward(self, x):
        return self.head(self.neck(self.backbone(x)).movedim(1, -1))


IMAGE = torch.zeros(1, 3, 17, 13)


def random_masks(model, *names):
    params = dict(model.named_parameters())
    return Masks({n: torch.rand(params[n].shape) < 0.3 for n in names})


def test_multiply_adds_by_hand():
    # Outputs of 9 x 7, then of 5 x 3; the transposed convolution has 15
    # inputs, the linear layer 10 x 6.
    assert multiply_adds(Detector().eval(), IMAGE) == {
        'backbone.0.weight': 3 * 8 * 3 * 3 * 9 * 7,
        'backbone.3.weight': 2 * 4 * 3 * 3 * 5 * 3,
        'neck.weight': 4 * 2 * 2 * 2 * 5 * 3,
        'head.weight': 2 * 3 * 10 * 6,
        'spare.weight': 0,
    }


def test_each_image_of_a_batch_counts():
    model = Detector().eval()
    one, two = (multiply_adds(model, IMAGE.repeat(n, 1, 1, 1)) for n in (1, 2))
    assert two == {name: 2 * done for name, done in one.items()}


def test_a_layer_counts_each_time_it_is_called():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), shared).eval()
    assert multiply_adds(model, torch.zeros(2, 4)) == {'0.weight': 64}


def test_layers_that_share_a_weight_count_together():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).eval()
    model[1].weight = model[0].weight
    assert multiply_adds(model, torch.zeros(1, 4)) == {'0.weight': 32}


@pytest.mark.parametrize('kind', [DeformConv2dPack, ModulatedDeformConv2dPack])
def test_deformable_convolutions_count_as_convolutions(kind):
    torch.manual_seed(0)
    model = nn.Sequential(kind(4, 6, 3, stride=2, padding=1)).eval()
    plain = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1)).eval()
    image = torch.randn(1, 4, 9, 7)
    done = multiply_adds(model, image)
    assert done['0.weight'] == multiply_adds(plain, image)['0.weight']
    offsets = model[0].conv_offset.weight.shape[0]
    assert done['0.conv_offset.weight'] == 4 * offsets * 9 * 5 * 4
    assert not model[0]._forward_hooks


class Attention(nn.Module):
    def __init__(self, batch_first=True):
        super().__init__()
        self.attend = nn.MultiheadAttention(4, 2, batch_first=batch_first)

    def forward(self, x):
        return self.attend(x, x, x)[0]


PROJECTIONS = {
    'attend.in_proj_weight': 3 * 4 * 4 * 5 * 7,
    'attend.out_proj.weight': 4 * 4 * 5 * 7,
}


@pytest.mark.parametrize('batch_first', [True, False])
def test_attention_counts_its_projections_and_nothing_else(batch_first):
    model = Attention(batch_first).eval()
    assert multiply_adds(model, torch.zeros(5, 7, 4)) == PROJECTIONS


def test_attention_counts_where_torch_cannot_be_told_not_to_fuse(monkeypatch):
    monkeypatch.setattr(parts, 'mha', None)
    with torch.no_grad():
        done = multiply_adds(Attention().eval(), torch.zeros(5, 7, 4))
    assert done == PROJECTIONS


def test_counting_leaves_the_settings_of_torch_alone():
    enabled = torch.backends.mha.get_fastpath_enabled()
    multiply_adds(Attention().eval(), torch.zeros(5, 7, 4))
    assert torch.backends.mha.get_fastpath_enabled() == enabled
    assert torch.is_grad_enabled()


def test_multiply_adds_of_kept_weights_are_the_products_with_them():
    model = Detector().eval()
    masks = random_masks(model, 'backbone.0.weight', 'backbone.3.weight')
    layers = layer_figures(model, IMAGE, masks)
    # With ones everywhere, each product with a kept weight adds one.
    stem, grouped = (mask.float() for mask in masks.values())
    ones = F.pad(torch.ones(1, 3, 17, 13), (1, 1, 1, 1), value=1.0)
    products = F.conv2d(ones, stem, stride=2).sum()
    figures = layers['backbone.0.weight']
    assert figures['sparse_multiply_adds'] == pytest.approx(float(products))
    ones = torch.ones(1, 8, 9, 7)
    products = F.conv2d(ones, grouped, groups=4, dilation=2).sum()
    figures = layers['backbone.3.weight']
    assert figures['sparse_multiply_adds'] == pytest.approx(float(products))


def test_what_has_no_mask_is_kept_whole():
    model = Detector().eval()
    layers = layer_figures(model, IMAGE, random_masks(model, 'neck.weight'))
    head, neck = layers['head.weight'], layers['neck.weight']
    assert head['kept'] == head['total'] == 6
    assert head['sparse_multiply_adds'] == head['multiply_adds']
    assert neck['kept'] < neck['total'] == 32
    dense = layer_figures(model, IMAGE)
    assert all(layer['density'] == 1 for layer in dense.values())


def test_masks_of_another_model_are_refused():
    masks = Masks({'neck.weight': torch.ones(2, 2, dtype=torch.bool)})
    with pytest.raises(ValueError, match=r'neck.weight: mask \(2, 2\)'):
        layer_figures(Detector().eval(), IMAGE, masks)
    masks = Masks({'stem.weight': torch.ones(2, dtype=torch.bool)})
    with pytest.raises(ValueError, match='stem.weight: no such weight'):
        layer_figures(Detector().eval(), IMAGE, masks)


LAYERS = {
    'backbone.stem.weight': dict(kept=10, total=10, density=1.0, mass=0.1),
    'head.0.weight': dict(kept=2, total=4, density=0.5, mass=0.6),
    'backbone.layer1.weight': dict(kept=0, total=90, density=0.0, mass=0.3),
}


def test_density_of_a_part_counts_weights_and_not_layers():
    figures = by_part(LAYERS)
    assert list(figures) == ['backbone', 'head']
    assert figures['backbone'] == dict(
        kept=10, total=100, density=0.1, mass=pytest.approx(0.4)
    )
    assert figures['head'] == LAYERS['head.0.weight']


def test_parts_sum_up_to_the_layers():
    assert summed(by_part(LAYERS).values()) == pytest.approx(
        summed(LAYERS.values())
    )
    assert summed(LAYERS.values())['density'] == 12 / 104


def test_table_shows_what_is_known_and_the_sum():
    lines = part_table('By part', LAYERS).splitlines()
    cells = [[c.strip() for c in t.split('│')[1:-1]] for t in lines]
    assert ['backbone', '100', '10', '0.1000', '40.00%'] in cells
    assert ['all', '104', '12', '0.1154', '100.00%'] in cells
    assert not any('multiply-adds' in line for line in lines)
