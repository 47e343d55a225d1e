"""Predictions of a network that was trained before."""

import torch
from torch import Tensor

from ..needs import Lesson
from ..observation import Observation
from .base import Teacher


class Trained(Teacher):
    """Logits of a trained network for the samples of this very step.

    It is shown what that network predicts for the images of a step, as they
    were augmented, just before the step. An image has the row of that image,
    an object that of that object at the same stage of a cascade, or layer
    of a decoder. An object that the network has no prediction for is left
    out, and so are stages that it has beyond those asked for.
    """

    needs = Lesson()

    def __init__(self) -> None:
        self._seen: Observation | None = None

    def remember(self, observation: Observation) -> None:
        self._seen = observation.detach()

    def recall(self, observation: Observation) -> tuple[Tensor, Tensor]:
        seen = self._seen
        if seen is None:
            raise RuntimeError(
                'the trained network was not asked before the recall: call '
                'remember(observation) with its predictions for the images '
                'of the step first'
            )
        logits = observation.logits.detach()
        _check_alike(seen, observation)
        rows = torch.zeros_like(logits)
        found = torch.zeros_like(observation.labels, dtype=torch.bool)
        if not len(seen) or not len(logits):
            return rows, found
        there, asked = _numbered(seen, observation)
        order = there.argsort()
        place = torch.searchsorted(there[order], asked)
        place = order[place.clamp(max=len(there) - 1)]
        found = there[place] == asked
        rows[found] = seen.logits[place[found]].to(rows)
        return rows, found


def _check_alike(seen: Observation, observation: Observation) -> None:
    """Raise where two predictions are not of the same classes.

    Raises:
        ValueError: Says how they differ.
    """
    forms = [
        f'{o.logits.shape[1]} '
        + ('independent classes' if o.use_sigmoid else 'of one distribution')
        for o in (seen, observation)
    ]
    if forms[0] != forms[1]:
        raise ValueError(
            f'the teacher predicts {forms[0]} and the student {forms[1]}: '
            'take a teacher with a head for the same classes'
        )
    if seen.stages is None or observation.stages is None:
        return
    if not len(seen) or not len(observation):
        return
    deepest = [int(o.stages.max()) + 1 for o in (seen, observation)]
    if deepest[0] < deepest[1]:
        raise ValueError(
            f'the student predicts objects in {deepest[1]} stages or layers '
            f'and the teacher in {deepest[0]}: take a teacher that has as '
            'many'
        )


def _numbered(*several: Observation) -> list[Tensor]:
    """One number for what each row is of, the same in all of them."""
    parts = [_identity(observation) for observation in several]
    sizes = torch.cat(parts).amax(dim=0) + 1
    return [
        (stage * sizes[1] + image) * sizes[2] + place
        for stage, image, place in (part.unbind(dim=1) for part in parts)
    ]


def _identity(observation: Observation) -> Tensor:
    """Stage, image and object of each row, int64, shape (n, 3)."""
    none = torch.zeros_like(observation.images)
    stages, objects = observation.stages, observation.objects
    return torch.stack(
        [
            none if stages is None else stages,
            observation.images,
            none if objects is None else objects,
        ],
        dim=1,
    )
