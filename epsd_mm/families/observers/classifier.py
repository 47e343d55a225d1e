"""Predictions of image classifiers."""

import inspect
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from epsd_mm.distillation.observation import Observation, at_least_float32

from ..kinds import class_names
from .base import Observer
from .refused import reason
from .unusable import unusable


class ClassifierObserver(Observer):
    """The sample is an image, its prediction the output of the head.

    For mmpretrain's ``ImageClassifier`` with a ``ClsHead`` that maps
    features to logits, or a ``MultiLabelClsHead``, whose classes are
    independent. ArcFace's prediction is the one of a test, without the
    margin that its loss subtracts for the true class: our choice.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.several_labels = _several_labels(model.head)
        self._logits = None
        self._handle = None

    @property
    def use_sigmoid(self) -> bool:
        """By the loss of the head, which a hook may replace in training."""
        return _use_sigmoid(self.model.head.loss_module)

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        head = getattr(model, 'head', None)
        known = class_names(head) & {'ClsHead', 'MultiLabelClsHead'}
        return bool(known) and not (reason(head) or cls.refusal(model))

    @classmethod
    def refusal(cls, model: nn.Module) -> str:
        head = getattr(model, 'head', None)
        names = class_names(head)
        if getattr(head, 'distillation', getattr(head, 'dist', False)):
            return _TAUGHT
        if 'ClsHead' not in names or 'ArcFaceClsHead' in names:
            return ''
        several = len(inspect.signature(head.forward).parameters) > 1
        return 'it takes more than features in its forward pass' * several

    def start(self) -> None:
        self._logits = None
        self._handle = self.model.head.register_forward_hook(self._tap)

    def stop(self) -> None:
        self._handle.remove()

    def observe(self, data_samples: Sequence) -> Observation:
        head, logits = self.model.head, self._logits
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            raise unusable(
                head,
                f'returned {type(logits).__name__} instead of logits of '
                'shape (batch, classes)',
            )
        count = len(logits)
        # What the loss sees is not always the prediction, or of one class.
        plain = not self.several_labels and not _with_margin(head)
        return Observation(
            logits=at_least_float32(logits),
            labels=self._labels(data_samples).to(logits.device),
            weights=logits.new_full((count,), 1 / count, dtype=torch.float),
            images=torch.arange(count, device=logits.device),
            keys=self.image_keys(data_samples),
            use_sigmoid=self.use_sigmoid,
            cross_entropy=plain * plain_cross_entropy(head.loss_module),
        )

    def _labels(self, data_samples: Sequence) -> Tensor:
        if self.several_labels:
            return torch.full((len(data_samples),), -1)
        if any('gt_score' in sample for sample in data_samples):
            raise TypeError(
                'self-distillation needs hard labels, but the samples carry '
                "gt_score: set batch_augments='off' of EPSDHook, or remove "
                "augments from the model's train_cfg, and soft labels from "
                'the data set'
            )
        return torch.cat([sample.gt_label for sample in data_samples])

    def _tap(self, head: nn.Module, args: tuple, output: Tensor) -> None:
        # A call of the method passes by this hook.
        self._logits = head.forward(args[0]) if _with_margin(head) else output


_TAUGHT = (
    'it has a second head for the distillation from another network, which '
    'mmpretrain cannot train'
)


def _several_labels(head: nn.Module) -> bool:
    return 'MultiLabelClsHead' in class_names(head)


def _with_margin(head: nn.Module) -> bool:
    return 'ArcFaceClsHead' in class_names(head)


def _use_sigmoid(loss: nn.Module) -> bool:
    """Whether a loss of mmpretrain takes the classes as independent."""
    if class_names(loss) & {'FocalLoss', 'AsymmetricLoss'}:
        return True
    # LabelSmoothLoss has the loss that it computes in `ce`.
    return bool(getattr(getattr(loss, 'ce', loss), 'use_sigmoid', False))


def plain_cross_entropy(loss: nn.Module) -> float:
    """Weight of a softmax cross-entropy of hard labels; 0 for other losses.

    Args:
        loss: A classification loss of mmpretrain or mmdet.
    """
    if type(loss).__name__ != 'CrossEntropyLoss':
        return 0.0
    changed = ('use_sigmoid', 'use_soft', 'use_mask', 'ignore_index')
    changed += ('class_weight', 'pos_weight')
    values = [getattr(loss, name, None) for name in changed]
    if any(value is not None and value is not False for value in values):
        return 0.0
    return float(loss.loss_weight) if loss.reduction == 'mean' else 0.0
