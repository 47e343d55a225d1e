"""Predictions of heads that ask, image by image, what belongs to which object.

Nearly every one-stage head of mmdet has one function that settles the targets
of an image, whatever its predictions are (anchors, points): image after image
it says which of them belongs to which object. What differs from head to head
is how the answer is read.
"""

import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
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


@dataclass(frozen=True)
class TargetCall:
    """What a head was asked for one image, and what it answered.

    Attributes:
        image: Position of the image in the batch.
        ask: The method that was asked; has no memory.
        arguments: By name, defaults left out.
        targets: What it returned.
        sampled: mmdet's ``SamplingResult``, of what its assigner said; None
            where the head asked neither.
    """

    image: int
    ask: Callable[..., tuple]
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

    @classmethod
    def by_samples(cls, sampled: Any, device: torch.device) -> 'Assigned':
        """Of a head that asks for all predictions, and weighs them alike.

        Args:
            sampled: mmdet's ``SamplingResult``; None where the head did not
                ask, because there is no object.
            device: Of the predictions.
        """
        if sampled is None:
            none = torch.zeros(0, dtype=torch.long, device=device)
            return cls(none, none, none, none)
        return cls(
            sampled.pos_inds,
            sampled.pos_assigned_gt_inds,
            sampled.pos_gt_labels,
            torch.ones_like(sampled.pos_inds),
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
        asked: The method that is asked for each image.
        owners: Names of the classes whose ``methods`` it may have.
        methods: What decides how targets become losses.
        losses: Names of the classification losses it may have.
    """

    of_objects = True
    head: str
    asked: str = '_get_targets_single'
    owners: frozenset[str]
    methods: tuple[str, ...] = (
        'get_targets',
        '_get_targets_single',
        'loss_by_feat',
    )
    losses: frozenset[str] = frozenset({'CrossEntropyLoss', 'FocalLoss'})

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.use_sigmoid = getattr(model.bbox_head, 'use_sigmoid_cls', True)
        self._cls_scores: Sequence[Tensor] = []
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

    def classifiers(self) -> Iterable[nn.Module]:
        """Modules that give the logits of the levels, one after the other.

        None where the head itself returns them first of all.
        """
        return ()

    @abstractmethod
    def divisor(self, calls: Sequence[TargetCall]) -> float:
        """What the head divides its classification loss by."""

    def start(self) -> None:
        self._cls_scores, self._calls, self._removals = [], [], []
        classifiers = list(self.classifiers())
        for module in classifiers:
            self.hook(module, self._tap_level)
        if not classifiers:
            self.hook(self.model.bbox_head, self._tap_outputs)
        self.tap_targets()

    def logits(self, levels: Sequence[Tensor]) -> Tensor:
        """Of the classes, of all predictions of each image: (B, N, C).

        Args:
            levels: What was seen of each level.
        """
        return of_images(levels, self.model.bbox_head.cls_out_channels)

    def tap_targets(self) -> None:
        """Note what the head answers for each image."""
        self.hide(self.asked, self._tapped)

    def stop(self) -> None:
        for remove in self._removals:
            remove()
        self._removals = []

    def observe(self, data_samples: Sequence) -> Observation:
        head = self.model.bbox_head
        calls, self._calls = self._calls, []
        cls_scores, self._cls_scores = self._cls_scores, []
        if not calls:
            raise unusable(head, f'computes its losses without {self.asked}')
        logits = self.logits(cls_scores)
        divisor = self.divisor(calls)
        parts = [
            _positives(call.image, logits, self.read(call), divisor)
            for call in calls
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

    def hook(self, module: nn.Module, tap: Callable) -> None:
        """See what a module returns, until the stop."""
        self._removals.append(module.register_forward_hook(tap).remove)

    def hide(
        self,
        name: str,
        tapped: Callable[[Callable], Callable],
        of: nn.Module | None = None,
    ) -> None:
        """Put something before a method of a head, until the stop.

        On the instance, where it hides the method of the class.

        Args:
            name: Of the method.
            tapped: From the method to what takes its place.
            of: The head; the model's by default.
        """
        head = self.model.bbox_head if of is None else of
        hidden = put_on(head, name, tapped(getattr(head, name)))
        self._removals.append(hidden)

    def _tap_outputs(self, head: nn.Module, args: tuple, out: tuple) -> None:
        self._cls_scores = out[0]

    def _tap_level(self, module: nn.Module, args: tuple, out: Tensor) -> None:
        self._cls_scores.append(out)

    def _tapped(self, ask: Callable) -> Callable:
        signature = inspect.signature(ask)

        def tap(*args: Any, **kwargs: Any) -> tuple:
            with self.listening() as sampled:
                targets = ask(*args, **kwargs)
            arguments = signature.bind(*args, **kwargs).arguments
            if self.counts(arguments):
                self.note(ask, arguments, targets, sampled)
            return targets

        return tap

    def counts(self, arguments: Mapping[str, Any]) -> bool:
        """Whether an answer is about classes."""
        return True

    def note(
        self,
        ask: Callable,
        arguments: Mapping[str, Any],
        targets: tuple,
        sampled: Sequence,
    ) -> None:
        """One more image, in their order."""
        self._calls.append(
            TargetCall(
                len(self._calls),
                ask,
                arguments,
                targets,
                sampled[-1] if sampled else None,
            )
        )

    @contextmanager
    def listening(self):
        """A list of what the head's sampler gives meanwhile."""
        results: list = []
        sampler = getattr(self.model.bbox_head, 'sampler', None)
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
    rows = at_least_float32(logits[image, assigned.priors])
    return Positives(
        logits=rows,
        labels=assigned.labels,
        # mmdet's are in float32 whatever the logits are.
        weights=assigned.weights.to(rows) / divisor,
        images=torch.full_like(assigned.priors, image),
        objects=assigned.objects,
        stages=torch.zeros_like(assigned.priors),
    )
