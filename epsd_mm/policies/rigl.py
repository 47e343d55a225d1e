"""RigL."""

from .drop_and_grow import DropAndGrow


class RigL(DropAndGrow):
    """What grows has the largest gradient ``|∂L/∂θ|``.

    Of the loss of the step that the update follows, as if no weight were
    removed: summed over its accumulated batches and all processes. A layer
    in which that is exactly zero stays as it is. Evci et al., *Rigging the
    Lottery: Making All Tickets Winners*, ICML 2020.
    """

    dense_gradients = True

    def growth(self, masks, gradients, moment):
        if not gradients:
            raise ValueError(
                'RigL ranks removed weights by their dense gradient, and '
                'there is none: gradients are masked as they arise, so let '
                'MaskUpdates take them, or give them to next()'
            )
        return {
            name: gradients[name].abs()
            for name in masks
            if name in gradients and gradients[name].count_nonzero()
        }
