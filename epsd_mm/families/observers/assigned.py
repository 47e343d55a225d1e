"""Predictions of heads that ask, image by image, what belongs to which object.

Nearly every one-stage head of mmdet has one function that settles the targets
of an image, whatever its predictions are (anchors, points): image after image
it says which of them belongs to which object. What differs from head to head
is how the answer is read.
"""

import inspect
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from epsd_mm.distillation.observation import Observation, at_least_float32

from ..kinds import class_names
from .base import Observer
from .classifier import plain_cross_entropy
from .objects import Positives, observe_objects


@dataclass(frozen=True)
class TargetCall:
    """What a head was asked for one image, and what it answered.

    Attributes:
        arguments: By name, defaults left out.
        targets: What it returned.
        sampled: mmdet's ``SamplingResult``, of what its assigner said; None
            where the head asked neither.
    """

    arguments: Mapping[str, Any]
    targets: tuple
    sampled: Any


@dataclass(frozen=True)
class Assigned:
    """The ``p`` predictions of an image that belong to its objects.

    Attributes:
        priors: Their places among all of the image, level after level and
            row after row, int64, shape (p,).
        objects: Position of the object in its image, int64, shape (p,).
        labels: Class of the object, int64, shape (p,).
        weights: Weight in the head's classification loss, before what it is
            divided by, shape (p,).
    """

    priors: Tensor
    objects: Tensor
    labels: Tensor
    weights: Tensor

    @classmethod
    def by_labels(
        cls, labels: Tensor, weights: Tensor, sampled: Any, classes: int
    ) -> 'Assigned':
        """Of targets for all predictions, and who was sampled of them.

        Args:
            labels: Of all predictions; ``classes`` for the background, (N,).
            weights: Of all predictions, (N,).
            sampled: mmdet's ``SamplingResult``. Its positions leave out what
                lies beyond the image, and need not be sorted.
            classes: Number of classes.
        """
        priors = (labels < classes).nonzero()[:, 0]
        return cls(
            priors,
            sampled.pos_assigned_gt_inds[sampled.pos_inds.argsort()],
            labels[priors],
            weights[priors],
        )


