"""Predictions of other samples of the same class."""

import torch
from torch import Tensor

from ..needs import Pairs
from ..observation import Observation
from .base import Teacher


class Partner(Teacher):
    """Logits of partner images, for CS-KD.

    A sample is compared with a sample of its own class: one of its own
    image's partner if there is one, else one of another partner, drawn
    uniformly. In a cascade both predictions are of the same stage.
    """

    needs = Pairs()

    def __init__(self) -> None:
        self._partners: Observation | None = None

    def remember(self, observation: Observation) -> None:
        self._partners = observation.detach()

    def recall(self, observation: Observation) -> tuple[Tensor, Tensor]:
        partners = self._partners
        if partners is None:
            raise RuntimeError(
                'no partner was observed before the recall: call '
                'remember(observation) with the predictions for partners '
                'first'
            )
        if not len(partners) or not len(observation):
            rows = torch.zeros_like(observation.logits).detach()
            return rows, torch.zeros_like(observation.labels).bool()
        same_class = observation.labels[:, None] == partners.labels
        if observation.stages is not None:
            same_class &= observation.stages[:, None] == partners.stages
        same_image = observation.images[:, None] == partners.images
        chance = torch.rand(same_class.shape).to(same_class.device)
        preference = same_class * (1 + same_image + chance)
        best = preference.argmax(dim=1)
        return partners.logits[best], same_class.any(dim=1)
