"""What mixes the images of a batch, and turning it off."""

from typing import TYPE_CHECKING, Any

from epsd_mm.families.kinds import class_names, is_detector

if TYPE_CHECKING:
    from mmengine.runner import Runner

#: What may be done about it.
CHOICES = ('error', 'off')


def check_batch_augments(batch_augments: str) -> None:
    """Raise where a setting ``batch_augments`` is none of :data:`CHOICES`.

    Raises:
        ValueError: Gives the value and the choices.
    """
    if batch_augments not in CHOICES:
        raise ValueError(
            f'batch_augments={batch_augments!r} must be one of '
            f'{", ".join(CHOICES)}'
        )


def turn_off_mixing(runner: 'Runner', model: Any) -> None:
    """Let no batch be mixed, now or by a later recipe, and say so.

    Args:
        runner: Its hooks may hold recipes.
        model: That of the runner, unwrapped. What detectors have of that
            name resizes or pads a batch, and stays.

    Raises:
        ValueError: Nothing mixes images.
    """
    preprocessor = model.data_preprocessor
    found = []
    if not is_detector(model):
        found += _names(getattr(preprocessor, 'batch_augments', None))
        if found:
            preprocessor.batch_augments = None
            # mmpretrain has turned it on for their sake.
            preprocessor.to_onehot = _asks_for_onehot(runner)
    for hook in runner.hooks:
        if 'SwitchRecipeHook' in class_names(hook):
            for recipe in hook.schedule.values():
                found += _names(recipe.get('batch_augments'))
                if 'batch_augments' in recipe:
                    recipe['batch_augments'] = None
    if not found:
        raise ValueError(
            f"batch_augments='off' has no effect: nothing of "
            f'{type(model).__name__} or its recipes mixes the images of a '
            'batch: remove it'
        )
    runner.logger.info(
        f'{", ".join(dict.fromkeys(found))} of the config are off '
        "(batch_augments='off'): every image is trained on by itself, with "
        'its own label'
    )


def _asks_for_onehot(runner: 'Runner') -> bool:
    model = runner.cfg.get('model')
    asked = model.get('data_preprocessor') if isinstance(model, dict) else None
    return bool((asked or {}).get('to_onehot'))


def _names(augments: Any) -> list[str]:
    """Of a ``RandomBatchAugment`` of mmpretrain, or of what stands for it."""
    if augments is None:
        return []
    parts = getattr(augments, 'augments', [augments])
    return [type(part).__name__ for part in parts if part is not None]
