"""Operators of ours in a file: beside mmcv's, in both runtimes."""

import numpy as np
import pytest
import torch
from mmcv.ops import DeformConv2dPack, ModulatedDeformConv2dPack
from torch import nn

from epsd_mm.deploy import run
from epsd_mm.deploy.exporting import _as_openvino
from epsd_mm.deploy.onnx_file import write_onnx
from epsd_mm.deploy.run import Resize
from epsd_mm.families.deployable.compiled import make_exportable
from epsd_mm.ops.exportable import deform_conv
from tests.helpers.exported import metadata_of


class Deformable(nn.Module):
    """Both versions, with groups of channels and of offsets."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = DeformConv2dPack(
            3, 8, 3, stride=2, padding=1, deform_groups=1
        )
        self.second = ModulatedDeformConv2dPack(
            8, 6, 3, padding=2, dilation=2, groups=2, deform_groups=4
        )
        self.third = ModulatedDeformConv2dPack(6, 2, 1, bias=False)
        for layer in (self.first, self.second, self.third):
            nn.init.normal_(layer.conv_offset.weight, std=0.2)
            nn.init.normal_(layer.conv_offset.bias)

    def forward(self, image):
        seen = self.third(self.second(self.first(image / 100)).relu())
        return seen.mean((2, 3))


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    file = tmp_path_factory.mktemp('operators') / 'model.onnx'
    module = Deformable().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    image = 100 * torch.randn(3, 3, 48, 64, generator=generator)
    expected = module(image)  # by mmcv
    make_exportable(module)
    torch.testing.assert_close(module(image), expected)
    metadata = metadata_of('classification', resize=Resize('stretch'))
    names = (['image'], ['probabilities'])
    write_onnx(module, [image[:1]], names, metadata, file)
    return file, metadata, image.numpy(), expected.numpy()


@pytest.mark.parametrize('runtime', ['onnxruntime', 'openvino'])
def test_deformable_convolutions_are_those_of_mmcv(written, runtime):
    file, metadata, image, expected = written
    if runtime == 'openvino':
        file = _as_openvino(file, metadata)
    found = run.load(file)(image)['probabilities']
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
    assert expected.std() > 1e-3


def test_offsets_of_another_size_are_refused():
    """DyHead gives offsets of the level before; mmcv reads on in memory."""
    layer = ModulatedDeformConv2dPack(3, 4, 3, stride=2, padding=1)
    features, finer = torch.rand(1, 3, 8, 8), torch.rand(1, 27, 8, 8)
    options = [[2, 2], [1, 1], [1, 1], 1, 1]
    with pytest.raises(
        ValueError, match=r'\(8, 8\) for an output of \(4, 4\)'
    ):
        deform_conv(
            features,
            finer[:, :18],
            finer[:, 18:],
            layer.weight,
            layer.bias,
            *options,
        )
