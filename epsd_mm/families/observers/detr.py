"""Predictions of DETR and its kin, whose queries are matched to objects."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from epsd_mm.distillation.observation import Observation, at_least_float32

from ..kinds import class_names
from .base import Observer, put_on
from .classifier import plain_cross_entropy
from .objects import Positives, observe_objects
from .unusable import unusable


@dataclass
class _Matched:
    """What one layer predicts for an image, and whom for.

    Attributes:
        logits: Of all queries, (Q, C).
        labels: Class of each query's object, shape (Q,).
        objects: Position of the object in its image; −1 without one, (Q,).
        weights: In the classification loss, before it is divided, (Q,).
        divisor: What the layer divides its classification loss by.
    """

    logits: Tensor
    labels: Tensor
    objects: Tensor
    weights: Tensor
    divisor: float = 0.0


class QueryObserver(Observer):
    """The sample is an annotated object, one row for each decoder layer.

    A layer's prediction of it are the class logits of the query that is
    matched to it; an object of an image that has more of them than queries
    may be left without. Its weight is the query's share in the layer's own
    classification loss; all layers count alike, as in mmdet. Where the
    encoder's best positions are told the classes (DINO, DDQ), they are a
    layer more; where they only tell objects from background (Deformable
    DETR in two stages) they are none. Denoising queries, which are made of
    the objects themselves, are left out, and so are DDQ's dense ones.
    What counts as the sample of a detector is our choice; the papers say
    nothing of it.

    For mmdet's ``DETRHead`` and those that match and weigh as it does:
    Conditional, DAB and Deformable DETR, DINO, DDQ.
    """

    of_objects = True
    #: Whose methods may decide what is matched, and how losses are summed.
    owners = frozenset(
        {'DETRHead', 'DeformableDETRHead', 'DINOHead', 'DDQDETRHead'}
    )
    methods = (
        'get_targets',
        '_get_targets_single',
        'loss_by_feat',
        'loss_by_feat_single',
    )
    losses = frozenset({'CrossEntropyLoss', 'FocalLoss', 'QualityFocalLoss'})

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.use_sigmoid = model.bbox_head.loss_cls.use_sigmoid
        self._layers = 0
        self._seen: list[_Matched] = []
        self._waiting: list[_Matched] = []
        self._removals: list[Callable[[], Any]] = []

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        head = getattr(model, 'bbox_head', None)
        if 'DETRHead' not in class_names(head):
            return False
        known = bool(cls.losses & class_names(head.loss_cls))
        return known and not cls.refusal(model)

    @classmethod
    def refusal(cls, model: nn.Module) -> str:
        head = getattr(model, 'bbox_head', None)
        if 'DETRHead' not in class_names(head):
            return ''
        for name in cls.methods:
            method = getattr(type(head), name).__qualname__
            if method.split('.')[0] not in cls.owners:
                return f'{method} is not known to match queries as DETR does'
        return ''

    def start(self) -> None:
        head = self.model.bbox_head
        self._layers, self._seen, self._waiting = 0, [], []
        hooks = [
            head.register_forward_hook(self._tap_layers),
            head.loss_cls.register_forward_pre_hook(
                self._tap_loss, with_kwargs=True
            ),
        ]
        tapped = self._tapped(head._get_targets_single)
        self._removals = [hook.remove for hook in hooks]
        self._removals.append(put_on(head, '_get_targets_single', tapped))

    def stop(self) -> None:
        for remove in self._removals:
            remove()
        self._removals = []

    def observe(self, data_samples: Sequence) -> Observation:
        head = self.model.bbox_head
        seen, self._seen = self._seen, []
        images = len(data_samples)
        layers = self._layers + ('DINOHead' in class_names(head))
        # Those of an encoder that knows no classes come last.
        seen = seen[: layers * images]
        if not seen:
            raise unusable(
                head, 'computes its losses without _get_targets_single'
            )
        return observe_objects(
            Positives.join(
                [
                    _positives(matched, *divmod(place, images))
                    for place, matched in enumerate(seen)
                ]
            ),
            data_samples,
            self.image_keys(data_samples),
            use_sigmoid=self.use_sigmoid,
            cross_entropy=plain_cross_entropy(head.loss_cls),
        )

    def _tap_layers(self, head: nn.Module, args: tuple, out: tuple) -> None:
        self._layers = len(out[0])

    def _tap_loss(self, loss: nn.Module, args: tuple, kwargs: dict) -> None:
        """A layer's targets are settled just before its loss is."""
        for matched in self._waiting:
            matched.divisor = float(kwargs['avg_factor'])
        self._seen += self._waiting
        self._waiting = []

    def _tapped(self, targets_of_image: Callable) -> Callable:
        assigner = self.model.bbox_head.assigner

        def tap(logits: Tensor, *args: Any, **kwargs: Any) -> tuple:
            assign, answers = assigner.assign, []

            def listening(*args: Any, **kwargs: Any) -> Any:
                answers.append(assign(*args, **kwargs))
                return answers[-1]

            take_off = put_on(assigner, 'assign', listening)
            try:
                targets = targets_of_image(logits, *args, **kwargs)
            finally:
                take_off()
            labels, weights, *_ = targets
            objects = answers[-1].gt_inds - 1
            self._waiting.append(_Matched(logits, labels, objects, weights))
            return targets

        return tap


def _positives(matched: _Matched, layer: int, image: int) -> Positives:
    queries = (matched.objects >= 0).nonzero()[:, 0]
    rows = at_least_float32(matched.logits[queries])
    return Positives(
        logits=rows,
        labels=matched.labels[queries],
        weights=matched.weights[queries].to(rows) / matched.divisor,
        images=torch.full_like(queries, image),
        objects=matched.objects[queries],
        stages=torch.full_like(queries, layer),
    )
