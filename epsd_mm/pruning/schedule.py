"""How an iterative criterion comes down to its final density."""

from dataclasses import dataclass, field

KINDS = ('exponential', 'linear')


@dataclass(frozen=True)
class Schedule:
    """The densities after each of ``rounds`` rounds, for a final one κ.

    ::

        exponential   κ^(k / rounds)                k = 1 … rounds
        linear        1 − (1 − κ) k / rounds

    Raises:
        ValueError: ``rounds`` is no positive integer or ``kind`` unknown.
    """

    rounds: int = 1
    kind: str = 'exponential'

    def __post_init__(self) -> None:
        if type(self.rounds) is not int or self.rounds < 1:
            raise ValueError(f'rounds={self.rounds!r} must be an integer >= 1')
        if self.kind not in KINDS:
            raise ValueError(
                f'schedule={self.kind!r} must be one of {", ".join(KINDS)}'
            )

    def sparsities(self, final: float) -> list[float]:
        """Fractions removed after each round; the last is ``final``."""
        return [self.sparsity(final, k) for k in range(1, self.rounds + 1)]

    def sparsity(self, final: float, k: int) -> float:
        """Fraction removed after round ``k``, counted from 1."""
        share = k / self.rounds
        if k == self.rounds:
            return final
        if self.kind == 'linear':
            return final * share
        return 1 - (1 - final) ** share


@dataclass(frozen=True)
class FirstAndFinal(Schedule):
    """Two rounds, the first of which leads to a sparsity of its own.

    Raises:
        ValueError: ``first`` is not in (0, 1).
    """

    rounds: int = field(default=2, init=False)
    kind: str = field(default='first and final', init=False)
    first: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.first < 1:
            raise ValueError(f'first={self.first!r} must be in (0, 1)')

    def sparsity(self, final: float, k: int) -> float:
        return self.first if k == 1 else final
