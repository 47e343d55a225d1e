"""What hooks of a runner will put in place later in training."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mmcv.transforms import Compose
from mmengine.runner import Runner

from epsd_mm.families.kinds import class_names


@dataclass(frozen=True)
class Recipe:
    """A later replacement of what training starts with.

    Attributes:
        source: Which hook makes it, and when, for messages.
        transforms: The new pipeline, if there is one.
        batch_augments: What mixes the images of a batch from then on, if
            anything does.
    """

    source: str
    transforms: list | None = None
    batch_augments: Any = None


def later_recipes(runner: Runner) -> Iterator[Recipe]:
    """The replacements that the config announces.

    Those of mmdet's ``PipelineSwitchHook`` and mmpretrain's
    ``SwitchRecipeHook``. Other hooks do not tell: what they replace is known
    when they do it.
    """
    for hook in runner.hooks:
        kinds = class_names(hook)
        if 'PipelineSwitchHook' in kinds:
            yield Recipe(
                f'PipelineSwitchHook (switch_epoch={hook.switch_epoch})',
                transforms=Compose(hook.switch_pipeline).transforms,
            )
        if 'SwitchRecipeHook' in kinds:
            for epoch, recipe in hook.schedule.items():
                pipeline = recipe.get('train_pipeline')
                yield Recipe(
                    f'SwitchRecipeHook (action_epoch={epoch})',
                    transforms=pipeline and pipeline.transforms,
                    batch_augments=recipe.get('batch_augments'),
                )
