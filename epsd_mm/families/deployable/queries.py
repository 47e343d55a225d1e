"""Boxes of detectors that ask a transformer for objects."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from epsd_mm.families.kinds import class_names

from .candidates import Selected
from .per_image import for_each_image
from .refusal import not_exportable

# They attend to one level; ConditionalDETR and DABDETR are kinds of DETR.
_SUPPORTED = 'DETR'


class Queries:
    """The best objects that a transformer knows, without suppression.

    Args:
        model: A copy of a detector, which it changes for good.

    Raises:
        ValueError: Its transformer is of another kind.
    """

    def __init__(self, model: nn.Module) -> None:
        name = type(model).__name__
        if _SUPPORTED not in class_names(model):
            raise not_exportable(
                name,
                'of detectors with queries those like DETR, ConditionalDETR '
                'and DABDETR can, which attend to one level',
            )
        self._model = model
        model.__dict__['pre_transformer'] = self._pre_transformer
        head = model.bbox_head
        self.count = int(head.test_cfg.get('max_per_img', model.num_queries))

    def __call__(
        self, features: Any, sizes: Tensor, canvas: tuple[int, int]
    ) -> Selected:
        """Objects of all images.

        Args:
            features: Of the neck.
            sizes: Height and width of each image, of shape (N, 2).
            canvas: Height and width of all.
        """
        head = self._model.bbox_head

        def predict_by_feat(
            logits: Tensor, boxes: Tensor, *args: Any, **kwargs: Any
        ) -> tuple:
            return for_each_image(of_image, logits[-1], boxes[-1], sizes)

        def of_image(logits: Tensor, boxes: Tensor, size: Tensor) -> tuple:
            meta = dict(img_shape=(size[0], size[1]))
            found = head._predict_by_feat_single(
                logits, boxes, meta, rescale=False
            )
            return found.bboxes, found.scores, found.labels

        seen = self._model.forward_transformer(features, (sizes, canvas))
        head.__dict__['predict_by_feat'] = predict_by_feat
        found = head.predict(**seen, batch_data_samples=[], rescale=False)
        return Selected(*found)

    def _pre_transformer(
        self, features: Any, given: tuple[Tensor, tuple[int, int]]
    ) -> tuple[dict, dict]:
        """DETR's, for sizes that are tensors: where an image ends."""
        feature = features[-1]
        outside = _outside(*given, feature)
        position = self._model.positional_encoding(outside)
        keys = outside.flatten(1)
        feature, position = (
            value.flatten(2).permute(0, 2, 1) for value in (feature, position)
        )
        return (
            dict(feat=feature, feat_mask=keys, feat_pos=position),
            dict(memory_mask=keys, memory_pos=position),
        )


def _outside(
    sizes: Tensor, canvas: tuple[int, int], feature: Tensor
) -> Tensor:
    """Which cells of a feature map are padding, of shape (N, h, w)."""
    rows, columns = (
        torch.arange(side, device=sizes.device).to(sizes) for side in canvas
    )
    below = rows[None, :, None] >= sizes[:, 0, None, None]
    right = columns[None, None, :] >= sizes[:, 1, None, None]
    outside = (below | right).to(feature)[:, None]
    return interpolate(outside, size=feature.shape[2:])[:, 0].bool()
