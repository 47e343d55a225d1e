"""What a runner must be like for pruning and self-distillation."""

from collections.abc import Sized

from mmengine.model import BaseModel, is_model_wrapper
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from epsd_mm.datasets.class_names import check_class_names
from epsd_mm.datasets.image_table import ImageTable, image_table
from epsd_mm.datasets.leaves import leaf_datasets
from epsd_mm.datasets.object_numbers import check_numbering
from epsd_mm.datasets.sample_keys import SampleKeys
from epsd_mm.datasets.samplers.base import WrappingBatchSampler
from epsd_mm.distillation import SelfDistillationLoss
from epsd_mm.families.kinds import class_names, is_detector, num_classes
from epsd_mm.families.observers import build_observer
from epsd_mm.pruning import Criterion

from .recipes import later_recipes

_SHARDING = ('FSDP', 'FullyShardedDataParallel', 'DeepSpeed', 'ColossalAI')


def check_outputs(model: nn.Module, criterion: Criterion | None) -> None:
    """Raise where a criterion takes outputs that a model does not have.

    Raises:
        TypeError: Names both.
    """
    if criterion is not None and criterion.takes_outputs:
        if is_detector(model):
            raise TypeError(
                f'{type(criterion).__name__} takes one tensor of outputs, '
                f'and {type(model).__name__} is a detector: choose another '
                'criterion'
            )


def refuse_sharding(runner: Runner) -> None:
    """Raise where weights are cut into pieces before a hook sees them.

    Raises:
        RuntimeError: Names the strategy or wrapper.
    """
    if name := sharded_by(runner):
        raise RuntimeError(
            f'{name} shards the weights before any hook runs, so EPSDHook '
            'can neither rank nor mask them: train with '
            'DistributedDataParallel (--launcher pytorch)'
        )


def sharded_by(runner: Runner) -> str | None:
    """Name of the strategy or wrapper that cuts weights into pieces."""
    parts = (getattr(runner, 'strategy', None), runner.model)
    parts += (runner.optim_wrapper,)
    for part in parts:
        for base in type(part).__mro__:
            if any(word in base.__name__ for word in _SHARDING):
                return type(part).__name__
    return None


def check_loader(runner: Runner, loss: SelfDistillationLoss | None) -> None:
    """Raise where the training loader cannot do what is asked of it.

    Raises:
        ValueError: Gives what to change.
    """
    loader = runner.train_dataloader
    if not len(loader):
        raise ValueError(
            f'the {len(loader.dataset)} images of the training set make no '
            f'batch of {_batch_size(loader)}: choose a smaller '
            'batch_size, or drop_last=False'
        )
    for hook in runner.hooks:
        if 'PreciseBNHook' in class_names(hook) and loader.batch_size is None:
            sampler = type(loader.batch_sampler).__name__
            other = 'batch_sampler from train_dataloader'
            wraps = isinstance(loader.batch_sampler, WrappingBatchSampler)
            if loss is not None and wraps:
                other = 'train with PSKDLoss, which needs no batch sampler'
            raise ValueError(
                'PreciseBNHook asks the training loader for its batch_size, '
                f'and beside a batch sampler such as {sampler} a loader has '
                f'none: remove the hook from custom_hooks, or {other}'
            )


def _batch_size(loader: DataLoader) -> str:
    sampler = loader.batch_sampler
    size = getattr(sampler, 'batch_size', None)
    return str(size) if type(size) is int else type(sampler).__name__


def check_recipes(runner: Runner, loss: SelfDistillationLoss | None) -> None:
    """Raise where what hooks will put in place does not fit the loss.

    Raises:
        ValueError: Names the hook.
    """
    if loss is None:
        return
    for recipe in later_recipes(runner):
        if recipe.batch_augments is not None:
            raise ValueError(
                f'{_MIXED.format(_name(loss))}: set batch_augments="off" of '
                'EPSDHook, which says so, or remove the batch_augments of '
                f'{recipe.source}'
            )
        if recipe.transforms and knows_objects(runner, loss):
            check_numbering(recipe.transforms, recipe.source)


def knows_objects(runner: Runner, loss: SelfDistillationLoss | None) -> bool:
    """Whether a loss remembers objects, and must know them again."""
    if loss is None or not loss.build_teacher().learns:
        return False
    return build_observer(unwrapped(runner)).of_objects


