"""Prune before training, then train the pruned model by itself."""

from pathlib import Path
from typing import Any

from mmengine.dist import get_rank, get_world_size, is_main_process
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.nn import Parameter

from epsd_mm.analysis import (
    Written,
    report_text,
    require_folder,
    write_report,
    write_unscored,
)
from epsd_mm.datasets.sample_keys import SampleKeys
from epsd_mm.engine.changing_masks import ChangingMasks, check_changes
from epsd_mm.engine.checkpoints import loaded_file_named
from epsd_mm.engine.checks import (
    check_outputs,
    refuse_sharding,
    unwrapped,
)
from epsd_mm.engine.exchange import Exchange
from epsd_mm.engine.identity import check_identity, identity
from epsd_mm.engine.ledger_file import remove_ledgers
from epsd_mm.engine.main_process import only_main
from epsd_mm.engine.model_units import ModelUnits
from epsd_mm.engine.optimizers import optimizers_of
from epsd_mm.engine.saved_state import SavedState
from epsd_mm.engine.scoring_job import score_runner
from epsd_mm.engine.self_distillation import SelfDistillation
from epsd_mm.engine.settings import Settings
from epsd_mm.engine.tracking import track_masks, track_scoring
from epsd_mm.engine.trained_network import check_teacher
from epsd_mm.engine.training_tap import TrainingTap
from epsd_mm.engine.unpruned import warn_of_unpruned
from epsd_mm.engine.work_dir import claim_work_dir
from epsd_mm.pruning import (
    MaskKeeper,
    Masks,
    Prunability,
    prunable_parameters,
    weight_count,
)
from epsd_mm.pruning.objective import RandomState
from epsd_mm.structure import Channels

from .resumable_hook import ResumableHook
from .training_data_hook import TrainingDataHook


