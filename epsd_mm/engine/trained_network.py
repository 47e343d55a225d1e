"""The network that teaches: trained before, and never changed."""

import copy
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import Runner
from torch import nn

from epsd_mm.config_file import read_config
from epsd_mm.digest import digest
from epsd_mm.distillation import Observation, SelfDistillationLoss
from epsd_mm.families.kinds import class_names, is_detector, num_classes
from epsd_mm.families.observers import build_observer
from epsd_mm.families.observers.base import Observer
from epsd_mm.pruning.objective import preserved_randomness

from .fitting_state import fitting_state
from .initial_model import build_untrained
from .module_state import ModuleState
from .safe_loading import load_values, read_meta


class TrainedNetwork:
    """A network that predicts for the batches of its student.

    It is nobody's part: no weight of it is in the student, its optimiser,
    its averages or its checkpoints. Each process has its own.

    Args:
        loss: Its ``teacher`` is the network, or says where it is.
        student: The model that learns from it, unwrapped.

    Raises:
        ValueError: There is no teacher, or it does not fit the student.
        FileNotFoundError: Its config or checkpoint does not exist.
        CheckpointError: The checkpoint is damaged, or of another network.
        TypeError: Its predictions cannot be seen.
    """

    def __init__(self, loss: SelfDistillationLoss, student: nn.Module) -> None:
        network = _network(loss)
        observer = check_teaches(network, student)
        # With the precision and on the device of its student.
        network.to(next(student.parameters()))
        _let_predict(network)
        self.network = network
        self.observer = observer
        # Of frozen weights it would keep and compare copies.
        self._state = ModuleState(network)
        network.requires_grad_(False)

    def predict(self, inputs: Any, data_samples: Any) -> Observation:
        """What it says of a preprocessed batch, which stays as it is.

        It sees a detector's objects as the student's are seen: through what
        it assigns to them itself. Random numbers are afterwards as before.
        """
        samples = copy.deepcopy(data_samples)
        try:
            with torch.no_grad(), preserved_randomness(), self._state.kept():
                self.observer.start()
                try:
                    self.network(inputs, samples, mode='loss')
                finally:
                    self.observer.stop()
                return self.observer.observe(samples)
        finally:
            # See SelfDistillation.look.
            torch.clear_autocast_cache()


def teacher_digest(loss: SelfDistillationLoss | None) -> str | None:
    """What stands for the content of a teacher, wherever it lies.

    Raises:
        FileNotFoundError: Its config or checkpoint does not exist.
    """
    teacher = getattr(loss, 'teacher', None)
    if loss is None or not loss.needs.taught or teacher is None:
        return None
    if isinstance(teacher, nn.Module):
        return digest(teacher.state_dict())
    if not isinstance(teacher, Mapping):
        return digest(teacher)
    config, checkpoint = teacher_files(loss)
    content = blake2b(digest_size=16)
    with open(checkpoint, 'rb') as file:
        while chunk := file.read(1 << 20):
            content.update(chunk)
    model = read_config(config).get('model')
    return digest([content.digest(), repr(model)])


def check_teacher(runner: Runner, loss: SelfDistillationLoss | None) -> None:
    """Raise where a training has no teacher, or one of other classes.

    Raises:
        ValueError: Says which.
        FileNotFoundError: Its config or checkpoint does not exist.
    """
    if loss is None or not loss.needs.taught:
        return
    _require(loss)
    if not isinstance(loss.teacher, Mapping):
        return
    _, checkpoint = teacher_files(loss)
    meta = read_meta(checkpoint).get('dataset_meta') or {}
    metainfo = getattr(runner.train_dataloader.dataset, 'metainfo', {})
    there, here = meta.get('classes'), metainfo.get('classes')
    if there and here and list(there) != list(here):
        place = next(
            (i for i, (a, b) in enumerate(zip(there, here)) if a != b),
            min(len(there), len(here)),
        )
        raise ValueError(
            f'the teacher {checkpoint} was trained on {len(there)} classes '
            f'and the training set has {len(here)}; they differ from number '
            f'{place} on ({_at(there, place)} there, {_at(here, place)} '
            'here): take a teacher of the same classes in the same order'
        )


def _network(loss: SelfDistillationLoss) -> nn.Module:
    _require(loss)
    teacher = loss.teacher
    if isinstance(teacher, nn.Module):
        return copy.deepcopy(teacher)
    if not isinstance(teacher, Mapping):
        raise ValueError(
            f'the teacher of {type(loss).__name__}, '
            f'{type(teacher).__name__}, is no OpenMMLab model: give '
            'dict(config=PATH, checkpoint=PATH), or such a model'
        )
    config, checkpoint = teacher_files(loss)
    cfg = read_config(config)
    if cfg.get('model') is None:
        raise ValueError(
            f'teacher.config={config} has no model: name the config that the '
            'teacher was trained with'
        )
    with preserved_randomness():
        network = build_untrained(cfg)
    content = load_values(checkpoint, 'cpu')
    network.load_state_dict(fitting_state(network, content, checkpoint))
    return network


