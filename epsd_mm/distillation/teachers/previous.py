"""Predictions of one step ago."""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from epsd_mm.memory import check_memory

from ..needs import Overlap
from ..observation import Observation, at_least_float32
from .base import Teacher, known_keys


class Previous(Teacher):
    """Logits of the samples of the step before, for DLB.

    Each process shares half of its batch with its own batch before, so that
    none has to know what another one has seen.
    """

    needs = Overlap()
    learns = True

    def __init__(self) -> None:
        self._places: dict[Hashable, int] = {}
        self._logits: Tensor | None = None
        self._everywhere: Sequence[dict] | None = None

    def remember(self, observation: Observation) -> None:
        self._everywhere = None
        keys = known_keys(observation)
        self._places = {key: place for place, key in enumerate(keys)}
        self._logits = at_least_float32(observation.logits.detach())

    def recall(self, observation: Observation) -> tuple[Tensor, Tensor]:
        logits = observation.logits.detach()
        places = [self._places.get(key, -1) for key in known_keys(observation)]
        places = torch.tensor(places, dtype=torch.long, device=logits.device)
        found = places >= 0
        rows = torch.zeros_like(logits)
        if found.any():
            before = self._logits.to(logits)
            rows[found] = before[places[found]]
        return rows, found

    def news(self) -> dict:
        logits = self._logits
        return dict(
            keys=list(self._places.items()),
            logits=None if logits is None else logits.cpu(),
        )

    def merge(self, parts: Sequence[dict]) -> None:
        self._everywhere = parts

    def state_dict(self) -> dict:
        """Rows of one process after the other, and how many each has."""
        parts = self._everywhere or [self.news()]
        logits = [part['logits'] for part in parts]
        counts = [0 if rows is None else len(rows) for rows in logits]
        starts = [sum(counts[:i]) for i in range(len(counts))]
        known = [rows for rows in logits if rows is not None]
        return dict(
            keys=[
                (key, start + place)
                for part, start in zip(parts, starts)
                for key, place in part['keys']
            ],
            logits=torch.cat(known) if known else None,
            counts=counts,
        )

    def load_state_dict(
        self, state: dict, rank: int = 0, world: int = 1
    ) -> None:
        """Each of as many processes as before has its own rows again.

        Among others a sample of the step before may be anybody's.
        """
        self.check_state(state)
        self._places, self._logits = dict(state['keys']), state['logits']
        counts = state.get('counts', ())
        if len(counts) != world or self._logits is None:
            return
        start = sum(counts[:rank])
        rows = range(start, start + counts[rank])
        self._logits = self._logits[start : rows.stop]
        self._places = {
            key: place - start for key, place in state['keys'] if place in rows
        }

    def check_state(self, state: dict) -> None:
        check_memory(state)
        try:
            places, logits = dict(state['keys']).values(), state['logits']
            rows = 0 if logits is None else len(logits)
            counts = state.get('counts', [rows])
            right = (
                set(state) - {'counts'} == {'keys', 'logits'}
                and all(type(n) is int and n >= 0 for n in counts)
                and sum(counts) == rows
                and all(type(place) is int for place in places)
                and all(0 <= place < rows for place in places)
                and (logits is None or _are_logits(logits))
            )
        except Exception as error:  # whatever a damaged state is made of
            raise ValueError(f'{type(error).__name__}: {error}') from error
        if not right:
            raise ValueError('keys and logits do not belong together')


def _are_logits(logits: Tensor) -> bool:
    return logits.dim() == 2 and logits.is_floating_point()
