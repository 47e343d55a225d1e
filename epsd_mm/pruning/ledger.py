"""How far a search has come."""

from dataclasses import dataclass, field
from typing import Any

from epsd_mm.memory import check_memory

from .masks import Masks
from .scoring import Scoring


@dataclass(frozen=True)
class Ledger:
    """All that the next draw of a search depends on, and its sums.

    A search that goes on from one ends with the very masks of a search that
    nothing has interrupted, on any number of processes.

    Attributes:
        round: Number of the round, from 1.
        masks: What earlier rounds have left; ``None`` in the first.
        notes: Of the draws of earlier rounds.
        scoring: Sums over the draws of this round so far, in their order.
    """

    round: int = 1
    masks: Masks | None = None
    notes: list[dict] = field(default_factory=list)
    scoring: Scoring = field(default_factory=Scoring)

    @property
    def draws(self) -> int:
        """Number of draws in this round and in those before."""
        return len(self.notes) + len(self.scoring.draws)

    def pack(self) -> dict[str, Any]:
        """Tensors and plain values, for ``torch.load(weights_only=True)``."""
        return dict(
            round=self.round,
            # (what is ranked may be other things than weights)
            masks=self.masks and Masks.pack(self.masks),
            notes=self.notes,
            even=self.scoring.even,
            odd=self.scoring.odd,
            draws=self.scoring.draws,
        )

    @classmethod
    def unpack(cls, packed: dict[str, Any]) -> 'Ledger':
        """What :meth:`pack` has packed.

        Raises:
            ValueError: Its tensors claim more than they hold.
        """
        check_memory(packed)
        scoring = Scoring()
        scoring.even, scoring.odd = packed['even'], packed['odd']
        scoring.draws = packed['draws']
        masks = packed['masks'] and Masks.unpack(packed['masks'])
        return cls(packed['round'], masks, packed['notes'], scoring)
