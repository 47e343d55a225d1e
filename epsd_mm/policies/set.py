"""SET."""

import torch

from epsd_mm.pruning.scoring import draw_seed

from .drop_and_grow import DropAndGrow


class SET(DropAndGrow):
    """Sparse evolutionary training: what grows is drawn at random.

    Mocanu et al., *Scalable training of artificial neural networks with
    adaptive sparse connectivity inspired by network science*, Nature
    Communications 2018, in the form of RigL's authors: it has their
    schedule. Seed and step settle what is drawn, on every device alike.
    """

    def growth(self, masks, gradients, moment):
        seed = draw_seed(moment.seed, moment.step)
        generator = torch.Generator().manual_seed(seed)
        return {
            name: torch.rand(mask.shape, generator=generator)
            for name, mask in masks.items()
        }
