"""Scores the model of a runner and selects its masks."""

import copy
import time
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import mmengine.dist as dist
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.runner import Runner

from epsd_mm.distillation.losses import SelfDistillationLoss
from epsd_mm.pruning import (
    Masks,
    Scoring,
    score,
    select_global,
)
from epsd_mm.pruning.prunable import prunable_parameters
from epsd_mm.pruning.scoring import check_nonzero

from .objective import ModelObjective
from .progress import scoring_progress
from .scoring_data import scoring_batches
from .self_distillation import SelfDistillation
from .settings import Settings


def score_runner(
    runner: Runner, model: BaseModel, settings: Settings
) -> tuple[Masks, dict]:
    """Select the weights of a runner's model that are kept.

    Everything happens on a copy of the model, in float32: the model, its
    buffers, gradients, random state and the message hub stay as they are.

    Args:
        runner: Its config tells how to load the training set.
        model: The runner's model, unwrapped.
        settings: How to score.

    Returns:
        The masks, and a report of plain numbers.

    Raises:
        ValueError: A layer cannot be ranked or would be emptied.
        FloatingPointError: A loss, gradient or score is not finite.
    """
    started = time.perf_counter()
    if settings.seed is None:
        settings = replace(settings, seed=runner.seed)
    device = next(model.parameters()).device
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
    with _no_trace(device):
        twin = scoring_copy(model)
        work = _Work(twin, settings, runner.logger)
        if settings.needs_data:
            work.batches = scoring_batches(runner, settings.seed)
        rounds = 3 if settings.compare_plain else 1
        evaluations = (
            rounds
            * len(work.own_draws(0))
            * settings.criterion.evaluations
            * settings.batches_per_step
        )
        with scoring_progress(evaluations, runner.logger) as work.progress:
            scoring, terms = work.run(settings.task, settings.sd, 0)
            masks = work.select(scoring)
            report = dict(
                criterion=type(settings.criterion).__name__,
                settings=vars(settings.criterion),
                sd_loss=_describe(settings.sd_loss),
                score_weights=dict(task=settings.task, sd=settings.sd),
                draws=settings.draw_count,
                batches_per_step=settings.batches_per_step,
                seed=settings.seed,
                sparsity=masks.sparsity,
                kept=masks.kept,
                total=masks.total,
                layers=masks.layers(),
                steps=scoring.draws,
                terms=terms,
            )
            if settings.compare_plain:
                plain, other = (
                    select_global(
                        work.run(1.0, 0.0, repetition)[0].scores,
                        settings.sparsity,
                    )
                    for repetition in (0, 1)
                )
                report['overlap_with_plain'] = masks.overlap(plain)
                report['overlap_noise_floor'] = plain.overlap(other)
    report['seconds'] = time.perf_counter() - started
    report.update(peak_memory(device))
    return masks, report


def scoring_copy(model: BaseModel) -> BaseModel:
    """A float32 copy in training mode that can be differentiated twice.

    RoIAlign becomes exact, activation checkpointing is off (its reentrant
    form refuses a second derivative), synchronised normalisation counts
    its own process alone, and on the CPU convolutions work channels last,
    where their kernels are fastest.
    """
    twin = revert_sync_batchnorm(copy.deepcopy(model)).float()
    for module in twin.modules():
        if getattr(module, 'with_cp', False):
            module.with_cp = False
    if any(type(m).__name__ == 'RoIAlign' for m in twin.modules()):
        # Classifiers do without mmcv's operators.
        from epsd_mm.ops import replace_roi_align

        replace_roi_align(twin)
    for param in twin.parameters():
        if param.dim() == 4 and param.device.type == 'cpu':
            param.data = param.data.contiguous(
                memory_format=torch.channels_last
            )
    return twin.train()


def peak_memory(device: torch.device) -> dict[str, Any]:
    """Peak memory in bytes: allocated on a GPU, resident on the CPU."""
    if device.type == 'cuda':
        peak = torch.cuda.max_memory_allocated(device)
        return dict(peak_memory=peak, peak_memory_of='CUDA allocator')
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return dict(peak_memory=peak, peak_memory_of='process since its start')


