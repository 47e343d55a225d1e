"""Predictions of FCOS."""

from .numbered import NumberedObserver


class FCOSObserver(NumberedObserver):
    """The sample is an annotated object, see :class:`AssignedObserver`.

    Its prediction is the mean over the points that are to regress its box
    (Tian et al., ICCV 2019): logits of the classes, without centerness. Of
    objects with the very same box the first has them all. For mmdet's
    ``FCOSHead`` and CondInst's; heads that assign otherwise are not accepted.
    """

    head = 'FCOSHead'
    owners = frozenset({'FCOSHead', 'CondInstBboxHead'})
