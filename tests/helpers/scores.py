"""Detectors without training of which the scores all differ."""

import torch
from mmdet.structures import DetDataSample

from epsd_mm.families.untrained import enliven


def spread(model, size, seed=0):
    """A model that tells objects of noise of this size apart."""
    generator = torch.Generator().manual_seed(seed)
    enliven(model, torch.randn(2, 3, size, size, generator=generator))
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
