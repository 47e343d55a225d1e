"""Prune before training, then train the pruned model by itself."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from epsd_mm.analysis import report_text, write_report
from epsd_mm.engine.checks import check_pairs, refuse_sharding
from epsd_mm.engine.mask_keeper import MaskKeeper
from epsd_mm.engine.scoring import score_runner
from epsd_mm.engine.self_distillation import SelfDistillation
from epsd_mm.engine.settings import Settings
from epsd_mm.pruning import Masks, prunable_parameters
from epsd_mm.pruning.objective import RandomState
from epsd_mm.registry import build_criterion, build_sd_loss


@HOOKS.register_module()
class EPSDHook(Hook):
    """Early pruning with self-distillation (Chen et al., AAAI 2024).

    Before training it scores the weights of the model on batches of the
    training set, removes those with the lowest scores, and then keeps them
    at zero while the model trains, with the self-distillation term that it
    was scored for. On resume the masks come from the checkpoint;
    ``load_from`` takes the weights only, and scoring runs.

    Args:
        sparsity: Fraction of the prunable weights to remove, in (0, 1).
        criterion: Name, config or object; ``None`` trains without pruning.
        sd_loss: Config or object; ``None`` for plain pruning at
            initialisation.
        score_weights: Weights ``task`` and ``sd`` of the two terms in the
            objective that is scored: (1, 1) is the training objective,
            (1, 0) the paper's Simple Combination, (0, 1) the
            self-distillation term alone. Training minimises (1, 1) always.
        draws: Independent draws of the data over which normalised scores
            are averaged; the paper's formula is one draw. Defaults to 8 for
            a criterion that needs data.
        batches_per_step: Batches of the loader whose losses are averaged
            into one step of the criterion.
        include: Patterns of parameter names, such as ``'backbone.*'``; only
            matching weights are pruned.
        exclude: Patterns of weights that stay dense.
        allow_empty_layers: Accept masks that remove a whole layer.
        compare_plain: Report the overlap with the masks of the plain loss,
            and of two such masks; scoring then takes three times as long.
        seed: Seed of scoring; defaults to that of the runner.

    Raises:
        ValueError: An option is wrong or would have no effect.
    """

    # Masks before the average of weights (NORMAL) and any checkpoint.
    priority = 'ABOVE_NORMAL'

    def __init__(
        self,
        sparsity: float = 0.0,
        criterion: Any = 'ProsPr',
        sd_loss: Any = None,
        score_weights: dict | None = None,
        draws: int | None = None,
        batches_per_step: int = 1,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        allow_empty_layers: bool = False,
        compare_plain: bool = False,
        seed: int | None = None,
    ) -> None:
        self.settings = Settings(
            sparsity=sparsity,
            criterion=build_criterion(criterion),
            sd_loss=build_sd_loss(sd_loss),
            score_weights=score_weights,
            draws=draws,
            batches_per_step=batches_per_step,
            include=include,
            exclude=exclude,
            allow_empty_layers=allow_empty_layers,
            compare_plain=compare_plain,
            seed=seed,
        )
        self._keeper: MaskKeeper | None = None
        self._distillation: SelfDistillation | None = None
        self._resumed: dict | None = None
        self._measured: float | None = None
        self._before_validation: RandomState | None = None

    @property
    def masks(self) -> Masks | None:
        """Masks in force, or None."""
        return self._keeper and self._keeper.masks

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take masks and random state from a checkpoint to resume."""
        if not runner._resume:
            return
        saved = checkpoint.get('epsd') or {}
        if self.settings.criterion is not None and 'masks' not in saved:
            raise ValueError(
                'the checkpoint to resume holds no masks, so it was not '
                'pruned by EPSDHook: start from its weights with load_from '
                'instead of resume, or set criterion=None'
            )
        if self.settings.criterion is None and 'masks' in saved:
            raise ValueError(
                'the checkpoint to resume is pruned, but criterion=None '
                'would train its removed weights again: resume with the '
                'config it was trained with'
            )
        self._resumed = saved

    def before_train(self, runner: Runner) -> None:
        """Score and prune, or restore; then let the two stages work."""
        refuse_sharding(runner)
        model = runner.model
        model = model.module if is_model_wrapper(model) else model
        if self.settings.sd_loss is not None:
            check_pairs(runner, self.settings.sd_loss)
        if self.settings.criterion is not None:
            masks = self._resumed_masks(model) or self._score(runner, model)
            self._keeper = MaskKeeper(model, masks)
            self._keeper.watch(runner.optim_wrapper)
        if self.settings.sd_loss is not None:
            self._distillation = SelfDistillation(model, self.settings.sd_loss)
            self._distillation.attach()
        state = (self._resumed or {}).get('random_state')
        if state and get_world_size() == 1:
            RandomState(**state).restore()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Log the measured sparsity; it is measured now and then."""
        if self._keeper:
            if self._measured is None or self.every_n_train_iters(runner, 50):
                self._measured = self._keeper.measured_sparsity()
            runner.message_hub.update_scalar('train/sparsity', self._measured)

    def before_val_epoch(self, runner: Runner) -> None:
        """Remember the random state."""
        self._before_validation = RandomState.capture()

    def after_val_epoch(
        self, runner: Runner, metrics: dict | None = None
    ) -> None:
        """Go on as if there had been no validation.

        A run by epochs without worker processes then ends alike whether or
        not it was resumed in between.
        """
        if self._before_validation:
            self._before_validation.restore()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put masks and random state into ``checkpoint['epsd']``."""
        saved = dict(random_state=asdict(RandomState.capture()))
        if self._keeper:
            saved['masks'] = self._keeper.masks.pack()
        checkpoint['epsd'] = saved

    def after_train(self, runner: Runner) -> None:
        """Leave model and optimiser without hooks."""
        if self._keeper:
            self._keeper.release()
        if self._distillation:
            self._distillation.detach()

    def _score(self, runner: Runner, model: Any) -> Masks:
        masks, report = score_runner(runner, model, self.settings)
        runner.logger.info('\n' + report_text(report))
        growth = [notes.get('growth', 0) for notes in report['steps']]
        if growth and max(growth) > 3:
            runner.logger.warning(
                f'the meta-gradient grew {max(growth):.1f}-fold on its way '
                'back: the inner steps are long for this loss. A smaller lr '
                'of the criterion makes the score more reliable'
            )
        if is_main_process():
            write_report(Path(runner.work_dir) / 'epsd', masks, report)
        return masks

    def _resumed_masks(self, model: Any) -> Masks | None:
        if self._resumed is None:
            return None
        masks = Masks.unpack(self._resumed['masks'])
        masks.check_fits(
            prunable_parameters(
                model, self.settings.include, self.settings.exclude
            )
        )
        expected = round((1 - self.settings.sparsity) * masks.total)
        if masks.kept != expected:
            raise ValueError(
                f'the checkpoint keeps {masks.kept:,} weights (sparsity '
                f'{masks.sparsity:.4f}), but this config would keep '
                f'{expected:,} with sparsity={self.settings.sparsity}: '
                'resume with the sparsity it was pruned to, or prune anew '
                'with load_from'
            )
        return masks
