"""Why the predictions of some heads cannot be seen."""

from torch import nn

from ..kinds import class_names

#: By the class of the head, of mmdet's that a reason is known for.
_REASONS = {
    'AutoAssignHead': 'it weighs all points of a box, and assigns none',
    'CenterNetUpdateHead': (
        'it learns heat maps of whole boxes, and assigns no cell to an object'
    ),
    'ConformerHead': 'it has the predictions of two branches',
    'CornerHead': 'each of two corners of an object has a class of its own',
    'DeiTClsHead': (
        'its distillation token is taught by another network, which '
        'mmpretrain cannot train: take VisionTransformerClsHead'
    ),
    'GuidedAnchorHead': 'its anchors are predicted, and masked, before',
    'LDHead': 'it learns from a teacher already, which sets its losses',
    'ModuleList': 'they are several',
    'MultiInstanceRoIHead': 'each of its proposals stands for two objects',
    'MultiTaskHead': 'it has a head for each of several tasks',
    'PISARoIHead': 'it weighs single proposals by their rank',
    'PISASSDHead': 'it mines and weighs single anchors by their rank',
    'RegressionHead': 'it predicts numbers, not classes',
    'RepPointsHead': 'its points are assigned twice, in two stages',
    'YOLACTHead': 'it mines and weighs single anchors for masks',
}


def reason(head: nn.Module | None) -> str:
    """Why a head is refused, as the end of a sentence; empty if unknown."""
    if head is None:
        return ' (it has neither bbox_head nor roi_head nor head)'
    named = class_names(head) & set(_REASONS)
    return f' ({_REASONS[min(named)]})' if named else ''
