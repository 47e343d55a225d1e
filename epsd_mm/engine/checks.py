"""What a runner must be like for pruning and self-distillation."""

from mmengine.model import BaseModel, is_model_wrapper
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from epsd_mm.datasets.annotations import check_annotations
from epsd_mm.datasets.image_table import ImageTable, image_table
from epsd_mm.datasets.sample_keys import SampleKeys
from epsd_mm.distillation import SelfDistillationLoss

from .needs import NEEDS, Need
from .objective import is_detector

_SHARDING = ('FSDP', 'FullyShardedDataParallel', 'DeepSpeed', 'ColossalAI')


def refuse_sharding(runner: Runner) -> None:
    """Raise where weights are cut into pieces before a hook sees them.

    Raises:
        RuntimeError: Names the strategy or wrapper.
    """
    parts = (getattr(runner, 'strategy', None), runner.model)
    parts += (runner.optim_wrapper,)
    for part in parts:
        for base in type(part).__mro__:
            if any(word in base.__name__ for word in _SHARDING):
                raise RuntimeError(
                    f'{type(part).__name__} shards the weights before any '
                    'hook runs, so EPSDHook can neither rank nor mask them: '
                    'train with DistributedDataParallel '
                    '(--launcher pytorch)'
                )


def check_data(
    runner: Runner, loss: SelfDistillationLoss | None
) -> SampleKeys | None:
    """Raise where training data do not fit the model or the loss.

    Returns:
        Keys of the training set for a loss that remembers its images, else
        None.

    Raises:
        ValueError: Gives the line of the config to change.
    """
    _check_length(runner.train_dataloader)
    dataset = runner.train_dataloader.dataset
    if is_detector(_model(runner)):
        check_annotations(dataset, runner.logger)
    classes = _num_classes(_model(runner))
    table = None
    if classes is not None and hasattr(dataset, 'get_data_info'):
        table = image_table(dataset)
        _check_labels(table, classes)
    sampler = runner.train_dataloader.batch_sampler
    teacher = None if loss is None else loss.build_teacher()
    if loss is not None:
        _refuse_mixing(runner, loss)
    for need in NEEDS:
        if getattr(teacher, need.attribute, False):
            _require(need, runner, loss)
        elif isinstance(sampler, need.sampler):
            _refuse(need, loss)
    if getattr(teacher, 'learns', False):
        return SampleKeys.of(dataset, table or image_table(dataset))
    return None


def _check_length(loader: DataLoader) -> None:
    if not len(loader):
        raise ValueError(
            f'the {len(loader.dataset)} images of the training set make no '
            f'batch of {loader.batch_sampler.batch_size}: choose a smaller '
            'batch_size, or drop_last=False'
        )


def _check_labels(table: ImageTable, classes: int) -> None:
    """A label that the head has no logit for is an index error otherwise."""
    for index, labels in zip(table.index, table.classes):
        wrong = [label for label in labels if not 0 <= label < classes]
        if wrong:
            raise ValueError(
                f'image {index} of the training set has the label {wrong[0]}, '
                f'but the head has {classes} classes: set num_classes of the '
                'head'
            )


def _require(need: Need, runner: Runner, loss: SelfDistillationLoss) -> None:
    sampler = runner.train_dataloader.batch_sampler
    if isinstance(sampler, need.sampler):
        return
    base = runner.cfg.get('train_dataloader', {}).get('batch_sampler')
    base = f', base={dict(base)}' if base else ''
    raise ValueError(
        f'{_name(loss)} {need.why}, but the batches come from '
        f'{type(sampler).__name__}. Add to the config: train_dataloader = '
        f"dict(batch_sampler=dict(type='{need.sampler.__name__}'{base}))"
    )


def _refuse(need: Need, loss: SelfDistillationLoss | None) -> None:
    whose = (
        'there is no sd_loss'
        if loss is None
        else f'{_name(loss)} makes no use of that'
    )
    raise ValueError(
        f'{need.sampler.__name__} {need.what_it_does}, but {whose}: remove '
        'batch_sampler from train_dataloader, or put its base in its place'
    )


def _refuse_mixing(runner: Runner, loss: SelfDistillationLoss) -> None:
    model = _model(runner)
    preprocessor = model.data_preprocessor
    if is_detector(model):  # theirs resize or pad a batch, and mix nothing
        return
    if getattr(preprocessor, 'batch_augments', None) is not None:
        raise ValueError(
            f'batch_augments mix the images of a batch, but {_name(loss)} '
            'compares predictions of single images: remove augments from '
            "the model's train_cfg, or batch_augments from its "
            'data_preprocessor'
        )


def _num_classes(model: BaseModel) -> int | None:
    """Of a classifier's or detector's head, if it tells."""
    head = getattr(model, 'head', getattr(model, 'roi_head', model))
    head = getattr(head, 'bbox_head', head)
    if isinstance(head, nn.ModuleList):  # a cascade's
        head = head[0]
    classes = getattr(head, 'num_classes', None)
    return classes if isinstance(classes, int) else None


def _model(runner: Runner) -> BaseModel:
    model = runner.model
    return model.module if is_model_wrapper(model) else model


def _name(loss: SelfDistillationLoss) -> str:
    return type(loss).__name__
