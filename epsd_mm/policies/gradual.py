"""Gradual magnitude pruning."""

import math

from epsd_mm.pruning.allocation import check_sparsity

from .base import MaskPolicy, check_schedule


class Gradual(MaskPolicy):
    """Magnitude pruning along a cubic schedule; nothing comes back.

    ::

        s_t = s_f + (s_0 − s_f) (1 − (t − t_0) / (n Δt))³
        t   = t_0, t_0 + Δt, …, t_0 + n Δt

    Zhu & Gupta, *To prune, or not to prune: exploring the efficacy of
    pruning for model compression*, ICLR workshop 2018, equation 1. Of the
    weights that are left, those with the smallest ``|θ|`` go; the target
    says whether all layers are ranked together. t counts the steps that the
    optimiser has made.

    Args:
        every: Δt, in steps.
        begin: t_0, as a share of training.
        end: Share of training after which nothing is removed; what is left
            of it is for recovering. The last update is the last ``t_0 + n Δt``
            until there.
        initial_sparsity: s_0. Masks of that sparsity are what training
            starts with; dense by default.
    """

    def __init__(
        self,
        every: int = 100,
        begin: float = 0.0,
        end: float = 0.75,
        initial_sparsity: float = 0.0,
    ) -> None:
        check_schedule(every, begin=begin, end=end)
        if begin >= end:
            raise ValueError(f'begin={begin} must be before end={end}')
        check_sparsity(initial_sparsity, 'initial_sparsity')
        self.every = every
        self.begin = begin
        self.end = end
        self.initial_sparsity = initial_sparsity

    def initial(self, sparsity):
        if self.initial_sparsity >= sparsity:
            raise ValueError(
                f'initial_sparsity={self.initial_sparsity} must be below '
                f'sparsity={sparsity}: nothing comes back'
            )
        return self.initial_sparsity

    def check_total(self, total):
        first, last = self._bounds(total)
        if first + self.every > last:
            remedy = f'give every={last - first} or less, or train for longer'
            if last <= first:
                remedy = 'train for longer, or let end be further from begin'
            raise ValueError(
                f'every={self.every} leaves no way from begin={self.begin} '
                f'to end={self.end} in a training of {total} steps: {remedy}'
            )

    def due(self, moment):
        return moment.step in self._steps(moment.total)

    def next(self, masks, weights, gradients, moment, target):
        steps = self._steps(moment.total)
        done = (moment.step - steps[0]) / (steps[-1] - steps[0])
        if done < 1:
            left = (1 - done) ** 3
            target = target.at(lambda final: self._sparsity(final, left))
        scores = {name: w.detach().abs() for name, w in weights.items()}
        return target.select(scores, within=masks)

    def _sparsity(self, final: float, left: float) -> float:
        initial = min(self.initial_sparsity, final)
        return final + (initial - final) * left

    def _steps(self, total: int) -> range:
        """The updates of a training."""
        first, last = self._bounds(total)
        return range(first, last + 1, self.every)

    def _bounds(self, total: int) -> tuple[int, int]:
        """Between which steps there are updates, both included."""
        # Shares such as 0.29 of 100 fall short of a whole number.
        first = math.ceil(self.begin * total - 1e-9)
        return first, math.floor(self.end * total + 1e-9)