@HOOKS.register_module()
class EPSDHook(ResumableHook):
    """Early pruning with self-distillation (Chen et al., AAAI 2024).

    Before training it scores the weights of the model on batches of the
    training set, removes those with the lowest scores, and then keeps them
    at zero while the model trains, with the self-distillation term that it
    was scored for. On resume the masks come from the checkpoint;
    ``load_from`` takes the weights only, and scoring runs. A scoring that is
    killed goes on with its next draw when the same run is started again.

    Args:
        options: Those of :class:`~epsd_mm.engine.settings.Settings`, by
            name: ``sparsity``, ``criterion``, ``sd_loss``, ….

    Raises:
        TypeError: There is no such option.
        ValueError: An option is wrong or would have no effect.
    """

    # Masks before the average of weights (NORMAL) and any checkpoint.
    priority = 'ABOVE_NORMAL'

    def __init__(self, **options: Any) -> None:
        self.settings = Settings.build(**options)
        self._keeper: MaskKeeper | None = None
        self._changing: ChangingMasks | None = None
        self._distillation: TrainingTap | None = None
        self._exchange: Exchange | None = None
        self._units: ModelUnits | None = None
        self._left_dense: list[str] = []
        self._data = TrainingDataHook(
            self.settings.sd_loss,
            self.settings.bad_boxes,
            self.settings.batch_augments,
        )
        self._sample_keys: SampleKeys | None = None
        self._measured: dict[str, float] = {}
        self._identity: dict[str, Any] = {}

    @property
    def masks(self) -> Masks | None:
        """Masks in force, or None."""
        return self._keeper and self._keeper.masks

    @property
    def channels(self) -> Channels | None:
        """Which units are kept, where masks are made of them, or None."""
        return self._units and self._units.channels

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take masks and random state from a checkpoint to resume."""
        super().after_load_checkpoint(runner, checkpoint)
        if not runner._resume:
            return
        with loaded_file_named(runner):
            saved = SavedState.unpack(checkpoint.get('epsd'))
        if self._prunes and saved.masks is None:
            raise ValueError(
                'the checkpoint to resume holds no masks, so it was not '
                'pruned by EPSDHook: start from its weights with load_from '
                'instead of resume, or set criterion=None'
            )
        if not self._prunes and saved.masks is not None:
            raise ValueError(
                'the checkpoint to resume is pruned, but criterion=None '
                'would train its removed weights again: resume with the '
                'config it was trained with'
            )
        check_identity(self.settings, saved.identity)
        if self.settings.changes and saved.policy is None:
            raise ValueError(
                'the checkpoint to resume does not say how far its masks have '
                'changed, so it was trained without a policy: take its '
                'weights with load_from instead of resume, or remove policy'
            )
        if saved.teacher is not None and self.settings.sd_loss is not None:
            with loaded_file_named(runner):
                self.settings.sd_loss.build_teacher().check_state(
                    saved.teacher
                )
        self._resumed = saved

    def before_train(self, runner: Runner) -> None:
        """Score and prune, or restore; then let the two stages work."""
        refuse_sharding(runner)
        claim_work_dir(runner.work_dir)
        check_teacher(runner, self.settings.sd_loss)
        # Files that it reads may be gone when a checkpoint is saved.
        self._identity = identity(self.settings)
        given = None
        if self._resumed is None:
            # A missing file is said before anything that takes long.
            given = self.settings.read_masks()
            self.settings.read_start()
            check_changes(runner, self.settings)
            check_outputs(unwrapped(runner), self.settings.criterion)
        model = unwrapped(runner)
        self._data.prepare(runner)
        self._sample_keys = self._data.sample_keys
        if self.settings.units:
            # A model without a graph is told before anything that takes long.
            self._units = ModelUnits(model, self.settings)
        if self._prunes:
            masks = self._resumed_masks(model) or self._new_masks(
                runner, model, given
            )
            followers = self._units and self._units.followers
            self._keeper = MaskKeeper(model, masks, followers)
            self._keeper.watch(*optimizers_of(runner.optim_wrapper))
            if self.settings.changes:
                self._changing = ChangingMasks(
                    runner,
                    self.settings,
                    self._keeper,
                    self._left_dense,
                    self._resumed and self._resumed.policy,
                )
        if self.settings.sd_loss is not None:
            self._start_distillation(model)
            self._exchange = Exchange(runner, self._distillation.teacher)
        super().before_train(runner)
        self.go_on_with_randomness(runner)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Tell a loss that grows in training how far training is."""
        if self._distillation:
            self._distillation.progress = _progress(runner)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Let the teacher learn; log the sparsity, measured now and then."""
        if self._distillation:
            self._distillation.learn()
            self._exchange.after_iter(runner, batch_idx)
        if self._keeper:
            if not self._measured or self.every_n_train_iters(runner, 50):
                self._measured = self._measure(runner.model)
            for name, value in self._measured.items():
                runner.message_hub.update_scalar(f'train/{name}', value)
        if self._changing and self._changing.after_iter(runner):
            self._measured = {}  # once what came back is no longer zero

    def after_train_epoch(self, runner: Runner) -> None:
        """Let every process know what each has seen in the epoch."""
        if self._distillation:
            self._exchange.now()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put what a resumed run needs into ``checkpoint['epsd']``."""
        distillation = self._distillation
        learns = distillation is not None and distillation.teacher.learns
        if learns:
            self._exchange.before_save(runner.logger)
        checkpoint['epsd'] = SavedState(
            random_state=RandomState.capture(),
            identity=self._identity,
            policy=self._changing and self._changing.save(runner),
            masks=self.masks,
            channels=self.channels,
            left_dense=self._left_dense,
            teacher=distillation.teacher.state_dict() if learns else None,
            training_set=self._sample_keys.fingerprint if learns else None,
        ).pack()

    def after_train(self, runner: Runner) -> None:
        """Leave model and optimiser without hooks."""
        if self._changing:
            self._changing.finish()
        if self._keeper:
            self._keeper.release()
        if self._distillation:
            self._distillation.detach()

    @property
    def _prunes(self) -> bool:
        settings = self.settings
        given = settings.masks is not None
        return given or settings.changes or settings.criterion is not None

    def _measure(self, model: Any) -> dict[str, float]:
        """Zeros over the weights that masks cover, and over all weights."""
        sparsity = self._keeper.measured_sparsity()
        removed = sparsity * self._keeper.masks.total
        if followers := self._units and self._units.followers:
            removed += followers.total - followers.kept
        share = removed / weight_count(model)
        return dict(sparsity=sparsity, sparsity_all=share)

    def _start_distillation(self, model: Any) -> None:
        loss, keys = self.settings.sd_loss, self._sample_keys
        if keys is not None and self._resumed:
            keys = self._sample_keys = self._resumed_keys(keys)
        self._distillation = TrainingTap(
            SelfDistillation(model, loss, keys and keys.path_parts)
        )
        self._distillation.attach()
        if keys is not None and self._resumed:
            self._distillation.teacher.load_state_dict(
                self._resumed.teacher, get_rank(), get_world_size()
            )

    def _resumed_keys(self, keys: SampleKeys) -> SampleKeys:
        """Those by which the checkpoint remembers."""
        if self._resumed.teacher is None:
            raise ValueError(
                'the checkpoint to resume remembers no predictions for '
                f'{type(self.settings.sd_loss).__name__}: take its weights '
                'with load_from instead of resume'
            )
        found = keys.matching(self._resumed.training_set)
        if found is None:
            raise ValueError(
                'the checkpoint to resume remembers predictions for other '
                'images than those of this training set: either it was '
                'trained on another data set, or files or classes have '
                'other names (where the data set lies is no matter, but to '
                'checkpoints of older versions); take its weights with '
                'load_from instead of resume'
            )
        return found

    def _new_masks(
        self, runner: Runner, model: Any, given: Masks | None
    ) -> Masks:
        """Given masks, fresh ones, or both."""
        if given:
            weights = model.named_parameters()
            weights = {n: p for n, p in weights if n in given}
            given.check_fits(weights)
            Prunability(model).check_stored(given, 'take masks without ')
            _warn_of_other_weights(runner, given, weights)
            _warn_of_channels(runner, self.settings.masks)
            MaskKeeper(model, given)
        folder = Path(runner.work_dir) / 'epsd'
        only_main(require_folder, folder)
        if self.settings.changes and self.settings.criterion is None:
            given = Masks.ones_like(self._prunable(model))
        if self.settings.criterion is None:
            warn_of_unpruned(model, self.settings, runner.logger)
            track_masks(runner, given)
            if is_main_process():
                _tell(runner, write_unscored(folder, given))
            return given
        fresh, report = self._score(runner, model, given)
        self._left_dense = list(report['left_dense'])
        if self._units:
            fresh = self._units.take(fresh)
        found = {**fresh, **(given or {})}
        names = (name for name, _ in model.named_parameters())
        masks = Masks({name: found[name] for name in names if name in found})
        if is_main_process():
            written = write_report(folder, masks, report, self.channels)
            _tell(runner, written)
            if written.masks is not None:
                remove_ledgers(_ledgers_of(runner))
        track_scoring(runner, report)
        return masks

    def _score(
        self, runner: Runner, model: Any, given: Masks | None
    ) -> tuple[Masks, dict]:
        groups = self._units and self._units.groups
        masks, report = score_runner(
            runner,
            model,
            self.settings,
            given,
            _ledgers_of(runner),
            groups,
        )
        runner.logger.info('\n' + report_text(report))
        growth = [notes.get('growth', 0) for notes in report['steps']]
        if growth and max(growth) > 3:
            runner.logger.warning(
                f'the meta-gradient grew {max(growth):.1f}-fold on its way '
                'back: the inner steps are long for this loss. A smaller lr '
                'of the criterion makes the score more reliable'
            )
        return masks, report

    def _resumed_masks(self, model: Any) -> Masks | None:
        if self._resumed is None:
            return None
        self._left_dense = self._resumed.left_dense
        if self._left_dense and self.settings.zero_layers != 'dense':
            raise ValueError(
                'the checkpoint to resume was trained with zero_layers='
                f'"dense", which left {", ".join(self._left_dense)} whole, '
                f'this config says {self.settings.zero_layers!r}: resume '
                'with the config it was trained with'
            )
        masks = self._resumed.masks
        if self._units:
            self._units.resume(self._resumed.channels, masks)
        masks.check_fits(self._masked_weights(model, masks))
        return masks

    def _prunable(self, model: Any) -> dict:
        settings = self.settings
        return prunable_parameters(model, settings.include, settings.exclude)

    def _masked_weights(self, model: Any, masks: Masks) -> dict:
        """The weights that the masks of a checkpoint are to cover."""
        settings = self.settings
        covered = set() if settings.masks is None else set(masks)
        if settings.changes or settings.criterion is not None:
            covered |= self._prunable(model).keys() - set(self._left_dense)
        weights = model.named_parameters()
        return {n: p for n, p in weights if n in covered}