def check_data(
    runner: Runner, loss: SelfDistillationLoss | None
) -> SampleKeys | None:
    """Raise where training data do not fit the model or the loss.

    Returns:
        Keys of the training set for a loss that remembers its images, else
        None.

    Raises:
        ValueError: Gives the line of the config to change.
        TypeError: A loss needs classes that the data set does not tell, or
            cannot see the predictions of the model.
    """
    dataset = runner.train_dataloader.dataset
    for leaf in leaf_datasets(dataset):
        check_class_names(leaf)
    model = unwrapped(runner)
    classes = num_classes(model)
    table = None
    if classes is not None or loss is not None:
        table = _known_table(dataset)
    if classes is not None and table is not None:
        _check_labels(table, classes)
    if loss is not None:
        observer = build_observer(model)
        # A partner has the class of its image, if that has one.
        one_class = loss.needs.partners or not observer.several_labels
        if table is not None and not observer.of_objects and one_class:
            _refuse_several_labels(table, loss, observer.several_labels)
        refuse_mixing(runner, loss)
    _check_sampler(runner, loss)
    if loss is not None and loss.build_teacher().learns:
        return SampleKeys.of(dataset, table or image_table(dataset))
    return None


def _known_table(dataset: Sized) -> ImageTable | None:
    """Training without a loss of ours may do without classes."""
    try:
        return image_table(dataset)
    except TypeError:
        return None


def _check_labels(table: ImageTable, classes: int) -> None:
    """A label that the head has no logit for is an index error otherwise."""
    for index, labels in zip(table.index, table.classes):
        wrong = [label for label in labels if not 0 <= label < classes]
        if wrong:
            raise ValueError(
                f'image {index} of the training set has the label {wrong[0]}, '
                f'and the head has num_classes={classes}: set it to the '
                'number of classes of the data set'
            )


def _refuse_several_labels(
    table: ImageTable, loss: SelfDistillationLoss, head_does: bool
) -> None:
    several = [i for i, own in enumerate(table.classes) if len(own) != 1]
    if several:
        image = several[0]
        others = '"PSKDLoss" or "DLBLoss", which ask for no class, or '
        raise ValueError(
            f'{_name(loss)} compares images that have one class each, but '
            f'{len(several)} of {len(table.classes)} images of the training '
            f'set have several or none, as image {table.index[image]} with '
            f'the labels {list(table.classes[image])}: set sd_loss='
            f'{others * head_does}None to prune without self-distillation, '
            'which any labels allow'
        )


def _check_sampler(runner: Runner, loss: SelfDistillationLoss | None) -> None:
    """Raise where the batches are not those that the loss needs."""
    sampler = runner.train_dataloader.batch_sampler
    needed = None if loss is None else loss.needs.sampler
    if needed is not None:
        if needed not in class_names(sampler):
            _require(needed, runner, loss)
    elif isinstance(sampler, WrappingBatchSampler):
        _refuse(sampler, loss)


def _require(sampler: str, runner: Runner, loss: SelfDistillationLoss) -> None:
    loader = runner.train_dataloader
    config = runner.cfg.get('train_dataloader') or {}
    options = [f"type='{sampler}'"]
    others = []
    if config.get('batch_sampler'):
        options.append(f'base={dict(config["batch_sampler"])}')
    elif 'batch_sampler' in config:
        # A dict of a child config does not take the place of None.
        options.insert(0, '_delete_=True')
    if config.get('drop_last'):
        others.append('drop_last=False')
        if not config.get('batch_sampler'):
            options.append('drop_last=True')
    lines = [*others, f'batch_sampler=dict({", ".join(options)})']
    raise ValueError(
        f'{_name(loss)} {loss.needs.why}, but the batches come from '
        f'{type(loader.batch_sampler).__name__}. Add to the config: '
        f'train_dataloader = dict({", ".join(lines)})'
    )


def _refuse(
    sampler: WrappingBatchSampler, loss: SelfDistillationLoss | None
) -> None:
    whose = (
        'there is no sd_loss'
        if loss is None
        else f'{_name(loss)} makes no use of that'
    )
    raise ValueError(
        f'{type(sampler).__name__} {sampler.does}, but {whose}: remove '
        'batch_sampler from train_dataloader, or put its base in its place'
    )


def refuse_mixing(runner: Runner, loss: SelfDistillationLoss) -> None:
    """Raise where the images of a batch are mixed.

    Raises:
        ValueError: Says what to remove.
    """
    model = unwrapped(runner)
    preprocessor = model.data_preprocessor
    if is_detector(model):  # theirs resize or pad a batch, and mix nothing
        return
    if getattr(preprocessor, 'batch_augments', None) is not None:
        raise ValueError(
            f'{_MIXED.format(_name(loss))}: set batch_augments="off" of '
            'EPSDHook, which says so, or remove augments from the '
            "model's train_cfg, or batch_augments from its data_preprocessor"
        )


_MIXED = (
    'batch_augments mix the images of a batch, but {} compares predictions '
    'of single images'
)


def unwrapped(runner: Runner) -> BaseModel:
    """The model of a runner, without what distributes it."""
    model = runner.model
    return model.module if is_model_wrapper(model) else model


def _name(loss: SelfDistillationLoss) -> str:
    return type(loss).__name__
