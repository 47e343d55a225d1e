"""The self-distillation term joins the losses of a model that trains."""

from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from epsd_mm.distillation import Observation

from .pulse import Pulse
from .self_distillation import Recall, SelfDistillation


class TrainingTap:
    """Adds ``loss_sd`` to the losses that a model returns.

    Once attached, forward hooks do the work: no wrapper, and nothing of the
    model's names or type changes. Where the loss needs partners, the second
    half of each training batch is taken off before the model preprocesses
    it; a forward pass without gradient, in training mode as the model is,
    shows its predictions just before the main one. Where a trained network
    teaches, it sees the batch of the main pass before that. Where the teacher
    learns from each step, its owner says so after the step.

    Args:
        distillation: The term, of this model.

    Attributes:
        teacher: Of this training.
        progress: Share of the training that is done once this epoch is.
        observed: The step that the teacher has yet to learn, if it learns.
    """

    def __init__(self, distillation: SelfDistillation) -> None:
        self.distillation = distillation
        self.teacher = distillation.build_teacher()
        self.progress = 1.0
        self._partners: dict | None = None
        self.observed: Observation | None = None
        self._watching = False
        self._looking = False
        self._pulse = Pulse(distillation.criterion)
        self._handles: list = []

    def attach(self) -> None:
        """Take part in the model's forward passes from now on.

        ``torch.compile`` traces what calls the model, but nothing of this:
        keys, tables of numpy and random partners are no part of a graph.
        """
        model = self.distillation.model
        self._handles = [
            model.data_preprocessor.register_forward_pre_hook(
                torch.compiler.disable(self._split), with_kwargs=True
            ),
            model.register_forward_pre_hook(
                torch.compiler.disable(self._before), with_kwargs=True
            ),
            model.register_forward_hook(
                torch.compiler.disable(self._after),
                with_kwargs=True,
                always_call=True,
            ),
        ]

    def detach(self) -> None:
        """Leave the model as it was."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def learn(self) -> None:
        """Let the teacher remember the last step, if it learns from steps."""
        step, self.observed = self.observed, None
        if step is not None:
            self.teacher.remember(step)

    def _split(self, module: nn.Module, args: tuple, kwargs: dict):
        data, training = _preprocessor_arguments(*args, **kwargs)
        if self._looking or not training:
            return None
        main, self._partners = self.distillation.needs.split(data)
        return (main, training), {}

    def _before(self, model: nn.Module, args: tuple, kwargs: dict) -> None:
        inputs, samples, mode = _model_arguments(*args, **kwargs)
        if self._looking or mode != 'loss':
            return
        if self.distillation.needs.partners:
            self._show_partners(model)
        if self.distillation.needs.taught:
            self.teacher.remember(self.distillation.lesson(inputs, samples))
        self.distillation.observer.start()
        self._watching = True

    def _show_partners(self, model: nn.Module) -> None:
        """Let the teacher see those of the batch preprocessed last."""
        partners, self._partners = self._partners, None
        if partners is None:
            raise RuntimeError(
                f'{self.distillation.name} needs a partner for each image, '
                'but no training batch was preprocessed before this forward '
                'pass: call model.data_preprocessor(data, training=True) '
                'first, as train_step does'
            )
        with self._own_pass():
            data = model.data_preprocessor(partners, True)
            self.teacher.remember(self.distillation.look(model, data))

    @contextmanager
    def _own_pass(self):
        """In which the hooks do nothing."""
        self._looking = True
        try:
            yield
        finally:
            self._looking = False

    def _after(
        self, model: nn.Module, args: tuple, kwargs: dict, losses: dict
    ) -> dict | None:
        if not self._watching:
            return None
        self._watching = False
        self.distillation.observer.stop()
        if losses is None:  # the forward pass has raised
            return None
        _, samples, _ = _model_arguments(*args, **kwargs)
        observation = self.distillation.observer.observe(samples)
        if self.teacher.learns:
            self.observed = observation.detach()
        # mmengine logs the sum of all losses under the name `loss`.
        losses = {
            'loss_cls' if name == 'loss' else name: value
            for name, value in losses.items()
        }
        recall = Recall.of(self.teacher, observation)
        self._take_pulse(model, losses, observation, recall)
        losses['loss_sd'] = self.distillation.loss(
            observation, recall, self.progress
        )
        return losses

    @torch.no_grad()
    def _take_pulse(
        self,
        model: nn.Module,
        losses: dict,
        observation: Observation,
        recall: Recall,
    ) -> None:
        """A loss that grows in training is taken as it is in the end."""
        if not self._pulse.settled:
            term = self.distillation.loss(observation, recall)
            task, _ = model.parse_losses(losses)
            self._pulse.see(term, task, recall.found)


def _preprocessor_arguments(data: dict, training: bool = False) -> tuple:
    return data, training


def _model_arguments(
    inputs: Any, data_samples: Any = None, mode: str = 'tensor'
) -> tuple:
    return inputs, data_samples, mode
