"""What the processes of a distributed job tell each other."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import mmengine.dist as dist
import torch
from torch import distributed

from epsd_mm.pruning import Alone, Masks, Scoring


class Ranks(Alone):
    """Rank k of W makes the draws k, k + W, … and sends them to the others.

    Nothing communicates but :meth:`agree` and :meth:`collect`, and no draw
    does while it is made. Draws are added in their order, whoever made
    them: every process ends with the very scores that a single one would
    have.

    Args:
        device: Where the processes meet.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def own(self, draws: range) -> range:
        return draws[dist.get_rank() :: dist.get_world_size()]

    def agree(self, value: Any) -> Any:
        if dist.get_world_size() == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]

    def collect(
        self,
        attempt: Callable[[Scoring, Iterable[int]], Scoring],
        draws: range,
        prunable: Masks,
        into: Scoring,
        after_draw: Callable[[], None],
    ) -> None:
        """Add all draws, or raise everywhere what went wrong once.

        Raises:
            RuntimeError: Scoring failed in another process; says how.
        """
        rank, world = dist.get_rank(), dist.get_world_size()
        if world == 1:
            super().collect(attempt, draws, prunable, into, after_draw)
            return
        for start in range(0, len(draws), world):
            turn = draws[start : start + world]
            own = _Kept()
            _together(attempt, own, turn[rank : rank + 1])
            for source, draw in enumerate(turn):
                self._pass_on(own, draw, source, prunable, into)
            after_draw()

    def _pass_on(
        self,
        own: '_Kept',
        draw: int,
        source: int,
        prunable: Masks,
        into: Scoring,
    ) -> None:
        share, notes = own.kept.pop(draw, ({}, None))
        received = [(notes, _dtype(share))]
        dist.broadcast_object_list(received, src=source)
        notes, dtype = received[0]
        for name, mask in prunable.items():
            if name not in share:
                share[name] = torch.empty(mask.shape, dtype=dtype)
            share[name] = share[name].to(self.device).contiguous()
            dist.broadcast(share[name], src=source)
        into.take(draw, share, notes)


@contextmanager
def undistributed() -> Iterator[None]:
    """Whoever asks in here is told that this process is the only one.

    Samplers take the share of their rank where they are told one, and many
    heads of detectors average over all processes in the middle of a loss:
    a draw is of one process alone.
    """
    if not distributed.is_available():
        yield
        return
    world = distributed.GroupMember.WORLD
    distributed.GroupMember.WORLD = None
    try:
        yield
    finally:
        distributed.GroupMember.WORLD = world


class _Kept(Scoring):
    """Keeps each draw for the others."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[int, tuple[dict, dict]] = {}

    def take(self, draw, share, notes):
        self.kept[draw] = share, notes


def _dtype(share: dict) -> torch.dtype | None:
    return next((tensor.dtype for tensor in share.values()), None)


def _together(
    attempt: Callable[[Scoring, Iterable[int]], Scoring],
    own: Scoring,
    draws: Iterable[int],
) -> None:
    """Raise in every process what went wrong in one of them."""
    error = None
    try:
        with undistributed():
            attempt(own, draws)
    except Exception as e:
        error = e
    messages = dist.all_gather_object(error and f'{error}')
    if error is not None:
        raise error
    failed = [message for message in messages if message]
    if failed:
        raise RuntimeError(f'scoring failed in another process: {failed[0]}')
