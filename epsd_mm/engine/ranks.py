"""Draws divided among the processes of a distributed job."""

from collections.abc import Callable

import mmengine.dist as dist
import torch

from epsd_mm.pruning import Alone, Masks, Scoring


class Ranks(Alone):
    """Rank k of W makes the draws k, k + W, …; their scores are added up.

    Nothing communicates but :meth:`collect`, once a round. Every process
    ends with the same scores, and with those that one process would have.

    Args:
        device: Where the processes meet.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def own(self, draws: range) -> range:
        return draws[dist.get_rank() :: dist.get_world_size()]

    def collect(
        self, attempt: Callable[[], Scoring], prunable: Masks
    ) -> Scoring:
        """Add up, or raise everywhere what went wrong somewhere.

        Raises:
            RuntimeError: Scoring failed in another process; says how.
        """
        if dist.get_world_size() == 1:
            return attempt()
        error, scoring = None, Scoring()
        try:
            scoring = attempt()
        except Exception as e:
            error = e
        messages = dist.all_gather_object(error and f'{error}')
        if error is not None:
            raise error
        failed = [message for message in messages if message]
        if failed:
            raise RuntimeError(
                f'scoring failed in another process: {failed[0]}'
            )
        total = Scoring()
        for own, added in (
            (scoring.scores, total.scores),
            (scoring.even, total.even),
        ):
            for name, mask in prunable.items():
                share = own.get(name)
                if share is None:
                    share = torch.zeros(mask.shape, dtype=torch.float64)
                added[name] = share.to(self.device)
                dist.all_reduce(added[name])
        for notes in dist.all_gather_object(scoring.draws):
            total.draws.extend(notes)
        return total
