"""The training objective of an OpenMMLab model, with exact replay."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.func import functional_call

from epsd_mm.distillation.observation import image_key
from epsd_mm.distillation.observers.base import class_names
from epsd_mm.pruning import Masks
from epsd_mm.pruning.objective import (
    Objective,
    Params,
    RandomState,
    Step,
    positive_outputs,
    preserved_randomness,
)

from .module_state import ModuleState
from .self_distillation import SelfDistillation


class ModelObjective(Objective):
    """``task * L_task + sd * L_SD`` of a model on batches of its loader.

    Args:
        model: Any OpenMMLab model, in training mode. Its buffers are
            copied for each evaluation, what else it remembers from one to
            the next is put back, and its weights are not touched.
        distillation: Attached to ``model``; ``None`` for the plain loss.
        task: Weight of the model's own losses. With 0 they are left out
            altogether, so that weights which only they reach are known as
            unreached.
        sd: Weight of the self-distillation term, likewise.
        given: Masks that hold whatever weights it is evaluated at.

    Raises:
        ValueError: Both weights are zero.

    Attributes:
        terms: ``task`` and ``sd`` losses of every recorded step.
    """

    def __init__(
        self,
        model: BaseModel,
        distillation: SelfDistillation | None = None,
        *,
        task: float = 1.0,
        sd: float = 1.0,
        given: Masks | None = None,
    ) -> None:
        self.model = model
        self.distillation = distillation
        self.task = task
        self.sd = sd if distillation else 0.0
        if not (self.task or self.sd):
            raise ValueError(
                f'task={task} and sd={sd} leave nothing of the objective'
                + ('' if distillation else ' without self-distillation')
            )
        self.terms: list[dict[str, float]] = []
        self._buffers = dict(model.named_buffers())
        self._state = ModuleState(model)
        self._given = given or {}
        self._images: set = set()  # of the batch before
        self._overlaps: list[bool] = []

    def begin(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches of an independent draw, for a teacher of its own.

        A teacher that compares with the batch before is shown the first
        one, at the weights of the model, so that it has something to say
        from the first step on. That batch is left out whatever the weights
        of the terms are: every objective sees the same steps.
        """
        batches = iter(batches)
        if self.distillation is None:
            return batches
        self.distillation.forget()
        if self.distillation.teacher.needs_overlap:
            first = next(batches, None)
            if self.sd and first is not None:
                data = self._preprocessed(first)
                self._images = {image_key(s) for s in data['data_samples']}
                self._show(data)
        return batches

    def record(self, params: Params, batch: Any) -> tuple[Tensor, Step]:
        data = self._preprocessed(batch)
        if self.sd:
            if self.distillation.teacher.needs_pairs:
                _check_partners(batch['data_samples'])
            if self.distillation.teacher.needs_overlap:
                self._note_overlap(data['data_samples'])
            if self.distillation.teacher.needs_past:
                self._show(data)
            with self._state.kept():
                self.distillation.teach(partial(self._forward, params))
        state = RandomState.capture()
        loss, terms = self._loss(params, data)
        recalled = None
        if self.sd:
            recalled = self.distillation.recalled
            self._check_slope()
            self.distillation.learn()
        self.terms.append(terms)
        return loss, Step(data, state, float(loss.detach()), recalled, terms)

    def __call__(self, params: Params, step: Step) -> Tensor:
        with preserved_randomness():
            step.random_state.restore()
            replaying = (
                self.distillation.replaying(step.teacher)
                if self.sd
                else nullcontext()
            )
            with replaying:
                return self._loss(params, step.batch)[0]

    def outputs(self, params: Params, batch: Any) -> Tensor:
        if is_detector(self.model):
            raise TypeError(
                'SynFlow sums one tensor of outputs, and '
                f'{type(self.model).__name__} is a detector: choose another '
                'criterion'
            )
        inputs = self._preprocessed(batch)['inputs'][:1]
        with self._state.kept():
            return positive_outputs(self.model, params, inputs, mode='tensor')

    def _preprocessed(self, batch: Any) -> dict:
        with self._state.kept():
            return self.model.data_preprocessor(batch, True)

    def _show(self, data: dict) -> None:
        """Show the teacher a batch as the model's own weights predict it."""
        samples = copy.deepcopy(data['data_samples'])
        with self._state.kept():
            self.distillation.show(
                partial(self._forward, {}), {**data, 'data_samples': samples}
            )

    def check_overlaps(self, at_least: int) -> None:
        """Raise where no batch had an image of the one before.

        A pipeline that replaces images may part two batches, but not all.

        Args:
            at_least: So many batches must have been recorded to tell.
        """
        if len(self._overlaps) >= at_least and not any(self._overlaps):
            name = type(self.distillation.loss).__name__
            raise ValueError(
                f'none of the images of {len(self._overlaps)} batches were '
                f'in the batch before, so that {name} compares nothing: '
                'batches must overlap as those of OverlapBatchSampler do'
            )

    def _note_overlap(self, samples: Sequence) -> None:
        before = self._images
        self._images = {image_key(sample) for sample in samples}
        self._overlaps.append(bool(before & self._images))
        self.check_overlaps(at_least=3)

    def _check_slope(self) -> None:
        """Raise where the term is at its minimum, and alone."""
        observed = self.distillation.observed
        past = self.distillation.teacher.needs_past
        if past and not self.task and not observed.cross_entropy:
            name = type(self.distillation.loss).__name__
            raise ValueError(
                f'score_weights with task={self.task}: beside this '
                f'classification loss {name} is a divergence from the '
                "network's own prediction, which is zero, and flat, before "
                'training: give the task a weight too'
            )

    def _loss(self, params: Params, data: dict) -> tuple[Tensor, dict]:
        if self.distillation:
            self.distillation.enabled = bool(self.sd)
        # Heads write into the samples that they are given.
        samples = copy.deepcopy(data['data_samples'])
        with self._state.kept():
            losses = self._forward(
                params, **{**data, 'data_samples': samples}, mode='loss'
            )
        sd = losses.pop('loss_sd', None)
        task = self._task_loss(losses)
        terms = dict(task=float(task.detach()))
        parts = []
        if self.task:
            parts.append(self.task * task)
        if self.sd:
            parts.append(self.sd * sd)
            terms['sd'] = float(sd.detach())
        return sum(parts[1:], parts[0]), terms

    def _task_loss(self, losses: dict) -> Tensor:
        if 'loss' in losses:
            losses = {'loss_cls': losses.pop('loss'), **losses}
        return self.model.parse_losses(losses)[0]

    def _forward(self, params: Params, **data: Any) -> dict:
        buffers = {name: b.clone() for name, b in self._buffers.items()}
        fixed = {
            name: params[name] * mask.to(params[name].device)
            for name, mask in self._given.items()
            if name in params
        }
        state = {**buffers, **params, **fixed}
        return functional_call(self.model, state, (), kwargs=data)


def is_detector(model: nn.Module) -> bool:
    """Whether a model learns boxes or masks of objects."""
    if 'BaseDetector' in class_names(model):  # mmdet's, whatever their heads
        return True
    heads = ('bbox_head', 'roi_head', 'rpn_head')
    # A semi-supervised one is made of two detectors.
    parts = (model, getattr(model, 'student', None))
    return any(hasattr(part, head) for part in parts for head in heads)


def _check_partners(samples: Sequence) -> None:
    """Raise where the second half of a batch are no partners of the first.

    A replaced image, as for a damaged one, may differ.
    """
    half = len(samples) // 2
    pairs = list(zip(samples[:half], samples[half:]))
    if not all('gt_label' in sample for sample in samples):
        return
    alike = sum(
        bool(torch.equal(main.gt_label, other.gt_label))
        for main, other in pairs
    )
    if alike < len(pairs) / 2:
        raise ValueError(
            f'only {alike} of {len(pairs)} images of the second half of a '
            'batch have the class of their image in the first: batches must '
            'hold partners as those of ClassPairBatchSampler do'
        )
