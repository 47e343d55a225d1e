"""Prune, then distill: a dense student as large as what its teacher keeps.

Park and No, *Prune Your Model Before Distill It*, ECCV 2022: a pruned network
teaches a dense one of the same depth, whose layers have as many channels as
gives each of them the weights that the teacher's keep.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from torch import Tensor, nn

from .compaction import shrink
from .early_pruning import (
    HERE,
    import_package,
    narrowed,
    refuse_outcome,
    without_run,
)
from .engine.checkpoints import damaged_state
from .engine.fitting_state import fitting_state
from .engine.initial_model import build_untrained
from .engine.pretrained import without_pretrained
from .engine.safe_loading import CheckpointError, load_values
from .engine.saved_state import SavedState
from .engine.variants import apply_teacher
from .families import channel_groups, let_heads_go
from .files import write_text
from .pruning import weight_count
from .structure import Groups, student_channels


def write_student(cfg: Config, folder: Path, checkpoint: str) -> None:
    """Write the config of a pruned network's student.

    ``config.py`` in the folder is that of a narrow dense network, which
    starts from weights of its own and is taught by the network of the
    checkpoint, of which ``teacher.py`` is the config. It trains as any other
    config does, on the data and by the recipe of its teacher.

    Args:
        cfg: The complete config that the teacher was trained with, which has
            an ``EPSDHook``.
        folder: For both configs.
        checkpoint: Of the teacher: weights of any criterion or policy, with
            zeros in place of those that went.

    Raises:
        FileExistsError: The folder has a config already.
        FileNotFoundError: There is no such checkpoint.
        CheckpointError: It is not one of this network, or keeps every
            weight.
        ValueError: The student would have layers that are never trained.
    """
    refuse_outcome(folder)
    told = without_run(cfg)
    teacher = told.pretty_text
    told.model = student_model(cfg, checkpoint)
    apply_teacher(told, f'{HERE}/teacher.py', str(Path(checkpoint).resolve()))
    import_package(told)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / 'teacher.py', teacher)
    write_text(
        folder / 'config.py',
        '# Written by tools/make_student.py: a dense network that a pruned '
        'one teaches.\n# Train it as any other config.\n'
        f'{told.pretty_text}',
    )


def student_model(cfg: Config, checkpoint: str) -> ConfigDict:
    """The config of the network that a pruned one teaches.

    Args:
        cfg: The complete config that the teacher was trained with.
        checkpoint: Of the teacher.

    Raises:
        FileNotFoundError: As of :func:`write_student`.
        CheckpointError: Likewise.
        ValueError: Likewise.
    """
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(
            f'{checkpoint} does not exist: name the checkpoint of a training '
            'that pruned its network'
        )
    model = build_untrained(cfg)
    content = load_values(checkpoint, 'cpu')
    model.load_state_dict(fitting_state(model, content, checkpoint))
    kept = kept_entries(model, content, checkpoint)
    if all(bool(mask.all()) for mask in kept.values()):
        raise CheckpointError(
            f'{checkpoint} keeps every weight, so that its student would be '
            'as wide as itself: name the checkpoint of a pruned network'
        )
    groups = groups_of_teacher(model)
    student = copy.deepcopy(model)
    let_heads_go(student)
    table = shrink(student, groups, student_channels(groups, kept))
    MMLogger.get_current_instance().info(
        f'the student has {weight_count(student):,} weights in all, of '
        f'{weight_count(model):,} that its teacher has, '
        f'{sum(int((~mask).sum()) for mask in kept.values()):,} of them '
        'removed'
    )
    return narrowed(without_pretrained(cfg.model), table)


def groups_of_teacher(model: nn.Module) -> Groups:
    """Which channels of a teacher go together, if it may have a student.

    Args:
        model: Trained or not; left as it was.

    Raises:
        ImportError: torch-pruning is not installed.
        ValueError: The student would have layers that are never trained, or
            the model cannot be traced.
    """
    _check_trained(model)
    return channel_groups(model)


def kept_entries(
    model: nn.Module, content: Any, path: str
) -> dict[str, Tensor]:
    """Which entries of its kernels and matrices a trained network keeps.

    Those of its masks; where a checkpoint has none, what is not zero.

    Args:
        model: With the weights of the checkpoint.
        content: Of the checkpoint.
        path: Of the checkpoint, for the message.

    Returns:
        Bool tensors by name of the parameter.

    Raises:
        CheckpointError: Its masks are damaged.
    """
    saved = content.get('epsd') if isinstance(content, Mapping) else None
    try:
        masks = SavedState.unpack(saved).masks or {}
    except ValueError as error:
        raise damaged_state(path, error) from error
    return {
        name: masks[name].cpu() if name in masks else weight.detach() != 0
        for name, weight in model.named_parameters()
        if weight.dim() > 1
    }


def _check_trained(model: nn.Module) -> None:
    """Raise where layers would stay as they are drawn."""
    frozen = [n for n, p in model.named_parameters() if not p.requires_grad]
    still = [
        f'{name}.norm_eval'
        for name, module in model.named_modules()
        if getattr(module, 'norm_eval', False)
    ]
    if frozen or still:
        raise ValueError(
            f'{(frozen or still)[0]} is not trained by the config of the '
            'teacher, and a student starts from scratch: train both with '
            '`--cfg-options model.backbone.frozen_stages=-1 '
            'model.backbone.norm_eval=False`'
        )
