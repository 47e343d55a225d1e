"""Predictions of FoveaBox."""

from .numbered import NumberedObserver


class FoveaBoxObserver(NumberedObserver):
    """The sample is an annotated object, see :class:`AssignedObserver`.

    Its prediction is the mean over the cells in the middle of its box, on
    all levels for its size (Kong et al., *FoveaBox*, TIP 2020), but for those
    that a smaller object has. For mmdet's ``FoveaHead``.
    """

    head = 'FoveaHead'
    owners = frozenset({'FoveaHead'})
