"""The distillation term of a model: what scoring and training share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.logging import MMLogger
from torch import Tensor, nn

from epsd_mm.distillation import (
    Observation,
    SelfDistillationLoss,
    Teacher,
)
from epsd_mm.families.observers import build_observer

from .trained_network import TrainedNetwork

#: Calls a model with keyword arguments.
Forward = Callable[..., dict]


@dataclass(frozen=True)
class Recall:
    """What a teacher answered: rows (n, C), and where there are any."""

    rows: Tensor
    found: Tensor

    @classmethod
    def of(cls, teacher: Teacher, observation: Observation) -> 'Recall':
        """What a teacher has to say of the samples of a step."""
        return cls(*teacher.recall(observation.detach()))


class SelfDistillation:
    """What a model predicts, and the term of that.

    It remembers nothing from step to step: a teacher does, and belongs to
    whoever takes the steps.

    Args:
        model: The model, unwrapped.
        loss: The loss; it says which teacher it needs.
        path_parts: Parts at the end of its path that an image is known by;
            the whole path by default.

    Attributes:
        needs: What the loss needs of the batches.

    Raises:
        TypeError: The model's predictions cannot be seen.
        ValueError: The loss has a teacher that does not fit, or lacks one,
            see :class:`~epsd_mm.engine.trained_network.TrainedNetwork`.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: SelfDistillationLoss,
        path_parts: int | None = None,
    ) -> None:
        self.model = model
        self.criterion = loss
        self.needs = loss.needs
        self.observer = build_observer(model)
        self.observer.path_parts = path_parts
        self._trained = (
            TrainedNetwork(loss, model) if self.needs.taught else None
        )
        self._told = False

    @property
    def name(self) -> str:
        """Of the loss, for messages."""
        return type(self.criterion).__name__

    def build_teacher(self) -> Teacher:
        """A fresh teacher of the kind that the loss needs."""
        return self.criterion.build_teacher()

    def observe(
        self, forward: Forward, data: dict
    ) -> tuple[dict, Observation]:
        """The task's losses, and what is predicted meanwhile.

        Args:
            forward: Calls the model.
            data: A preprocessed batch; its samples may be written into.
        """
        self.observer.start()
        try:
            losses = forward(**data, mode='loss')
        finally:
            self.observer.stop()
        return losses, self.observer.observe(data['data_samples'])

    def look(self, forward: Forward, data: dict) -> Observation:
        """What is predicted, without gradient."""
        try:
            with torch.no_grad():
                return self.observe(forward, data)[1]
        finally:
            # Older autocasts keep half-precision copies of the weights that
            # were made here, without a gradient.
            torch.clear_autocast_cache()

    def lesson(self, inputs: Any, data_samples: Any) -> Observation:
        """What the trained network that teaches predicts for a batch."""
        return self._trained.predict(inputs, data_samples)

    def loss(
        self,
        observation: Observation,
        recall: Recall,
        progress: float = 1.0,
    ) -> Tensor:
        """The term, a scalar.

        Args:
            observation: Of a step.
            recall: What the teacher recalls of its samples.
            progress: See :meth:`SelfDistillationLoss.forward`.
        """
        if not len(observation) and not self._told:
            self._told = True
            MMLogger.get_current_instance().warning(
                'no object of this batch has a positive, so that loss_sd is '
                'exactly zero in this step; further such batches are not '
                'told of'
            )
        return self.criterion(observation, recall.rows, recall.found, progress)
