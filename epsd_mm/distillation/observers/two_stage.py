"""Predictions of two-stage detectors."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..observation import Observation, at_least_float32
from .base import Observer, class_names


class TwoStageObserver(Observer):
    """The sample is an annotated object.

    Its prediction is the mean of the class logits of the proposals that
    were sampled as its positives in this step (``C + 1`` columns, the
    background last). An object without positives is absent. With ``m``
    positives of ``n`` sampled proposals its weight is ``m / n``, its share
    in the head's own cross-entropy. What counts as the sample of a detector
    is our choice; the papers say nothing of it.

    For mmdet's ``StandardRoIHead`` with a softmax classifier.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self._seen = None

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        roi_head = getattr(model, 'roi_head', None)
        if 'StandardRoIHead' not in class_names(roi_head):
            return False
        loss = getattr(roi_head.bbox_head, 'loss_cls', None)
        return 'CrossEntropyLoss' in class_names(loss) and not (
            loss.use_sigmoid or roi_head.bbox_head.custom_activation
        )

    def start(self) -> None:
        self._seen = None
        bbox_head = self.model.roi_head.bbox_head
        loss_and_target = bbox_head.loss_and_target

        def tap(cls_score, bbox_pred, rois, sampling_results, *args, **kw):
            self._seen = cls_score, sampling_results
            return loss_and_target(
                cls_score, bbox_pred, rois, sampling_results, *args, **kw
            )

        # On the instance, where it hides the method of the class.
        bbox_head.loss_and_target = tap

    def stop(self) -> None:
        del self.model.roi_head.bbox_head.loss_and_target

    def observe(self, data_samples: Sequence) -> Observation:
        if self._seen is None:
            raise TypeError(
                f'{type(self.model.roi_head).__name__} computes its losses '
                'without bbox_head.loss_and_target: self-distillation '
                'cannot use this head'
            )
        cls_score, sampling_results = self._seen
        self._seen = None
        return _objects(at_least_float32(cls_score), sampling_results)


def _objects(cls_score: Tensor, sampling_results: Sequence) -> Observation:
    """One row an object from one row a sampled proposal.

    Args:
        cls_score: Logits of the sampled proposals, image after image, in
            each image positives first, shape (n, C + 1).
        sampling_results: mmdet's ``SamplingResult`` of each image.
    """
    rows, images, objects, labels = [], [], [], []
    start = 0
    for image, result in enumerate(sampling_results):
        positives = result.pos_inds.numel()
        rows.append(torch.arange(start, start + positives))
        images.append(torch.full((positives,), image))
        objects.append(result.pos_assigned_gt_inds)
        labels.append(result.pos_gt_labels)
        start += positives + result.neg_inds.numel()
    device = cls_score.device
    rows = torch.cat(rows).to(device)
    identity = torch.stack(
        [torch.cat(images).to(device), torch.cat(objects).to(device)], dim=1
    )
    identity, group = identity.unique(dim=0, return_inverse=True)
    count = len(identity)
    positives = torch.bincount(group, minlength=count).to(cls_score)
    summed = cls_score.new_zeros(count, cls_score.shape[1])
    summed = summed.index_add(0, group, cls_score[rows])
    label = torch.cat(labels).to(device)
    return Observation(
        logits=summed / positives[:, None],
        labels=label.new_zeros(count).scatter(0, group, label),
        weights=positives / max(start, 1),
        images=identity[:, 0],
    )
