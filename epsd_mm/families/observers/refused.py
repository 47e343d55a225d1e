"""Why the predictions of some heads cannot be seen."""

from torch import nn

from ..kinds import class_names

#: By the class of the head, of mmdet's that a reason is known for.
_REASONS = {
    'AutoAssignHead': 'it weighs all points of a box, and assigns none',
    'CenterNetUpdateHead': (
        'it learns heat maps of whole boxes, and assigns no cell to an object'
    ),
    'CornerHead': 'each of two corners of an object has a class of its own',
    'FreeAnchorRetinaHead': (
        'it weighs a bag of anchors of each object, and assigns none'
    ),
    'GuidedAnchorHead': 'its anchors are predicted, and masked, before',
    'LADHead': 'another network, its teacher, assigns the anchors',
    'LDHead': 'it learns from a teacher already, which sets its losses',
    'ModuleList': 'they are several',
    'PISASSDHead': 'it mines and weighs single anchors by their rank',
    'RepPointsHead': 'its points are assigned twice, in two stages',
    'YOLACTHead': 'it mines and weighs single anchors for masks',
}


def reason(head: nn.Module | None) -> str:
    """Why a head is refused, as the end of a sentence; empty if unknown."""
    if head is None:
        return ' (it has neither bbox_head nor roi_head nor head)'
    named = class_names(head) & set(_REASONS)
    return f' ({_REASONS[min(named)]})' if named else ''
