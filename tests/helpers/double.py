"""Double precision where mmdet has targets in single precision."""

import sys
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch


@contextmanager
def double_targets(head):
    """Let targets be what predictions are: mmdet has single precision.

    That is of a head, its priors, assigners, coders and losses.
    """
    parts = (*vars(head).values(), *head.children())
    parts = [part for part in parts if _of_mmdet(part)]
    kinds = {kind for part in (head, *parts) for kind in type(part).__mro__}
    modules = {sys.modules[k.__module__] for k in kinds}
    with ExitStack() as patches:
        patches.enter_context(
            patch.object(torch.Tensor, 'float', torch.Tensor.double)
        )
        for module in modules:
            if _of_mmdet(module) and hasattr(module, 'torch'):
                patches.enter_context(patch.object(module, 'torch', _Double()))
        for part in parts:
            if hasattr(part, 'grid_priors'):
                priors = _in_double(part.grid_priors)
                patches.enter_context(
                    patch.object(part, 'grid_priors', priors)
                )
        yield


def assigns_by_predictions(head):
    """Whether a head asks its predictions what belongs to which object."""
    assigner = getattr(head, 'assigner', None)
    return type(assigner).__module__.endswith(
        ('sim_ota_assigner', 'dynamic_soft_label_assigner')
    )


def _of_mmdet(part):
    name = getattr(part, '__name__', None) or type(part).__module__
    return str(name).startswith('mmdet.')


def _in_double(grid_priors):
    def priors(*args, **kwargs):
        return [level.double() for level in grid_priors(*args, **kwargs)]

    return priors


class _Double:
    float = float32 = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)