class _Work:
    """One scoring job: the twin, its weights, and how to draw."""

    def __init__(
        self, twin: BaseModel, settings: Settings, logger: MMLogger
    ) -> None:
        self.settings = settings
        self.logger = logger
        self.twin = twin
        self.params = {
            name: p for name, p in twin.named_parameters() if p.requires_grad
        }
        prunable = prunable_parameters(
            twin, settings.include, settings.exclude
        )
        self.prunable = Masks.ones_like(prunable)
        self.distillation = None
        if settings.sd_loss is not None:
            self.distillation = SelfDistillation(twin, settings.sd_loss)
            self.distillation.attach()
        self.batches = lambda draw: iter(())
        self.progress = None

    def own_draws(self, repetition: int) -> Iterable[int]:
        """Draws of this process, of the ``draws`` of a repetition."""
        start = repetition * self.settings.draw_count
        stop = start + self.settings.draw_count
        return range(start + dist.get_rank(), stop, dist.get_world_size())

    def run(self, task: float, sd: float, repetition: int):
        """Scores of all processes, and the terms of the loss of this one."""
        objective = ModelObjective(
            self.twin, self.distillation, task=task, sd=sd
        )
        error, scoring = None, Scoring()
        try:
            scoring = score(
                objective,
                self.settings.criterion,
                self.params,
                self.prunable,
                self.batches,
                draws=self.own_draws(repetition),
                batches_per_step=self.settings.batches_per_step,
                seed=self.settings.seed,
                on_evaluation=self.progress,
            )
        except Exception as e:
            error = e
        _raise_together(error)
        return self._reduced(scoring), objective.terms

    def select(self, scoring: Scoring) -> Masks:
        check_nonzero(scoring.scores)
        masks = select_global(scoring.scores, self.settings.sparsity)
        ranked = sum(int(s.count_nonzero()) for s in scoring.scores.values())
        if ranked < masks.kept:
            self.logger.warning(
                f'only {ranked:,} weights score above zero, but '
                f'{masks.kept:,} are kept: names and indices settle which of '
                'the others are. More draws rank more weights'
            )
        empty = masks.empty_layers()
        if empty and not self.settings.allow_empty_layers:
            raise ValueError(
                f'sparsity={self.settings.sparsity} leaves nothing of '
                f'{len(empty)} of {len(masks)} layers: {", ".join(empty)}. '
                'Lower the sparsity, exclude these layers, or set '
                'allow_empty_layers=True'
            )
        return masks

    def _reduced(self, scoring: Scoring) -> Scoring:
        if dist.get_world_size() == 1:
            return scoring
        device = next(iter(self.params.values())).device
        reduced = Scoring()
        for name in self.prunable:
            share = scoring.scores.get(name)
            if share is None:
                share = torch.zeros(self.prunable[name].shape)
            share = share.to(device).contiguous()
            dist.all_reduce(share)
            reduced.scores[name] = share
        for notes in dist.all_gather_object(scoring.draws):
            reduced.draws.extend(notes)
        return reduced


def _raise_together(error: Exception | None) -> None:
    """Raise in every process what went wrong in one of them."""
    messages = dist.all_gather_object(error and f'{error}')
    if error is not None:
        raise error
    failed = [message for message in messages if message]
    if failed:
        raise RuntimeError(f'scoring failed in another process: {failed[0]}')


@contextmanager
def _no_trace(device: torch.device):
    """Full precision inside; the message hub afterwards as before."""
    hub = MessageHub.get_current_instance()
    scalars = copy.deepcopy(hub.log_scalars)
    info = dict(hub.runtime_info)
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        hub.log_scalars.clear()
        hub.log_scalars.update(scalars)
        hub.runtime_info.clear()
        hub.runtime_info.update(info)


def _describe(loss: SelfDistillationLoss | None) -> dict | None:
    if loss is None:
        return None
    return dict(
        type=type(loss).__name__,
        temperature=loss.temperature,
        loss_weight=loss.loss_weight,
    )
