"""What every policy offers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from epsd_mm.pruning import Masks, Structure, Target, Weights


@dataclass(frozen=True)
class Moment:
    """A point of a training.

    Attributes:
        step: Steps that the optimiser has made; skipped ones do not count.
        total: Steps of the whole training.
        seed: Of what is drawn at random.
    """

    step: int
    total: int
    seed: int = 0

    @property
    def share(self) -> float:
        """Share of the training that is done."""
        return self.step / self.total


class MaskPolicy(ABC):
    """Says when the masks of a training change, and into which.

    Attributes:
        dense_gradients: Whether removed weights are ranked by the gradient
            that they would have.
        regrows: Whether weights come back, one by one.
    """

    dense_gradients: bool = False
    regrows: bool = False

    @abstractmethod
    def due(self, moment: Moment) -> bool:
        """Whether masks change just after this step."""

    @abstractmethod
    def next(
        self,
        masks: Masks,
        weights: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        moment: Moment,
        target: Target,
    ) -> Masks:
        """The masks that hold from now on.

        Args:
            masks: Those in force.
            weights: By name, as the step has left them.
            gradients: Of the step's loss, of all weights as if none were
                removed, by name and up to one factor; nothing unless
                ``dense_gradients``. A weight that the step did not reach
                has none.
            moment: When.
            target: What is asked of the masks at the end.
        """

    def initial(self, sparsity: float) -> float:
        """Sparsity of the masks that training starts with.

        Args:
            sparsity: That of the end.

        Raises:
            ValueError: There is no way from one to the other.
        """
        return sparsity

    def check(self, structure: Structure | None) -> None:
        """Raise where single weights would grow out of what goes together.

        Raises:
            ValueError: Names the structure.
        """
        if self.regrows and not isinstance(structure, Weights | None):
            raise ValueError(
                f'{type(self).__name__} grows single weights, which '
                f'{type(structure).__name__} keeps together: remove '
                'structure, or take a policy that grows nothing, such as '
                'Gradual'
            )

    def check_total(self, total: int) -> None:
        """Raise where a training is too short for the policy.

        Args:
            total: Steps of the training.

        Raises:
            ValueError: Says how many steps it needs.
        """

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs besides masks and moment.

        What changes while it trains is kept in attributes that begin with
        an underscore; others are settings, which a resumed run must have.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that :meth:`state_dict` has returned."""


def check_schedule(every: Any, **shares: Any) -> None:
    """Raise unless a schedule lies in training.

    Args:
        every: Steps from one update to the next.
        shares: Where in training it begins or ends, by name.

    Raises:
        ValueError: Quotes what is wrong.
    """
    if type(every) is not int or every < 1:
        raise ValueError(f'every={every!r} must be an integer >= 1, in steps')
    for name, share in shares.items():
        number = isinstance(share, (int, float)) and share is not True
        if not number or not 0 <= share <= 1:
            raise ValueError(
                f'{name}={share!r} must be a share of training in [0, 1], '
                'beyond which nothing is updated: 0.75 for three quarters'
            )
