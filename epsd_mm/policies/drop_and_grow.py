"""Sparse from start to end: as many weights come as go, in each layer."""

import math
from abc import abstractmethod
from collections.abc import Mapping

from torch import Tensor

from epsd_mm.pruning import Masks
from epsd_mm.pruning.selection import comparable, top

from .base import MaskPolicy, Moment, check_schedule


class DropAndGrow(MaskPolicy):
    """Drops the smallest weights of each layer and grows as many others.

    ::

        t = ΔT, 2 ΔT, … < T_end
        k = ⌊ f(t) n ⌋ of the n weights of a layer,
        f(t) = α/2 (1 + cos(π t / T_end))

    Those with the smallest ``|θ|`` go; then the highest ``growth`` of all
    that are not held come, which may be some that just went. A weight that
    comes back starts at zero. Evci et al., *Rigging the Lottery: Making All
    Tickets Winners*, ICML 2020, algorithm 1. There an update takes the place
    of the optimiser's step; here it follows it (our choice).

    Args:
        every: ΔT, in steps.
        fraction: α.
        end: T_end, as a share of training.
    """

    regrows = True

    def __init__(
        self, every: int = 100, fraction: float = 0.3, end: float = 0.75
    ) -> None:
        check_schedule(every, end=end)
        if not end:
            raise ValueError(
                f'end={end!r} is before the first step, so that nothing would '
                "be updated: give a share above 0, or take policy='Fixed'"
            )
        number = isinstance(fraction, (int, float)) and fraction is not True
        if not number or not 0 < fraction <= 1:
            raise ValueError(
                f'fraction={fraction!r} must be a number in (0, 1]: what is '
                'dropped of a layer at the start, 0.3 for 30 %'
            )
        self.every = every
        self.fraction = fraction
        self.end = end

    @abstractmethod
    def growth(
        self,
        masks: Masks,
        gradients: Mapping[str, Tensor],
        moment: Moment,
    ) -> Mapping[str, Tensor]:
        """What ranks weights that may come back, by name.

        A layer that is left out stays as it is.
        """

    def check_total(self, total):
        last = self._last(total)
        if self.every > last:
            remedy = f'give every={last} or less, or train for longer'
            raise ValueError(
                f'every={self.every} leaves no update before end={self.end} '
                f'of a training of {total} steps: '
                + (remedy if last else 'train for longer, or to a later end')
            )

    def due(self, moment):
        within = 0 < moment.step <= self._last(moment.total)
        return within and moment.step % self.every == 0

    def _last(self, total: int) -> int:
        """The last step before T_end, at which nothing would move."""
        # Shares such as 0.07 of 100 exceed a whole number.
        return math.ceil(self.end * total - 1e-9) - 1

    def next(self, masks, weights, gradients, moment, target):
        share = self.dropped(moment)
        growth = comparable(self.growth(masks, gradients, moment))
        sizes = comparable({n: weights[n].detach().abs() for n in growth})
        changed = {
            name: _changed(masks[name], sizes[name], growth[name], share)
            for name in growth
        }
        return Masks({name: changed.get(name, masks[name]) for name in masks})

    def dropped(self, moment: Moment) -> float:
        """f(t): the share of its weights that each layer drops."""
        angle = math.pi * moment.step / (self.end * moment.total)
        return self.fraction / 2 * (1 + math.cos(angle))


def _changed(
    mask: Tensor, size: Tensor, growth: Tensor, share: float
) -> Tensor:
    """The mask of a layer: the largest are held, and as many grow."""
    held = mask.reshape(-1)
    kept = int(held.sum())
    # What is computed as 2.9999999 is three.
    count = math.floor(share * kept + 1e-9)
    size = size.reshape(-1).masked_fill(~held, -math.inf)
    held = top(size, kept - count)
    growth = growth.reshape(-1).masked_fill(held, -math.inf)
    return (held | top(growth, count)).view(mask.shape)
