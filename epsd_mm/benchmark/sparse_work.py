"""What the steps of a training multiply by, with zeros and without."""

from typing import Any

from torch import nn

from epsd_mm.engine.saved_state import SavedState
from epsd_mm.engine.settings import Settings
from epsd_mm.engine.training_losses import training_multiplications
from epsd_mm.policies import Moment
from epsd_mm.quantities import Quantity


def training_work(
    model: nn.Module,
    batch: Any,
    settings: Settings | None,
    saved: SavedState,
) -> dict[str, Quantity]:
    """What a pass of a training multiplies by, of the layers with a weight.

    Args:
        model: As it has trained.
        batch: Of its training.
        settings: Of its hook, if it prunes.
        saved: What its last checkpoint says of the masks.

    Returns:
        ``training/weights`` and ``training/multiply_adds``, of an image on
        this batch, zeros included; and ``training/sparse_share``, that of
        weights that are not zero in these, a mean over all steps. Where a
        policy ranks removed weights by their gradient, the steps of which it
        does calculate all of it: a third of a step, that is.
    """
    times = training_multiplications(batch, model)
    sizes = {n: p.numel() for n, p in model.named_parameters() if n in times}
    density = _densities(saved)
    done = sum(times[n] * sizes[n] * density.get(n, 1.0) for n in times)
    work = sum(times[n] * sizes[n] for n in times)
    share = done / work
    share += _dense_steps(settings, saved) * (1 - share) / 3
    return {
        'training/weights': Quantity(sum(sizes.values())),
        'training/multiply_adds': Quantity(work / len(batch['inputs'])),
        'training/sparse_share': Quantity(share),
    }


def _densities(saved: SavedState) -> dict[str, float]:
    """Of each layer that has a mask, the mean over all steps."""
    if saved.masks is None:
        return {}
    if saved.policy is None:
        return {n: of['density'] for n, of in saved.masks.layers().items()}
    steps = saved.policy['step']
    return {
        name: kept / steps / saved.masks[name].numel()
        for name, kept in saved.policy['kept_steps'].items()
    }


def _dense_steps(settings: Settings | None, saved: SavedState) -> float:
    """Share of the steps that calculate the gradients of all weights."""
    if saved.policy is None or not settings.policy.dense_gradients:
        return 0.0
    steps, total = saved.policy['step'], saved.policy['total']
    due = sum(
        settings.policy.due(Moment(step, total))
        for step in range(1, steps + 1)
    )
    return due / steps
