"""Draws divided among the processes of a distributed job."""

from collections.abc import Callable

import mmengine.dist as dist
import torch

from epsd_mm.pruning import Alone, Masks, Scoring


class Ranks(Alone):
    """Rank k of W makes the draws k, k + W, … and sends them to the others.

    Nothing communicates but :meth:`collect`, once a round. Draws are added
    in their order, whoever made them: every process ends with the very
    scores that a single one would have.

    Args:
        device: Where the processes meet.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def own(self, draws: range) -> range:
        return draws[dist.get_rank() :: dist.get_world_size()]

    def collect(
        self,
        attempt: Callable[[Scoring], Scoring],
        draws: range,
        prunable: Masks,
    ) -> Scoring:
        """Scores of all draws, or raise everywhere what went wrong once.

        Raises:
            RuntimeError: Scoring failed in another process; says how.
        """
        world = dist.get_world_size()
        if world == 1:
            return attempt(Scoring())
        own = _Kept()
        _together(attempt, own)
        total = Scoring()
        for place, draw in enumerate(draws):
            share, notes = own.kept.pop(draw, ({}, None))
            received = [(notes, _dtype(share))]
            dist.broadcast_object_list(received, src=place % world)
            notes, dtype = received[0]
            for name, mask in prunable.items():
                if name not in share:
                    share[name] = torch.empty(mask.shape, dtype=dtype)
                share[name] = share[name].to(self.device).contiguous()
                dist.broadcast(share[name], src=place % world)
            total.take(draw, share, notes)
        return total


class _Kept(Scoring):
    """Keeps each draw for the others."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[int, tuple[dict, dict]] = {}

    def take(self, draw, share, notes):
        self.kept[draw] = share, notes


def _dtype(share: dict) -> torch.dtype | None:
    return next((tensor.dtype for tensor in share.values()), None)


def _together(attempt: Callable[[Scoring], Scoring], own: Scoring) -> None:
    """Raise in every process what went wrong in one of them."""
    error = None
    try:
        attempt(own)
    except Exception as e:
        error = e
    messages = dist.all_gather_object(error and f'{error}')
    if error is not None:
        raise error
    failed = [message for message in messages if message]
    if failed:
        raise RuntimeError(f'scoring failed in another process: {failed[0]}')
