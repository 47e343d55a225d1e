"""Keep what a runner trains on as pruning and self-distillation need it."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from epsd_mm.datasets.annotations import check_annotations
from epsd_mm.datasets.bad_boxes import check_bad_boxes, drop_bad_boxes
from epsd_mm.datasets.checked_images import skip_damaged_images
from epsd_mm.datasets.leaves import leaf_datasets
from epsd_mm.datasets.object_numbers import number_objects
from epsd_mm.datasets.sample_keys import SampleKeys
from epsd_mm.distillation import SelfDistillationLoss
from epsd_mm.engine.checks import (
    check_data,
    check_loader,
    check_recipes,
    knows_objects,
    refuse_mixing,
    unwrapped,
)
from epsd_mm.engine.loaders import has_workers, renew_loader
from epsd_mm.engine.mixing import check_batch_augments, turn_off_mixing
from epsd_mm.families.kinds import is_detector


class TrainingDataHook(Hook):
    """Checks the training data and makes their pipelines ready.

    Once before training, and again whenever a hook has replaced a data set,
    a pipeline or what mixes batches: it comes after all others, just before
    the loader starts. Registered by the hook that calls :meth:`prepare`.

    Args:
        loss: The self-distillation loss that trains, if any.
        bad_boxes: ``'error'``, or ``'drop'`` to train without boxes that
            :func:`~epsd_mm.datasets.annotations.check_annotations` refuses.
        batch_augments: ``'error'`` where there is a loss, or ``'off'`` to
            let no batch be mixed.

    Attributes:
        sample_keys: What the images are known by, for a loss that remembers
            them; else None.

    Raises:
        ValueError: ``bad_boxes`` or ``batch_augments`` is neither.
    """

    priority = 'LOWEST'

    def __init__(
        self,
        loss: SelfDistillationLoss | None = None,
        bad_boxes: str = 'error',
        batch_augments: str = 'error',
    ) -> None:
        check_bad_boxes(bad_boxes)
        check_batch_augments(batch_augments)
        self.loss = loss
        self.bad_boxes = bad_boxes
        self.batch_augments = batch_augments
        self.sample_keys: SampleKeys | None = None
        self._seen: list = []

    def prepare(self, runner: Runner) -> None:
        """Look at the training data, and let them be as they must be.

        Raises:
            ValueError: Data, loader or later recipes do not fit the model
                or the loss; gives the line of the config to change.
        """
        if self.batch_augments == 'off':
            turn_off_mixing(runner, unwrapped(runner))
        check_loader(runner, self.loss)
        check_recipes(runner, self.loss)
        dropped = self._look(runner)
        if self._make_ready(runner) and has_workers(runner) or dropped:
            renew_loader(runner)
        self._seen = _parts(runner)
        if self not in runner.hooks:
            runner.register_hook(self)

    # Whenever other hooks have had their turn, and before the next batch is
    # loaded or trained on.

    def before_train_epoch(self, runner: Runner) -> None:
        """Look again."""
        self._look_again(runner)

    def before_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """Look again."""
        self._look_again(runner)

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """Look again."""
        self._look_again(runner)

    def after_val(self, runner: Runner) -> None:
        """Look again."""
        self._look_again(runner)

    def _look_again(self, runner: Runner) -> None:
        parts = _parts(runner)
        if len(parts) == len(self._seen) and all(
            now is then for now, then in zip(parts, self._seen)
        ):
            return
        before = {id(part) for part in self._seen}
        data = runner.train_dataloader.dataset
        if any(id(leaf) not in before for leaf in leaf_datasets(data)):
            self._look(runner)
        elif self.loss is not None:
            refuse_mixing(runner, self.loss)
        self._make_ready(runner)
        self._seen = _parts(runner)

    def _look(self, runner: Runner) -> int:
        """Check the data; the number of boxes that were dropped."""
        dataset = runner.train_dataloader.dataset
        dropped = 0
        model = unwrapped(runner)
        if not is_detector(model):
            self._refuse_boxes(type(model).__name__)
        elif check_annotations(dataset, runner.logger, self.bad_boxes):
            dropped = drop_bad_boxes(dataset)
        self.sample_keys = check_data(runner, self.loss)
        return dropped

    def _refuse_boxes(self, model: str) -> None:
        if self.bad_boxes != 'error':
            raise ValueError(
                f'bad_boxes={self.bad_boxes!r} has no effect on {model}, '
                'which learns no boxes: remove it'
            )

    def _make_ready(self, runner: Runner) -> bool:
        """Whether pipelines were changed."""
        dataset = runner.train_dataloader.dataset
        changed = skip_damaged_images(dataset)
        if knows_objects(runner, self.loss):
            changed |= number_objects(dataset)
        return changed


def _parts(runner: Runner) -> list:
    """What hooks replace, in an order of its own."""
    model = unwrapped(runner)
    parts = [getattr(model.data_preprocessor, 'batch_augments', None)]
    for leaf in leaf_datasets(runner.train_dataloader.dataset):
        pipeline = getattr(leaf, 'pipeline', None)
        parts += [leaf, pipeline, *getattr(pipeline, 'transforms', ())]
    return parts
