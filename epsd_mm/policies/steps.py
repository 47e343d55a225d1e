"""Steps that an optimiser makes."""

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer

from epsd_mm.pruning.optimizer_state import with_wrapped


class Steps:
    """Calls a function after each step, whoever makes it.

    A step of a wrapper that has those it wraps make theirs, as a Lookahead
    does, is one; and so is a step that one of them is asked for by another
    method of the wrapper, such as ``second_step`` of SAM.

    Args:
        optimizer: Whose steps count, and those of what it wraps.
        call: Takes the optimiser that has been asked for the step.
    """

    def __init__(
        self, optimizer: Optimizer, call: Callable[[Optimizer], None]
    ) -> None:
        self._call = call
        self._under_way: set[Optimizer] = set()
        self._handles = []
        for each in with_wrapped(optimizer):
            self._handles += [
                each.register_step_pre_hook(self._before),
                each.register_step_post_hook(self._after),
            ]

    def release(self) -> None:
        """Call no more."""
        for handle in self._handles:
            handle.remove()

    def _before(self, optimizer: Optimizer, *unused: Any) -> None:
        self._under_way.add(optimizer)

    def _after(self, optimizer: Optimizer, *unused: Any) -> None:
        self._under_way.discard(optimizer)
        if not self._under_way:
            self._call(optimizer)
