"""The self-distillation term of a model, in scoring and in training."""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.logging import MMLogger
from torch import Tensor, nn

from epsd_mm.distillation.losses import SelfDistillationLoss
from epsd_mm.distillation.observation import Observation
from epsd_mm.distillation.observers import build_observer


@dataclass(frozen=True)
class Recall:
    """What a teacher answered: rows (n, C), and where there are any."""

    rows: Tensor
    found: Tensor


class SelfDistillation:
    """Adds ``loss_sd`` to the losses that a model returns.

    Once attached, forward hooks do the work: no wrapper, and nothing of the
    model's names or type changes. Where the teacher needs partners, the
    second half of each training batch is taken off before the model
    preprocesses it; a forward pass without gradient, in training mode as
    the model is, shows its predictions just before the main one. Where the
    teacher learns from each step, its owner says so after the step.

    Args:
        model: The model, unwrapped.
        loss: The loss; it says which teacher it needs.
        path_parts: Parts at the end of its path that an image is known by;
            the whole path by default.

    Raises:
        TypeError: The model's predictions cannot be seen.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: SelfDistillationLoss,
        path_parts: int | None = None,
    ) -> None:
        self.model = model
        self.loss = loss
        self.observer = build_observer(model)
        self.observer.path_parts = path_parts
        self.teacher = loss.build_teacher()
        self.enabled = True
        self.progress = 1.0
        self.recalled: Recall | None = None
        self._replayed: Recall | None = None
        self.observed: Observation | None = None
        self._partners: dict | None = None
        self._taught = False
        self._busy = False
        self._observing = False
        self._told = False
        self._handles: list = []

    def attach(self) -> None:
        """Take part in the model's forward passes from now on.

        ``torch.compile`` traces what calls the model, but nothing of this:
        keys, tables of numpy and random partners are no part of a graph.
        """
        self._handles = [
            self.model.data_preprocessor.register_forward_pre_hook(
                torch.compiler.disable(self._split), with_kwargs=True
            ),
            self.model.register_forward_pre_hook(
                torch.compiler.disable(self._before), with_kwargs=True
            ),
            self.model.register_forward_hook(
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

    def teach(self, forward: Callable[..., Any]) -> None:
        """Let the teacher see the partners of the batch preprocessed last.

        Args:
            forward: Calls the model with keyword arguments.

        Raises:
            RuntimeError: The batch had no partners.
        """
        if not self.teacher.needs_pairs:
            self._taught = True
            return
        partners, self._partners = self._partners, None
        if partners is None:
            raise RuntimeError(
                f'{type(self.loss).__name__} needs a partner for each image, '
                'but no training batch was preprocessed before this forward '
                'pass'
            )
        self._busy = True
        try:
            data = self.model.data_preprocessor(partners, True)
        finally:
            self._busy = False
        self.show(forward, data)
        self._taught = True

    def show(self, forward: Callable[..., Any], data: dict) -> None:
        """Let the teacher see what is predicted for a preprocessed batch.

        Args:
            forward: Calls the model with keyword arguments; without
                gradient here.
            data: The batch; its samples may be written into.
        """
        self._busy = True
        try:
            self.observer.start()
            try:
                with torch.no_grad():
                    forward(**data, mode='loss')
            finally:
                self.observer.stop()
                # Older autocasts keep half-precision copies of the weights
                # that were made here, without a gradient.
                torch.clear_autocast_cache()
        finally:
            self._busy = False
        self.teacher.remember(self.observer.observe(data['data_samples']))

    def learn(self) -> None:
        """Let the teacher remember the last step, if it learns from steps."""
        observed, self.observed = self.observed, None
        if self.teacher.learns and observed is not None:
            self.teacher.remember(observed)

    def forget(self) -> None:
        """Go on with a fresh teacher."""
        self.teacher = self.loss.build_teacher()

    @contextmanager
    def replaying(self, recall: Recall | None):
        """Use what was recalled earlier instead of asking the teacher."""
        self._replayed = recall
        try:
            yield
        finally:
            self._replayed = None

    def _split(self, module: nn.Module, args: tuple, kwargs: dict):
        data, training = _preprocessor_arguments(*args, **kwargs)
        if self._busy or not training or not self.teacher.needs_pairs:
            return None
        main, self._partners = split_pairs(data)
        return (main, training), {}

    def _before(self, model: nn.Module, args: tuple, kwargs: dict) -> None:
        if self._busy or not self.enabled:
            return
        _, mode = _model_arguments(*args, **kwargs)
        if mode != 'loss':
            return
        if self._replayed is None and not self._taught:
            self.teach(model)
        self.observer.start()
        self._observing = True

    def _after(
        self, model: nn.Module, args: tuple, kwargs: dict, losses: dict
    ) -> dict | None:
        if not self._observing:
            return None
        self._observing = self._taught = False
        self.observer.stop()
        if losses is None:  # the forward pass has raised
            return None
        samples, _ = _model_arguments(*args, **kwargs)
        observation = self.observer.observe(samples)
        recall = self._replayed or self._recall(observation)
        self.recalled = recall
        if not len(observation) and not self._told:
            self._told = True
            MMLogger.get_current_instance().warning(
                'no object of this batch has a positive, so that loss_sd is '
                'exactly zero in this step; further such batches are not '
                'told of'
            )
        if self.teacher.learns:
            self.observed = observation.detach()
        # mmengine logs the sum of all losses under the name `loss`.
        losses = {
            'loss_cls' if name == 'loss' else name: value
            for name, value in losses.items()
        }
        losses['loss_sd'] = self.loss(
            observation, recall.rows, recall.found, self.progress
        )
        return losses

    def _recall(self, observation: Observation) -> Recall:
        return Recall(*self.teacher.recall(observation.detach()))


def split_pairs(data: dict) -> tuple[dict, dict]:
    """The first and the second half of a collated batch.

    Raises:
        ValueError: The number of samples is odd.
    """
    count = len(data['inputs'])
    if count % 2:
        raise ValueError(
            f'a batch of {count} samples is no set of pairs: it must hold '
            'as many partners as images, as ClassPairBatchSampler gives them'
        )
    main = {name: value[: count // 2] for name, value in data.items()}
    partners = {name: value[count // 2 :] for name, value in data.items()}
    return main, partners


def _preprocessor_arguments(data: dict, training: bool = False) -> tuple:
    return data, training


def _model_arguments(
    inputs: Any, data_samples: Any = None, mode: str = 'tensor'
) -> tuple:
    return data_samples, mode
