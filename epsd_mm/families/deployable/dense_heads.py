"""Candidates of heads that predict at every position."""

from typing import Any

import torch
from torch import Tensor, nn

from epsd_mm.families.kinds import class_names

from ..methods import with_globals
from .candidates import Candidates, drop_small
from .per_image import for_each_image
from .refusal import not_exportable

_Canvas = tuple[int, int]


class DenseHead:
    """A head that ends with candidates, in place of suppressed boxes.

    Args:
        head: Of a copy of the model, which it changes for good.

    Raises:
        ValueError: It does not predict as mmdet's dense heads do.
    """

    def __init__(self, head: nn.Module) -> None:
        _refuse(head)
        self._head = head
        kinds = class_names(head)
        self._own = next((_OWN[k] for k in _OWN if k in kinds), None)
        head.__dict__['_bbox_post_process'] = _candidates
        if hasattr(head, '_predict_by_feat_single'):
            with_globals(
                head, '_predict_by_feat_single', filter_scores_and_topk=_best
            )

    def __call__(
        self, features: Any, sizes: Tensor, canvas: _Canvas, test_cfg: Any
    ) -> Candidates:
        """Candidates of all images.

        Args:
            features: Of the neck.
            sizes: Height and width of each image, of shape (N, 2).
            canvas: Height and width of all, padding included.
            test_cfg: Of the head.
        """
        head = self._head
        outputs = head(features)
        if self._own is not None:
            return self._own(head, outputs, sizes, test_cfg)

        def of_image(outputs: Any, size: Tensor) -> tuple:
            meta = dict(img_shape=(size[0], size[1]), pad_shape=canvas)
            (found,) = head.predict_by_feat(
                *_alone(outputs),
                batch_img_metas=[meta],
                cfg=test_cfg,
                rescale=False,
            )
            if not isinstance(found, Candidates):
                raise not_exportable(
                    type(head).__name__,
                    'its boxes do not go through the suppression that dense '
                    'heads of mmdet share',
                )
            return tuple(found)

        return Candidates(*for_each_image(of_image, list(outputs), sizes))


def _refuse(head: nn.Module) -> None:
    """Name what would be exported as something else, or not at all."""
    name = type(head).__name__
    if not hasattr(head, 'predict_by_feat'):
        raise not_exportable(name, 'it has no predict_by_feat')
    for kind in type(head).__mro__:
        if kind.__name__ in _REFUSED:
            why = _REFUSED[kind.__name__]
            raise not_exportable(name, why)
        if kind.__name__ in _OWN:
            return
        if '_bbox_post_process' in vars(kind):
            if kind.__name__ == 'BaseDenseHead':
                return
            raise not_exportable(
                name, 'what it does to boxes once they are decoded is its own'
            )
    raise not_exportable(
        name,
        'its boxes end in no suppression of mmdet that could become that of '
        'a file',
    )


def _alone(outputs: Any) -> Any:
    """Outputs of one image as of a batch of one."""
    if isinstance(outputs, Tensor):
        return outputs[None]
    if isinstance(outputs, (list, tuple)):
        return [_alone(each) for each in outputs]
    return outputs


def _candidates(
    results: Any,
    cfg: Any,
    rescale: bool = False,
    with_nms: bool = True,
    img_meta: Any = None,
) -> Candidates:
    """In place of a head's ``_bbox_post_process``: all but suppression."""
    scores = results.scores
    if 'score_factors' in results:
        # What is below the threshold stays below zero.
        kept = scores > 0
        scores = torch.where(kept, scores * results.score_factors, -1.0)
    groups = results.labels if 'labels' in results else results.level_ids
    scores = drop_small(results.bboxes, scores, cfg)
    return Candidates(results.bboxes, scores, groups)


def _best(
    scores: Tensor, score_thr: float, topk: int, results: Any = None
) -> tuple:
    """mmdet's ``filter_scores_and_topk`` with as many as there may be."""
    positions, classes = scores.shape
    best, at = _top(scores.reshape(-1), topk)
    best = torch.where(best > score_thr, best, -1.0)
    where = torch.div(at, classes, rounding_mode='floor')
    if isinstance(results, dict):
        results = {name: value[where] for name, value in results.items()}
    elif isinstance(results, list):
        results = [value[where] for value in results]
    elif results is not None:
        results = results[where]
    return best, at % classes, where, results


