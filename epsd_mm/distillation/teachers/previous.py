"""Predictions of one step ago."""

from collections.abc import Hashable

import torch
from torch import Tensor

from ..observation import Observation, at_least_float32
from .base import Teacher, known_keys


class Previous(Teacher):
    """Logits of the samples of the step before, for DLB."""

    needs_overlap = True
    learns = True

    def __init__(self) -> None:
        self._places: dict[Hashable, int] = {}
        self._logits: Tensor | None = None

    def remember(self, observation: Observation) -> None:
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

    def state_dict(self) -> dict:
        logits = self._logits
        return dict(
            keys=list(self._places.items()),
            logits=None if logits is None else logits.cpu(),
        )

    def load_state_dict(self, state: dict) -> None:
        self._places = dict(state['keys'])
        self._logits = state['logits']
