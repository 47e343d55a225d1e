"""Networks without training that answer as trained ones do."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .tensor_mode import samples


@torch.no_grad()
def enliven(model: nn.Module, images: Tensor) -> None:
    """Let a network with random weights tell images and classes apart.

    Every norm takes the statistics of these images, and the outputs of the
    layers of heads are scaled to a moderate spread: initial scores would all
    be close to one another, and saturated ones equal, so that chance orders
    the boxes.

    Args:
        model: Of mmdet or mmpretrain; is left in evaluation mode.
        images: Preprocessed, of shape (N, 3, H, W).
    """
    norms = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]
    told = [samples(model, image[None]) for image in images]
    told = None if told[0] is None else [sample for (sample,) in told]
    model.eval()
    # They alone: some networks have another way through when they train.
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    model(images, told, mode='tensor')
    for norm in norms:
        norm.eval()
    scaled: set[nn.Module] = set()
    hooks = [
        layer.register_forward_hook(partial(_scale, scaled))
        for name, layer in model.named_modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear))
        and 'head' in name
        and ('convs' not in name or 'pred' in name)
    ]
    # As it predicts: some heads have an end of their own for training.
    model(images[:1], told and told[:1], mode='predict')
    for hook in hooks:
        hook.remove()


def _scale(
    scaled: set[nn.Module], layer: nn.Module, inputs: Any, output: Tensor
) -> Tensor:
    """By what is seen first: at the finest level, where there are several."""
    if layer in scaled:
        return output
    scaled.add(layer)
    bias = torch.zeros(()) if layer.bias is None else layer.bias
    if isinstance(layer, nn.Conv2d):
        bias = bias[..., None, None]
    # Priors of scores are biases: they are no spread over images.
    factor = 1.5 / (output - bias).std().clamp(min=1e-6)
    layer.weight.mul_(factor)
    return (output - bias) * factor + bias