def _require(loss: SelfDistillationLoss) -> None:
    if loss.teacher is None:
        name = type(loss).__name__
        raise ValueError(
            f'{name} has teacher=None, and learns from a trained network: '
            f"set sd_loss=dict(type='{name}', teacher=dict(config=PATH, "
            'checkpoint=PATH))'
        )


def teacher_files(loss: SelfDistillationLoss) -> tuple[str, str]:
    """Config and checkpoint of a teacher, which are there.

    Raises:
        FileNotFoundError: One of them is not.
    """
    for name in ('config', 'checkpoint'):
        path = loss.teacher[name]
        if not Path(path).is_file():
            raise FileNotFoundError(
                f'teacher.{name}={path!r} of {type(loss).__name__} is no '
                'file: name the config and the checkpoint of a training '
                'that has ended'
            )
    return loss.teacher['config'], loss.teacher['checkpoint']


def check_teaches(network: nn.Module, student: nn.Module) -> Observer:
    """Raise where a network cannot teach another, whatever its weights.

    Args:
        network: Would teach.
        student: Would learn; unwrapped.

    Returns:
        What sees the predictions of the network.

    Raises:
        ValueError: They do not see the same images or the same classes, or
            predict in two forms.
        TypeError: The predictions of one cannot be seen.
    """
    _check_fits(network, student)
    return _observer(network, student)


def _check_fits(network: nn.Module, student: nn.Module) -> None:
    """Raise where they do not see the same images, or the same classes."""
    if is_detector(network) != is_detector(student):
        raise ValueError(
            f'the teacher is a {type(network).__name__} and the student a '
            f'{type(student).__name__}: a detector teaches detectors, a '
            'classifier classifiers'
        )
    there, here = num_classes(network), num_classes(student)
    if there != here:
        raise ValueError(
            f'the teacher has {there} classes and the student {here}: take '
            'a teacher that was trained on the same ones'
        )
    there, here = _pixels(network), _pixels(student)
    for name, value in here.items():
        if there[name] != value:
            raise ValueError(
                f'the teacher is given the images of its student, and takes '
                f'{name}={there[name]} of its data_preprocessor where the '
                f'student has {value}: take a teacher that was trained with '
                'the same'
            )


def _observer(network: nn.Module, student: nn.Module) -> Observer:
    try:
        there = build_observer(network)
    except TypeError as error:
        raise TypeError(f'the teacher cannot teach: {error}') from error
    here = build_observer(student)
    forms = [
        'independent classes' if o.use_sigmoid else 'one distribution'
        for o in (there, here)
    ]
    if forms[0] != forms[1]:
        raise ValueError(
            f'the teacher, a {type(network).__name__}, predicts {forms[0]} '
            f'and the student, a {type(student).__name__}, {forms[1]}: take '
            'a teacher with such a head as its student has'
        )
    return there


def _pixels(model: nn.Module) -> dict[str, Any]:
    """What a model's preprocessor makes of the colours of an image."""
    preprocessor = getattr(model, 'data_preprocessor', None)

    def numbers(name: str) -> list | None:
        value = getattr(preprocessor, name, None)
        return (
            None
            if value is None
            else torch.as_tensor(value).flatten().tolist()
        )

    normalised = getattr(preprocessor, '_enable_normalize', False)
    swapped = getattr(preprocessor, '_channel_conversion', None)
    return dict(
        mean=normalised and numbers('mean'),
        std=normalised and numbers('std'),
        swapped_colours=bool(
            getattr(preprocessor, 'to_rgb', False)
            if swapped is None
            else swapped
        ),
    )


def _let_predict(network: nn.Module) -> None:
    """Evaluation mode, in which a detector still computes its losses.

    Without these it has assigned nothing to the objects, and some heads and
    decoders know them in training mode alone. What counts statistics or
    draws by chance is in evaluation mode everywhere.
    """
    network.eval()
    if not is_detector(network):
        return
    for module in network.modules():
        # By the flag itself: backbones decide otherwise in train().
        module.training = not any(
            word in name
            for name in class_names(module)
            for word in _OTHERWISE_IN_TRAINING
        )


_OTHERWISE_IN_TRAINING = ('Norm', 'Drop', 'Attention')


def _at(classes: Any, place: int) -> str:
    return repr(classes[place]) if place < len(classes) else 'none'
