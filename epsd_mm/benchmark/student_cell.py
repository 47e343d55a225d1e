"""Cells whose network is as large as what their teacher keeps."""

from collections.abc import Mapping

from mmengine.config import Config
from mmengine.runner import Runner
from torch import Tensor, nn

from epsd_mm.engine.checks import unwrapped
from epsd_mm.engine.initial_model import build_untrained
from epsd_mm.engine.safe_loading import load_values
from epsd_mm.engine.saved_state import saved_masks
from epsd_mm.engine.scoring_data import scoring_batches
from epsd_mm.engine.settings import settings_of
from epsd_mm.engine.training_losses import training_multiplications
from epsd_mm.quantities import Quantity


def student_figures(cfg: Config, runner: Runner) -> dict[str, Quantity]:
    """How small a student is beside the whole network of its teacher.

    Counted are the layers that multiply by a weight, in a step of training;
    of the teacher, those of its weights that are left at its end.

    Args:
        cfg: As it was trained by.
        runner: That has trained.
    """
    student = unwrapped(runner)
    teacher = settings_of(cfg).sd_loss.teacher
    whole = build_untrained(Config.fromfile(teacher['config']))
    batch = next(scoring_batches(runner, seed=0)(0))
    times = training_multiplications(batch, student)
    both = [_counted(model, times) for model in (student, whole)]
    weights, work = zip(*both)
    masks = saved_masks(load_values(teacher['checkpoint'], 'cpu')) or {}
    left = _left(whole, masks, times)
    images = len(batch['inputs'])
    return {
        'saved/sparsity': Quantity(1 - weights[0] / weights[1]),
        'saved/multiply_adds': Quantity(work[0] / images),
        'saved/dense_multiply_adds': Quantity(work[1] / images),
        'teacher/sparse_share': Quantity(left / work[1]),
    }


def _counted(model: nn.Module, times: dict[str, float]) -> tuple[int, float]:
    """Weights of the layers, and their multiply-adds."""
    sizes = {n: p.numel() for n, p in model.named_parameters() if n in times}
    return sum(sizes.values()), sum(times[n] * sizes[n] for n in times)


def _left(
    model: nn.Module, masks: Mapping[str, Tensor], times: dict[str, float]
) -> float:
    """Multiply-adds of the weights that masks keep."""
    kept = {n: p.numel() for n, p in model.named_parameters() if n in times}
    kept |= {n: int(mask.sum()) for n, mask in masks.items() if n in times}
    return sum(times[n] * count for n, count in kept.items())
