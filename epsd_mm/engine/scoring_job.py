"""Scores the model of a runner and selects its masks."""

import copy
import time
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.runner import Runner

from epsd_mm.evaluation.sparsity import sparsity_of_all
from epsd_mm.families.second_derivatives import make_twice_differentiable
from epsd_mm.pruning import (
    SNIP,
    Found,
    Ledger,
    Masks,
    Target,
    find_masks,
    prunable_parameters,
)
from epsd_mm.pruning.objective import preserved_randomness, seed_everything
from epsd_mm.pruning.scoring import DrawBatches
from epsd_mm.structure import Budget, Channels, Groups
from epsd_mm.structure.prices import multiplications

from .guessing import warn_of_untrained
from .ledger_file import OWN, PLAIN, LedgerFile
from .model_objective import ModelObjective
from .model_units import ModelUnits
from .pulse import faint
from .ranks import Ranks
from .scoring_data import scoring_batches
from .scoring_key import scoring_key
from .scoring_progress import plan_in_words, scoring_progress
from .self_distillation import SelfDistillation
from .settings import Settings
from .twin import independent_copy
from .unpruned import warn_left_dense, warn_of_unpruned


def score_runner(
    runner: Runner,
    model: BaseModel,
    settings: Settings,
    given: Masks | None = None,
    folder: Path | None = None,
    groups: Groups | None = None,
) -> tuple[Masks, dict]:
    """Select the weights of a runner's model that are kept.

    Everything happens on a copy of the model, in float32: the model, its
    buffers, gradients, random state and the message hub stay as they are.

    Args:
        runner: Its config tells how to load the training set.
        model: The runner's model, unwrapped.
        settings: How to score.
        given: Masks that hold; the weights they cover are not scored.
        folder: Where the draws of a long scoring are kept until
            :func:`~epsd_mm.engine.ledger_file.remove_ledgers`; a killed one
            goes on with them. They are kept nowhere by default.
        groups: The units of the model, where they have been found.

    Returns:
        The masks, or the channels where whole ones go, and a report of
        plain numbers.

    Raises:
        ValueError: A layer cannot be ranked or would be emptied.
        FloatingPointError: A loss, gradient or score is not finite.
    """
    if settings.seed is None:
        settings = replace(settings, seed=runner.seed)
    batches = _no_batches
    if settings.needs_batches:
        batches = scoring_batches(runner, settings.seed)
    ledgers = {}
    if folder is not None and is_main_process():
        key = scoring_key(runner, model, settings, given)
        ledgers = {
            search: LedgerFile(folder / f'{search}.pth', key, runner.logger)
            for search in searches(settings)
        }
    return score_model(
        model, batches, settings, runner.logger, given, ledgers, groups
    )


def searches(settings: Settings) -> tuple[str, ...]:
    """Names of the searches that a scoring is made of."""
    return (OWN, *PLAIN) if settings.compare_plain else (OWN,)


def score_model(
    model: BaseModel,
    batches: DrawBatches,
    settings: Settings,
    logger: MMLogger,
    given: Masks | None = None,
    ledgers: Mapping[str, LedgerFile] | None = None,
    groups: Groups | None = None,
) -> tuple[Masks, dict]:
    """The same for a model by itself; ``batches(r)`` are those of draw r."""
    started = time.perf_counter()
    device = next(model.parameters()).device
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
    with no_trace(device):
        work = ScoringJob(
            model, batches, settings, logger, given, ledgers, groups
        )
        progress = scoring_progress(work.evaluations, logger, work.plan)
        with progress as work.progress:
            objective = work.objective(settings.task, settings.sd)
            found = work.find(objective)
            work.warn(found)
            report = work.describe(found)
            if settings.compare_plain:
                plain, other = (
                    work.find(work.objective(1.0, 0.0), repetition, True, name)
                    for repetition, name in enumerate(PLAIN)
                )
                own, plain, other = common_layers(
                    found.masks, plain.masks, other.masks
                )
                report['overlap_with_plain'] = own.overlap(plain)
                report['overlap_noise_floor'] = plain.overlap(other)
        selected = work.selected(found)
    report['seconds'] = time.perf_counter() - started + work.earlier_seconds
    report.update(peak_memory(device))
    return selected, report


def _no_batches(draw: int) -> Iterable[Any]:
    return ()


def scoring_copy(model: BaseModel) -> BaseModel:
    """A float32 copy in training mode that can be differentiated twice.

    Synchronised normalisation counts its own process alone, and a head that
    is told the epoch by a hook (TOOD) knows that it is the first.

    Raises:
        TypeError: Part of the copy would be the model's own.
    """
    twin = revert_sync_batchnorm(independent_copy(model)).float()
    make_twice_differentiable(twin)
    if hasattr(twin, 'set_epoch'):
        twin.set_epoch(0)
    twin.train()  # a detector with a teacher returns nothing
    return twin