def _top(scores: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """The best of the last dimension and where they are.

    Of a size that varies, always as many as the limit says: −1 is the score
    of those that are not there.
    """
    count = scores.shape[-1]
    if limit <= 0:
        at = torch.arange(count, device=scores.device)
        return scores, at.expand_as(scores)
    if not isinstance(count, torch.SymInt):
        return scores.topk(min(limit, count))
    none = scores.new_full((*scores.shape[:-1], limit), -1.0)
    best, at = torch.cat([scores, none], dim=-1).topk(limit)
    return best, at.clamp(max=count - 1)


def _of_proposals(
    head: nn.Module, outputs: Any, sizes: Tensor, test_cfg: Any
) -> Candidates:
    """The best anchors of each level, as mmdet's RPN chooses them."""
    logits, offsets = outputs[:2]
    all_priors = head.prior_generator.grid_priors(
        [level.shape[2:] for level in logits],
        dtype=logits[0].dtype,
        device=logits[0].device,
    )
    chosen = []
    for level, priors in enumerate(all_priors):
        classes = logits[level].permute(0, 2, 3, 1)
        classes = classes.reshape(
            classes.shape[0], priors.shape[0], head.cls_out_channels
        )
        if head.use_sigmoid_cls:
            scores = classes.sigmoid()[..., 0]
        else:
            scores = classes.softmax(-1)[..., 0]
        deltas = offsets[level].permute(0, 2, 3, 1)
        deltas = deltas.reshape(classes.shape[0], priors.shape[0], 4)
        best, at = _top(scores, test_cfg.get('nms_pre', -1))
        each = at[..., None].expand(-1, -1, 4)
        labels = torch.full_like(at, level)
        chosen.append((best, labels, priors[at], deltas.gather(1, each)))
    scores, labels, priors, deltas = (
        torch.cat(levels, dim=1) for levels in zip(*chosen, strict=True)
    )

    def decode(priors: Tensor, deltas: Tensor, size: Tensor) -> Tensor:
        shape = (size[0], size[1])
        return head.bbox_coder.decode(priors, deltas, max_shape=shape)

    boxes = for_each_image(decode, priors, deltas, sizes)
    return Candidates(boxes, drop_small(boxes, scores, test_cfg), labels)


def _of_yolox(
    head: nn.Module, outputs: Any, sizes: Tensor, test_cfg: Any
) -> Candidates:
    """The best class of each position; nothing is cut at the border."""
    classes, offsets, objectness = (
        torch.cat([level.flatten(2) for level in levels], dim=2).mT
        for levels in outputs
    )
    priors = head.prior_generator.grid_priors(
        [level.shape[2:] for level in outputs[0]],
        dtype=classes.dtype,
        device=classes.device,
        with_stride=True,
    )
    boxes = head._bbox_decode(torch.cat(priors), offsets)
    best, labels = classes.sigmoid().max(dim=2)
    scores = best * objectness[..., 0].sigmoid()
    scores = torch.where(scores >= test_cfg.score_thr, scores, -1.0)
    return Candidates(boxes, drop_small(boxes, scores, test_cfg), labels)


def _of_yolov3(
    head: nn.Module, outputs: Any, sizes: Tensor, test_cfg: Any
) -> Candidates:
    """The best classes of anchors that are likely to be of an object."""
    (levels,) = outputs
    anchors = head.prior_generator.grid_priors(
        [level.shape[2:] for level in levels],
        dtype=levels[0].dtype,
        device=levels[0].device,
    )
    decoded = []
    for level, priors, stride in zip(
        levels, anchors, head.featmap_strides, strict=True
    ):
        values = level.permute(0, 2, 3, 1)
        values = values.reshape(values.shape[0], -1, head.num_attrib)
        place = torch.cat([values[..., :2].sigmoid(), values[..., 2:4]], 2)
        boxes = head.bbox_coder.decode(priors, place, stride)
        decoded.append(torch.cat([boxes, values[..., 4:].sigmoid()], 2))
    boxes, likely, scores = torch.cat(decoded, 1).split(
        [4, 1, head.num_classes], dim=2
    )
    scores = torch.where(likely >= test_cfg.get('conf_thr', -1), scores, -1.0)
    best, at = _top(scores.flatten(1), test_cfg.get('nms_pre', -1))
    where = torch.div(at, head.num_classes, rounding_mode='floor')[..., None]
    likely = likely.gather(1, where)[..., 0]
    kept = best > test_cfg.get('score_thr', 0)
    best = torch.where(kept, best * likely, -1.0)
    boxes = boxes.gather(1, where.expand(-1, -1, 4))
    scores = drop_small(boxes, best, test_cfg)
    return Candidates(boxes, scores, at % head.num_classes)


_OWN = {
    'RPNHead': _of_proposals,
    'YOLOXHead': _of_yolox,
    'YOLOV3Head': _of_yolov3,
}
_REFUSED = {
    'PAAHead': 'boxes vote on each other after suppression (score voting)',
    'YOLACTHead': 'it suppresses boxes by Fast NMS, which ONNX lacks',
    'TOODHead': 'it repeats its anchors for each image of a batch, whose '
    'size a file leaves open',
    'CenterNetHead': 'it moves boxes by the border that its test pipeline '
    'pads images with, of which a file knows nothing',
}
