"""The order in which scoring goes through the training set."""

from collections.abc import Iterator, Sized

import torch
from torch.utils.data import Sampler


class UniformSampler(Sampler):
    """Every index once, in an order that depends on the seed alone.

    Unlike ``DefaultSampler`` it gives every process the same order.

    Args:
        dataset: The data set.
        seed: Seed of the order.
    """

    def __init__(self, dataset: Sized, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(self.dataset), generator=generator)
        return iter(order.tolist())

    def __len__(self) -> int:
        return len(self.dataset)
