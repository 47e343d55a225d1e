"""MobileNetV2 at the resolution of small images."""

import torch
from mmpretrain.models.backbones import MobileNetV2

from epsd_mm.models import CIFARMobileNetV2


def test_weights_are_those_of_the_published_network():
    """3.50 million with the 1,281,000 of ImageNet's classifier."""
    model = CIFARMobileNetV2()
    count = sum(p.numel() for p in model.parameters())
    assert round((count + 1_281_000) / 1e6, 2) == 3.50
    stock = MobileNetV2().state_dict()
    assert model.load_state_dict(stock).missing_keys == []


def test_the_first_quarter_of_the_network_keeps_the_resolution():
    model = CIFARMobileNetV2(widen_factor=0.25, out_indices=range(8))
    features = model(torch.rand(2, 3, 32, 32))
    sizes = [tensor.shape[-1] for tensor in features]
    assert sizes == [32, 32, 16, 8, 8, 4, 4, 4]
    assert model.conv1(torch.rand(2, 3, 32, 32)).shape[-1] == 32
