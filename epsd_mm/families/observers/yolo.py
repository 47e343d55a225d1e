"""Predictions of YOLOv3, YOLOF and YOLOX."""

from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from .assigned import Assigned, AssignedObserver, TargetCall, of_images
from .divisors import DividedAfterwardsMixin, DividedLossMixin
from .labelled import LabelledObserver


class YOLOXObserver(DividedAfterwardsMixin, AssignedObserver):
    """The sample is an annotated object, see :class:`AssignedObserver`.

    Its prediction is the mean over the points that SimOTA gives it in this
    step (Ge et al., *YOLOX*, 2021): logits of the classes, without
    objectness. For mmdet's ``YOLOXHead``.
    """

    head = 'YOLOXHead'
    owners = frozenset({'YOLOXHead'})
    methods = ('_get_targets_single', 'loss_by_feat')
    losses = frozenset({'CrossEntropyLoss'})

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        # Its targets are qualities of classes, of which none is the
        # background.
        return super().accepts(model) and model.bbox_head.loss_cls.use_sigmoid

    def read(self, call: TargetCall) -> Assigned:
        return Assigned.by_samples(call.sampled, call.targets[0].device)


class YOLOv3Observer(AssignedObserver):
    """The same of YOLOv3 (Redmon and Farhadi, 2018).

    Anchors are those of the cell that an object has its centre in. The head
    sums up its classification loss, so that each anchor has a weight of 1.
    For mmdet's ``YOLOV3Head``.
    """

    head = 'YOLOV3Head'
    owners = frozenset({'YOLOV3Head'})
    methods = (*AssignedObserver.methods, 'loss_by_feat_single')
    losses = frozenset({'CrossEntropyLoss'})

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        if not super().accepts(model):
            return False
        loss = model.bbox_head.loss_cls
        return loss.use_sigmoid and loss.reduction == 'sum'

    def logits(self, levels: Sequence[Tensor]) -> Tensor:
        # Behind four of the box and one of the objectness.
        return of_images(levels, self.model.bbox_head.num_attrib)[..., 5:]

    def read(self, call: TargetCall) -> Assigned:
        return Assigned.by_samples(call.sampled, call.targets[0].device)

    def divisor(self, calls: Sequence[TargetCall]) -> float:
        return 1.0


class YOLOFObserver(DividedLossMixin, LabelledObserver):
    """The same of YOLOF (Chen et al., CVPR 2021).

    Logits are those of the classes, before their product with the implicit
    objectness. For mmdet's ``YOLOFHead``.
    """

    head = 'YOLOFHead'
    owners = frozenset({'YOLOFHead'})

    def classifiers(self) -> Iterable[nn.Module]:
        return [self.model.bbox_head.cls_score]
