"""Detectors without training of which the scores all differ."""

from functools import partial

import torch
from mmdet.structures import DetDataSample
from torch import nn


def spread(model, size, seed=0):
    """Statistics of noise in every norm, and logits of moderate spread.

    Saturated scores would be equal, and order boxes at random.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(2, 3, size, size, generator=generator)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    with torch.no_grad():
        features = model.train().extract_feat(noise)
        getattr(model, 'rpn_head', getattr(model, 'bbox_head', None))(features)
        model.eval()
        scaled = set()
        hooks = [
            layer.register_forward_hook(partial(_scale, scaled))
            for name, layer in model.named_modules()
            if isinstance(layer, (nn.Conv2d, nn.Linear))
            and 'head' in name
            and 'convs' not in name
        ]
        model.predict(noise[:1], samples([(size, size)]), rescale=False)
    for hook in hooks:
        hook.remove()
    return model


def samples(sizes):
    """What mmdet is told of images of these heights and widths."""
    canvas = tuple(max(sides) for sides in zip(*sizes, strict=True))
    return [
        DetDataSample(
            metainfo=dict(
                img_shape=size,
                ori_shape=size,
                pad_shape=canvas,
                batch_input_shape=canvas,
                scale_factor=(1.0, 1.0),
            )
        )
        for size in sizes
    ]


def in_order(boxes, scores, labels):
    """Rows of score, label and corners; equal scores have no order."""
    rows = torch.cat([scores[:, None], labels[:, None], boxes], dim=1)
    rounded = [tuple(row) for row in rows.mul(1e3).round().tolist()]
    return rows[sorted(range(len(rows)), key=rounded.__getitem__)]


def _scale(scaled, layer, inputs, output):
    """By what is seen first: at the finest level, where there are several."""
    if layer in scaled:
        return output
    scaled.add(layer)
    factor = 1.5 / output.std().clamp(min=1e-6)
    layer.weight.mul_(factor)
    if layer.bias is None:
        return output * factor
    bias = layer.bias.reshape(1, -1, *[1] * (output.dim() - 2))
    return (output - bias) * factor + bias
