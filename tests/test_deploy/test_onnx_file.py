"""What of a module cannot become a file is told in a sentence."""

import pytest
import torch
from torch import nn

from epsd_mm.deploy.onnx_file import write_onnx
from epsd_mm.deploy.run import Resize
from tests.helpers.exported import metadata_of


class OneSize(nn.Module):
    """For images of 64 x 64 alone."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(64, 64))

    def forward(self, image):
        return (image * self.weight).mean((2, 3))


class OneBatch(nn.Module):
    """Repeats something once for each image, as TOOD its anchors."""

    def forward(self, image):
        ones = torch.cat([torch.ones(1, 3) for _ in range(len(image))])
        return ones * image.mean((2, 3))


class Unknown(nn.Module):
    """An operator that ONNX lacks."""

    def forward(self, image):
        return torch.linalg.eigvals(image[:, :, :3, :3]).abs().sum((1, 2))


@pytest.mark.parametrize(
    ('module', 'dynamic', 'message'),
    [
        (OneSize(), True, 'OneSize cannot be exported: .*leave out --dynamic'),
        (OneBatch(), False, 'OneBatch cannot .* for batches of one size'),
        (
            Unknown(),
            False,
            r'ONNX lacks an operator of the network: aten\._?linalg_\S*$',
        ),
    ],
)
def test_what_has_no_form_is_named(module, dynamic, message, tmp_path, capfd):
    metadata = metadata_of('classification', resize=Resize('stretch'))
    names = (['image'], ['probabilities'])
    file = tmp_path / 'model.onnx'
    image = torch.full((1, 3, 64, 64), 127.0)
    with pytest.raises(ValueError, match=message) as error:
        write_onnx(module, [image], names, metadata, file, dynamic)
    assert '\n' not in str(error.value)
    assert not file.exists()
    assert capfd.readouterr().out == ''
