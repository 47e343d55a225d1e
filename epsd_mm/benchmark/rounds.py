"""Rounds of training and pruning: a series of runs of a suite."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

#: The word of a suite for rounds as their authors have them.
IMP = 'IMP'
#: So many may lead to a sparsity: each is a whole training, and the key of
#: each covers all before it.
MOST_ROUNDS = 100
# Sparsities that differ by less are one.
_SAME = 1e-9


@dataclass(frozen=True)
class Rounds:
    """Iterative magnitude pruning, which finds lottery tickets.

    Round 0 trains the dense network. Each later one removes a share of what
    is left, the smallest of the trained weights, takes the others, and the
    schedule, back to where they were in round 0, and trains them on from
    there. The last one removes as little as brings it to the sparsity that
    is asked for (our choice).

    Source: Frankle & Carbin, ICLR 2019 (back to the initialisation); Frankle
    et al., ICML 2020 (back to an early step).

    Attributes:
        share: Of what is left, removed in each round.
        rewind: Back to what round 0 was after so many epochs, or iterations
            where training is told in them; 0 is initialisation.

    Raises:
        ValueError: A value is out of its range.
    """

    share: float = 0.2
    rewind: int = 0

    def __post_init__(self) -> None:
        number = isinstance(self.share, (int, float))
        if not number or not 0.01 <= self.share < 1:
            raise ValueError(
                f'rounds: share={self.share!r} must be in [0.01, 1)'
            )
        if type(self.rewind) is not int or self.rewind < 0:
            raise ValueError(
                f'rounds: rewind={self.rewind!r} must be a whole number of '
                'epochs (or iterations), not below 0'
            )

    @classmethod
    def build(cls, told: Any) -> 'Rounds':
        """From what a suite says: ``'IMP'``, or a dict of attributes.

        Raises:
            ValueError: It is neither.
        """
        if told == IMP:
            return cls()
        names = [field.name for field in fields(cls)]
        if not isinstance(told, Mapping) or not {*told} <= {*names}:
            raise ValueError(
                f'rounds={told!r} must be {IMP!r}, or dict(share=0.2, '
                f'rewind=0), of {" and ".join(names)} alone'
            )
        return cls(**told)

    def check(self, sparsity: float) -> None:
        """Raise where it takes too many rounds to a sparsity.

        Raises:
            ValueError: Says how many it takes.
        """
        rounds = math.log1p(-sparsity) / math.log1p(-self.share)
        if rounds > MOST_ROUNDS + _SAME:
            raise ValueError(
                f'rounds: share={self.share} takes {math.ceil(rounds)} '
                f'rounds to sparsity {sparsity:.6g}, each of them a whole '
                f'training, and at most {MOST_ROUNDS} are run: let share be '
                'more'
            )

    def before(self, sparsity: float) -> float | None:
        """Sparsity of the round before; None where that is the dense one."""
        last, left = None, 1.0 - self.share
        while (reached := round(1.0 - left, 12)) < sparsity - _SAME:
            last, left = reached, left * (1.0 - self.share)
        return last
