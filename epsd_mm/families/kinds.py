"""What a model is, told by names: nothing of mmdet or mmpretrain is loaded."""

from torch import nn


def class_names(obj: object) -> set[str]:
    """Names of the classes that an object is an instance of."""
    return {base.__name__ for base in type(obj).__mro__}


def is_detector(model: nn.Module) -> bool:
    """Whether a model learns boxes or masks of objects."""
    if 'BaseDetector' in class_names(model):  # mmdet's, whatever their heads
        return True
    heads = ('bbox_head', 'roi_head', 'rpn_head')
    # A semi-supervised one is made of two detectors.
    parts = (model, getattr(model, 'student', None))
    return any(hasattr(part, head) for part in parts for head in heads)


def num_classes(model: nn.Module) -> int | None:
    """Classes of a classifier's or detector's head, if it tells."""
    head = getattr(model, 'head', getattr(model, 'roi_head', model))
    head = getattr(head, 'bbox_head', head)
    if isinstance(head, nn.ModuleList):  # a cascade's
        head = head[0]
    classes = getattr(head, 'num_classes', None)
    return classes if isinstance(classes, int) else None