def peak_memory(device: torch.device) -> dict[str, Any]:
    """Peak memory in bytes: allocated on a GPU, resident on the CPU."""
    if device.type == 'cuda':
        peak = torch.cuda.max_memory_allocated(device)
        return dict(peak_memory=peak, peak_memory_of='CUDA allocator')
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return dict(peak_memory=peak, peak_memory_of='process since its start')


class ScoringJob:
    """The twin of a model, its weights, and how to draw.

    Args:
        model: The model, unwrapped; it is copied.
        batches: ``batches(r)`` gives the batches of draw ``r``.
        settings: How to score; with a criterion and a seed.
        logger: Takes warnings.
        given: Masks that hold; the weights they cover are not scored.
        ledgers: Where the draws of each search are kept, if anywhere.
        groups: The units of the model, where they have been found.
    """

    def __init__(
        self,
        model: BaseModel,
        batches: DrawBatches,
        settings: Settings,
        logger: MMLogger,
        given: Masks | None = None,
        ledgers: Mapping[str, LedgerFile] | None = None,
        groups: Groups | None = None,
    ) -> None:
        self.settings = settings
        self.ledgers = ledgers or {}
        self.batches = batches
        self.logger = logger
        self.twin = scoring_copy(model)
        self.params = {
            name: p
            for name, p in self.twin.named_parameters()
            if p.requires_grad
        }
        prunable = prunable_parameters(
            self.twin, settings.include, settings.exclude
        )
        self.given = given
        fresh = {n: p for n, p in prunable.items() if n not in (given or {})}
        if prunable and not fresh:
            raise ValueError(
                f'the given masks cover all {len(prunable)} prunable '
                'weights, so that nothing is left to score: set criterion='
                'None and no sparsity, or take a part of them with prefix'
            )
        self.prunable: Masks = Masks.ones_like(fresh)
        self.start = settings.read_start()
        if self.start:
            settings.initial_target(fresh).check(self.start)
        self.criterion, self.units = settings.criterion, None
        if settings.units:
            self.units = ModelUnits(self.twin, settings, groups)
            self.prunable = Channels.all_of(self.units.groups)
            self.criterion = self.units.criterion
        self.unpruned = warn_of_unpruned(self.twin, settings, logger)
        self.distillation = None
        if settings.sd_loss is not None:
            self.distillation = SelfDistillation(self.twin, settings.sd_loss)
        self.team = Ranks(next(self.twin.parameters()).device)
        self.progress = None

    @property
    def evaluations(self) -> int:
        """Evaluations of the objective that this process will make."""
        criterion, draws = self.settings.criterion, self.settings.draw_count
        per_draw = criterion.evaluations * self.settings.batches_per_step
        rounds = criterion.schedule.rounds
        total = 0
        for search in searches(self.settings):
            whole, begun = divmod(self._made(search), draws)
            left = self.team.own(range(begun, draws)) if whole < rounds else ()
            later = max(rounds - whole - 1, 0)
            total += len(left) + later * len(self.team.own(range(draws)))
        return total * per_draw

    @property
    def plan(self) -> str:
        """What the number of evaluations is made of, in words."""
        settings, criterion = self.settings, self.settings.criterion
        steps = getattr(criterion, 'steps', 0)
        name = type(criterion).__name__ + (f'(steps={steps})' if steps else '')
        rounds, size = criterion.schedule.rounds, settings.batches_per_step
        factors = {
            f'draws={settings.draw_count}': settings.draw_count,
            f'{rounds} rounds': rounds,
            f'{criterion.evaluations} of {name}': criterion.evaluations,
            f'batches_per_step={size}': size,
            '3 with compare_plain': len(searches(settings)),
        }
        shorter = []
        if steps and not (criterion.first_order or criterion.kept_graphs):
            shorter.append('first_order=True')
        if not isinstance(criterion, SNIP):
            shorter.append("criterion='SNIP'")
        return plan_in_words(factors, shorter)

    @property
    def earlier_seconds(self) -> float:
        """What an earlier run has spent on the draws that it has left."""
        return sum(ledger.seconds for ledger in self.ledgers.values())

    def _made(self, search: str) -> int:
        """Draws of a search that an earlier run has left."""
        ledger = self.ledgers.get(search)
        return ledger.start.draws if ledger and ledger.start else 0

    def objective(self, task: float, sd: float) -> ModelObjective:
        """``task`` times the losses of the task plus ``sd`` times the SD."""
        return ModelObjective(
            self.twin,
            self.distillation,
            task=task,
            sd=sd,
            given=self.given,
        )

    def target(self, comparison: bool = False) -> Target | Budget:
        """What is asked of the masks; less where they are not applied."""
        if not self.units:
            return self.settings.initial_target(self.prunable)
        budget = self.units.budget(self._prices())
        return replace(budget, allow_empty=comparison)

    def _prices(self) -> dict | None:
        """Multiply-adds of an entry of each weight, where they count."""
        if self.settings.units.of == 'weights':
            return None
        objective = self.objective(1.0, 0.0)
        batch = next(iter(self.batches(0)))
        with preserved_randomness(), torch.no_grad():
            seed_everything(self.settings.seed)
            return multiplications(
                self.twin, lambda: objective.record(self.params, batch)
            )

    def draws(self, objective: ModelObjective) -> DrawBatches:
        """``batches(r)`` with a fresh teacher for each draw."""
        return lambda draw: objective.begin(self.batches(draw))

    def find(
        self,
        objective: ModelObjective,
        repetition: int = 0,
        comparison: bool = False,
        search: str = OWN,
    ) -> Found:
        """Masks of an objective.

        Args:
            objective: See :meth:`objective`.
            repetition: Other values take other batches.
            comparison: The masks are not to be applied, so that they may
                empty a layer.
            search: Name of the ledger.
        """
        options = self.settings.search
        ledger = self.ledgers.get(search)
        start = ledger and ledger.start
        if start is None and self.start:
            start = Ledger(masks=self.start)
        options['allow_empty_layers'] |= comparison
        found = find_masks(
            objective,
            self.criterion,
            self.params,
            self.prunable,
            self.draws(objective),
            self.target(comparison),
            repetition=repetition,
            team=self.team,
            on_evaluation=self.progress,
            start=start,
            keep=ledger and ledger.keep,
            **options,
        )
        objective.finish()
        return found

    def selected(self, found: Found) -> Masks:
        """Masks of the weights, or channels of all groups."""
        if self.units:
            return Channels(found.masks).in_all(self.units.groups)
        return found.masks

    def warn(self, found: Found) -> None:
        """Log where scores do not settle which weights are kept."""
        what = 'units' if self.units else 'weights'
        warn_left_dense(found, self.logger, what)
        name = type(self.settings.criterion).__name__
        warn_of_untrained(name, found.draws, self.logger)
        if found.ranked < found.masks.kept:
            self.logger.warning(
                f'only {found.ranked:,} {what} score other than zero, but '
                f'{found.masks.kept:,} are kept: names and indices settle '
                f'which of the others are. More draws rank more {what}'
            )
        if self.repeats_plain:
            self.logger.warning(
                f'{type(self.settings.criterion).__name__} makes no inner '
                'step, and before the first one the gradient of '
                f'{type(self.settings.sd_loss).__name__} is zero or a '
                'multiple of the plain one: these are the masks of the plain '
                'loss'
            )
        elif said := faint(
            [t for notes in found.draws for t in notes.get('terms', ())],
            self.settings,
        ):
            self.logger.warning(said)

    @property
    def repeats_plain(self) -> bool:
        """Whether a loss with a past cannot yet differ from the plain one."""
        criterion = self.settings.criterion
        if not self.settings.sd or not self.distillation.needs.shows_each:
            return False
        observer = self.distillation.observer
        if observer.of_objects and not observer.use_sigmoid:
            return False  # boxes and background have a loss of their own
        once = criterion.evaluations == criterion.schedule.rounds == 1
        return once and not criterion.signed

    def describe(self, found: Found) -> dict:
        """What was done and what came of it, in plain numbers."""
        settings, masks = self.settings, self.selected(found)
        layers, more, followers = with_mass(masks, found.mass), {}, None
        if self.units:
            more = dict(channels=layers, whole=self.units.groups.whole)
            masks, followers = self.units.masks(masks)
            layers = masks.layers()
        everything = sparsity_of_all(
            self.twin, {**(self.given or {}), **masks, **(followers or {})}
        )
        return dict(
            **settings.describe(),
            seed=settings.seed,
            sparsity=masks.sparsity,
            kept=masks.kept,
            total=masks.total,
            sparsity_all=everything['sparsity'],
            all_weights=everything,
            unpruned=self.unpruned,
            left_dense=found.left_dense,
            stability=found.stability,
            layers=layers,
            **more,
            steps=[_without_terms(notes) for notes in found.draws],
            terms=[t for n in found.draws for t in n.get('terms', ())],
        )


def _without_terms(notes: dict) -> dict:
    return {name: value for name, value in notes.items() if name != 'terms'}


def with_mass(masks: Masks, mass: Mapping[str, dict]) -> dict[str, dict]:
    """What is kept of each layer, and what it has of the scores."""
    return {n: of | mass.get(n, {}) for n, of in masks.layers().items()}


def common_layers(*several: Masks) -> list[Masks]:
    """Masks of the layers that all of them rank."""
    names = set.intersection(*(set(masks) for masks in several))
    return [
        Masks({name: m for name, m in masks.items() if name in names})
        for masks in several
    ]


@contextmanager
def no_trace(device: torch.device):
    """Full precision inside; the message hub afterwards as before.

    Inside, it tells those who ask (the resizing of YOLOX) that training is
    at its start, as it does once a runner trains.
    """
    hub = MessageHub.get_current_instance()
    scalars = copy.deepcopy(hub.log_scalars)
    info = dict(hub.runtime_info)
    for name in ('iter', 'epoch'):
        hub.runtime_info.setdefault(name, 0)
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        hub.log_scalars.clear()
        hub.log_scalars.update(scalars)
        hub.runtime_info.clear()
        hub.runtime_info.update(info)
