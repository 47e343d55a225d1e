"""The training objective of an OpenMMLab model, with exact replay."""

import copy
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from mmengine.model import BaseModel
from torch import Tensor
from torch.func import functional_call

from epsd_mm.distillation import Observation
from epsd_mm.families.kinds import is_detector
from epsd_mm.pruning import Masks, Network
from epsd_mm.pruning.objective import (
    Objective,
    Params,
    RandomState,
    Step,
    preserved_randomness,
)

from .module_state import ModuleState
from .self_distillation import Recall, SelfDistillation


class ModelObjective(Objective):
    """``task * L_task + sd * L_SD`` of a model on batches of its loader.

    Args:
        model: Any OpenMMLab model, in training mode. Its buffers are
            copied for each evaluation, what else it remembers from one to
            the next is put back, and its weights are not touched.
        distillation: That of ``model``; ``None`` for the plain loss.
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
                f'score_weights with task={task} and sd={sd} leave nothing '
                f'to score by{"" if distillation else " without an sd_loss"}: '
                'give the task a weight above 0'
            )
        self.terms: list[dict[str, float]] = []
        self._buffers = dict(model.named_buffers())
        self._state = ModuleState(model)
        self._given = given or {}
        self._teacher = distillation and distillation.build_teacher()
        self._watch = distillation and distillation.needs.watch(
            distillation.name
        )

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
        self._teacher = self.distillation.build_teacher()
        if self.distillation.needs.shows_first:
            first = next(batches, None)
            if self.sd and first is not None:
                self._watch.begin(first['data_samples'])
                self._show({}, self._preprocessed(first))
        return batches

    def record(self, params: Params, batch: Any) -> tuple[Tensor, Step]:
        main, partners = self._split(batch)
        data = self._preprocessed(main)
        if self.sd:
            self._watch.see(batch['data_samples'])
            if self.distillation.needs.shows_each:
                self._show({}, data)
            if self.distillation.needs.taught:
                self._teacher.remember(self.distillation.lesson(**data))
            if partners is not None:
                self._show(params, self._preprocessed(partners))
        state = RandomState.capture()
        task, observation = self._observe(params, data)
        recall = None
        if observation is not None:
            recall = Recall.of(self._teacher, observation)
        loss, terms = self._weighted(task, observation, recall)
        if observation is not None:
            self._check_slope(observation)
            if self._teacher.learns:
                self._teacher.remember(observation.detach())
        self.terms.append(terms)
        return loss, Step(data, state, float(loss.detach()), recall, terms)

    def __call__(self, params: Params, step: Step) -> Tensor:
        with preserved_randomness():
            step.random_state.restore()
            observed = self._observe(params, step.batch)
            return self._weighted(*observed, step.teacher)[0]

    def network(self, batch: Any) -> Network:
        if is_detector(self.model):
            raise TypeError(
                'SynFlow, NTKSAP and SDMPrune take one tensor of outputs, and '
                f'{type(self.model).__name__} is a detector: choose another '
                'criterion'
            )
        main, _ = self._split(batch)
        images = self._preprocessed(main)['inputs']
        return Network(
            self.model, images, dict(mode='tensor'), self._state.kept
        )

    def _preprocessed(self, batch: Any) -> dict:
        with self._state.kept():
            return self.model.data_preprocessor(batch, True)

    def _split(self, batch: Any) -> tuple[Any, Any]:
        """What carries the task's losses, and partners if there are any.

        Also where the term has no weight: the batches stay those of EPSD.
        """
        if self.distillation is None:
            return batch, None
        return self.distillation.needs.split(batch)

    def _show(self, params: Params, data: dict) -> None:
        """Show the teacher a batch as these weights predict it."""
        samples = copy.deepcopy(data['data_samples'])
        with self._state.kept():
            seen = self.distillation.look(
                partial(self._forward, params),
                {**data, 'data_samples': samples},
            )
        self._teacher.remember(seen)

    def finish(self) -> None:
        """Say so where the batches were not what the loss needs.

        Raises:
            ValueError: They were not.
        """
        if self._watch is not None:
            self._watch.end()

    def _check_slope(self, observed: Observation) -> None:
        """Raise where the term is at its minimum, and alone."""
        past = self.distillation.needs.shows_each
        if past and not self.task and not observed.cross_entropy:
            raise ValueError(
                f'score_weights with task={self.task}: beside this '
                f'classification loss {self.distillation.name} is a '
                "divergence from the network's own prediction, which is "
                'zero, and flat, before training: give the task a weight too'
            )

    def _observe(
        self, params: Params, data: dict
    ) -> tuple[Tensor, Observation | None]:
        """The task's loss, and what its term is taken of, if it has one."""
        # Heads write into the samples that they are given.
        samples = copy.deepcopy(data['data_samples'])
        data = {**data, 'data_samples': samples}
        forward = partial(self._forward, params)
        observation = None
        with self._state.kept():
            if self.sd:
                losses, observation = self.distillation.observe(forward, data)
            else:
                losses = forward(**data, mode='loss')
        return self._task_loss(losses), observation

    def _weighted(
        self,
        task: Tensor,
        observation: Observation | None,
        recall: Recall | None,
    ) -> tuple[Tensor, dict[str, float]]:
        """The objective, and its two terms without their weights."""
        parts, terms = [], dict(task=float(task.detach()))
        if self.task:
            parts.append(self.task * task)
        if observation is not None:
            sd = self.distillation.loss(observation, recall)
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
