"""What a model's data preprocessor does to pixels, as a module."""

import torch
from torch import Tensor, nn


class Normalise(nn.Module):
    """Pixels as a file is given them, to what the backbone expects.

    Args:
        preprocessor: The model's ``data_preprocessor``.
        order: Of the channels that it was given in training: ``bgr``, as mm
            reads files, or ``rgb``, as CIFAR's arrays are.

    Raises:
        ValueError: It does more than to turn channels round and to scale.
    """

    def __init__(self, preprocessor: nn.Module, order: str = 'bgr') -> None:
        super().__init__()
        turns = _turns(preprocessor)
        mean = getattr(preprocessor, 'mean', None)
        std = getattr(preprocessor, 'std', None)
        if mean is None or std is None:
            mean, std = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
        if mean.shape != (3, 1, 1) or std.shape != (3, 1, 1):
            raise ValueError(
                f'mean of shape {tuple(mean.shape)} in the data_preprocessor: '
                'only images of three channels can be exported'
            )
        # A deployed network is given RGB.
        self.flip = turns if order == 'rgb' else not turns
        self.register_buffer('mean', mean.clone())
        self.register_buffer('std', std.clone())
        self.padding = float(getattr(preprocessor, 'pad_value', 0) or 0)

    def forward(self, image: Tensor) -> Tensor:
        """From RGB of 0 to 255, of shape (N, 3, H, W), to the same shape."""
        if self.flip:
            image = image.flip(1)
        return (image - self.mean) / self.std

    def padding_pixel(self) -> list[float]:
        """The RGB values that become what the model is padded with."""
        pixel = (self.mean + self.padding * self.std).flatten()
        return (pixel.flip(0) if self.flip else pixel).tolist()


def _turns(preprocessor: nn.Module) -> bool:
    """Whether it reverses the order of channels."""
    for name in ('_channel_conversion', 'channel_conversion', 'to_rgb'):
        if hasattr(preprocessor, name):
            return bool(getattr(preprocessor, name))
    raise ValueError(
        f'{type(preprocessor).__name__} as data_preprocessor: only those of '
        'images (DetDataPreprocessor, ClsDataPreprocessor) can be exported'
    )