def _ledgers_of(runner: Runner) -> Path:
    """Where a killed scoring leaves its draws."""
    return Path(runner.work_dir) / 'scoring'


def _warn_of_other_weights(
    runner: Runner, masks: Masks, weights: dict[str, Parameter]
) -> None:
    """Masks travel without the weights that were trained under them."""
    removed = sum((~mask).sum() for mask in masks.values())
    nonzero = sum(
        weights[name].detach().cpu()[~mask].count_nonzero()
        for name, mask in masks.items()
    )
    if nonzero > removed / 2:
        runner.logger.warning(
            f'{int(nonzero):,} of the {int(removed):,} weights that the '
            'given masks remove are not zero: these weights were not trained '
            'under the masks. For those that were, load their checkpoint, '
            "with init_cfg=dict(type='Pretrained', prefix='backbone.', "
            'checkpoint=…) of the backbone, or with load_from'
        )


def _warn_of_channels(runner: Runner, masks: str | Path) -> None:
    """Masks of weights do not tell that more has gone with a channel."""
    if Path(masks).with_name('channels.pth').exists():
        runner.logger.warning(
            f'the masks of {masks} are those of whole channels, but they '
            'cover weights alone: biases, scales and shifts of the removed '
            'channels are trained here, so that these emit something again'
        )


def _tell(runner: Runner, written: Written) -> None:
    for problem in written.problems:
        runner.logger.warning(problem)


def _progress(runner: Runner) -> float:
    """Share of the training that is done after this epoch, or iteration."""
    if isinstance(runner.train_loop, IterBasedTrainLoop):
        return (runner.iter + 1) / runner.max_iters
    return (runner.epoch + 1) / runner.max_epochs
