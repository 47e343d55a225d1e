"""The networks are those of the papers."""

import pytest
import torch

from epsd_mm.models import CIFARResNet


@pytest.mark.parametrize(
    'depth, millions', [(20, 0.27), (32, 0.46), (56, 0.85), (110, 1.7)]
)
def test_sizes_are_those_of_the_paper(depth, millions):
    """Table 6 of He et al.; the classifier adds 650 weights."""
    model = CIFARResNet(depth)
    count = sum(p.numel() for p in model.parameters()) + 650
    assert count / 1e6 == pytest.approx(millions, abs=0.04)
    convolutions = [
        m
        for name, m in model.named_modules()
        if isinstance(m, torch.nn.Conv2d) and 'downsample' not in name
    ]
    assert len(convolutions) == depth - 1


def test_shape_of_the_features():
    (features,) = CIFARResNet(20)(torch.rand(2, 3, 32, 32))
    assert features.shape == (2, 64, 8, 8)


def test_branches_start_alive():
    model = CIFARResNet(20)
    model.init_weights()
    assert (model.layer1[0].norm2.weight == 1).all()
