"""What every teacher offers."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence

from torch import Tensor

from ..needs import Need
from ..observation import Observation


class OtherTeacherError(ValueError):
    """A state is whole, but it is that of another teacher."""


class Teacher(ABC):
    """Holds earlier predictions and gives them back as constants.

    Attributes:
        needs: What it needs of the batches, and is shown of them.
        learns: The predictions of each step are remembered after it, and
            belong into a checkpoint.
        shared: What one process has seen another may have to recall.
    """

    needs: Need = Need()
    learns: bool = False
    shared: bool = False

    @abstractmethod
    def remember(self, observation: Observation) -> None:
        """Take predictions. Called outside of a forward pass only."""

    @abstractmethod
    def recall(self, observation: Observation) -> tuple[Tensor, Tensor]:
        """Find a prediction for each observed sample. Reads only.

        Args:
            observation: ``n`` samples.

        Returns:
            Rows of shape (n, C), and a bool tensor of shape (n,) that says
            where there is one; the other rows mean nothing.
        """

    def state_dict(self) -> dict:
        """Tensors and plain values from which it can go on."""
        return {}

    def load_state_dict(
        self, state: dict, rank: int = 0, world: int = 1
    ) -> None:
        """Go on from :meth:`state_dict`, as one process of so many.

        Raises:
            ValueError: It is not such a state, see :meth:`check_state`.
        """

    def check_state(self, state: dict) -> None:
        """Look whether it can go on from a state, and change nothing.

        Raises:
            OtherTeacherError: It belongs to a teacher of other settings.
            ValueError: Says what is wrong with it.
        """
        if state:
            raise OtherTeacherError(
                f'{type(self).__name__} remembers nothing, but the state has '
                f'{", ".join(map(str, state))}: it is of a run with another '
                'sd_loss, resume with that one'
            )

    def news(self) -> dict:
        """What this process has learned since the last :meth:`merge`."""
        return {}

    def merge(self, parts: Sequence[dict]) -> None:
        """Take the news of all processes, in their order, own included.

        Until it learns again, :meth:`state_dict` is that of all of them.
        """


def known_keys(observation: Observation) -> Sequence[Hashable]:
    """The keys of all samples.

    Raises:
        TypeError: A sample has none.
    """
    keys = observation.keys
    if keys is None or any(key is None for key in keys):
        raise TypeError(
            'the samples carry no key that identifies them across steps: '
            "the packing transform's meta_keys must contain 'img_path' or "
            "'sample_idx' (they do by default), and a detector's objects "
            'need the numbers that epsd_mm.datasets.number_objects(dataset) '
            'lets the training set give them'
        )
    return keys