class AssignedObserver(Observer):
    """The sample is an annotated object.

    Its prediction is the mean of the class logits, before any sigmoid and
    any product with a quality, of all that is assigned to it in this step:
    ``C`` columns of independent classes for a sigmoid head, ``C + 1`` with
    the background last for a softmax head. An object to which nothing is
    assigned is absent. Its weight is the sum of theirs over what the head
    divides its classification loss by. What counts as the sample of a
    detector is our choice; the papers say nothing of it.

    A family of heads derives from this, says which methods it must have left
    as they are in mmdet, and reads the answers.

    Attributes:
        head: Name of the class of heads.
        owners: Names of the classes whose ``methods`` it may have.
        methods: What decides how targets become losses.
        losses: Names of the classification losses it may have.
    """

    of_objects = True
    head: str
    owners: frozenset[str]
    methods: tuple[str, ...] = (
        'get_targets',
        '_get_targets_single',
        'loss_by_feat',
    )
    losses: frozenset[str] = frozenset({'CrossEntropyLoss', 'FocalLoss'})

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.use_sigmoid = model.bbox_head.use_sigmoid_cls
        self._cls_scores: Sequence[Tensor] = ()
        self._calls: list[TargetCall] = []
        self._removals: list[Callable[[], Any]] = []

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        head = getattr(model, 'bbox_head', None)
        if cls.head not in class_names(head):
            return False
        methods = [getattr(type(head), name) for name in cls.methods]
        owners = {method.__qualname__.split('.')[0] for method in methods}
        loss = getattr(head, 'loss_cls', None)
        return owners <= cls.owners and bool(cls.losses & class_names(loss))

    @abstractmethod
    def read(self, call: TargetCall) -> Assigned:
        """What is assigned to the objects of an image."""

    @abstractmethod
    def divisor(self, calls: Sequence[TargetCall]) -> float:
        """What the head divides its classification loss by."""

    def start(self) -> None:
        head = self.model.bbox_head
        self._cls_scores, self._calls = (), []
        hook = head.register_forward_hook(self._tap_outputs)
        # On the instance, where it hides the method of the class.
        head._get_targets_single = self._tapped(head._get_targets_single)
        self._removals = [
            hook.remove,
            lambda: delattr(head, '_get_targets_single'),
        ]

    def stop(self) -> None:
        for remove in self._removals:
            remove()
        self._removals = []

    def observe(self, data_samples: Sequence) -> Observation:
        head = self.model.bbox_head
        calls, self._calls = self._calls, []
        cls_scores, self._cls_scores = self._cls_scores, ()
        if not calls:
            raise TypeError(
                f'{type(head).__name__} computes its losses without '
                '_get_targets_single: self-distillation cannot use this head'
            )
        logits = of_images(cls_scores, head.cls_out_channels)
        divisor = self.divisor(calls)
        parts = [
            _positives(image, logits[image], self.read(call), divisor)
            for image, call in enumerate(calls)
        ]
        loss = getattr(head, 'loss_cls', None)
        return observe_objects(
            Positives.join(parts),
            data_samples,
            self.image_keys(data_samples),
            use_sigmoid=self.use_sigmoid,
            # SSD's loss is a plain softmax cross-entropy, with no module.
            cross_entropy=1.0 if loss is None else plain_cross_entropy(loss),
        )

    def _tap_outputs(self, head: nn.Module, args: tuple, out: tuple) -> None:
        self._cls_scores = out[0]

    def _tapped(self, targets_of_image: Callable) -> Callable:
        signature = inspect.signature(targets_of_image)

        def tap(*args: Any, **kwargs: Any) -> tuple:
            sampler = getattr(self.model.bbox_head, 'sampler', None)
            with _listening(sampler) as sampled:
                targets = targets_of_image(*args, **kwargs)
            arguments = signature.bind(*args, **kwargs).arguments
            last = sampled[-1] if sampled else None
            self._calls.append(TargetCall(arguments, targets, last))
            return targets

        return tap


class DividedLossMixin:
    """Of a head that tells its loss what to divide by, ``avg_factor``.

    In a distributed job that is the mean over the processes, which only the
    head has asked for.
    """

    def start(self) -> None:
        super().start()
        self._divisor = None
        hook = self.model.bbox_head.loss_cls.register_forward_pre_hook(
            self._tap_loss, with_kwargs=True
        )
        self._removals.append(hook.remove)

    def divisor(self, calls: Sequence[TargetCall]) -> float:
        return self._divisor

    def _tap_loss(self, loss: nn.Module, args: tuple, kwargs: dict) -> None:
        self._divisor = float(kwargs['avg_factor'])


@contextmanager
def _listening(sampler: Any):
    """A list of what a sampler of mmdet gives meanwhile."""
    results: list = []
    if sampler is None:
        yield results
        return
    sample = sampler.sample

    def tap(*args: Any, **kwargs: Any) -> Any:
        results.append(sample(*args, **kwargs))
        return results[-1]

    sampler.sample = tap
    try:
        yield results
    finally:
        del sampler.sample


def of_images(cls_scores: Sequence[Tensor], columns: int) -> Tensor:
    """Logits of all predictions of each image, shape (B, N, columns).

    Args:
        cls_scores: Of each level, shape (B, A * columns, H, W).
        columns: Of one prediction.
    """
    flat = [level.permute(0, 2, 3, 1).flatten(1) for level in cls_scores]
    return torch.cat(flat, dim=1).view(len(flat[0]), -1, columns)


def _positives(
    image: int, logits: Tensor, assigned: Assigned, divisor: float
) -> Positives:
    rows = at_least_float32(logits[assigned.priors])
    return Positives(
        logits=rows,
        labels=assigned.labels,
        # mmdet's are in float32 whatever the logits are.
        weights=assigned.weights.to(rows) / divisor,
        images=torch.full_like(assigned.priors, image),
        objects=assigned.objects,
        stages=torch.zeros_like(assigned.priors),
    )
