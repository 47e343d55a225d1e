"""What a run keeps when it resumes."""

from collections.abc import Mapping
from typing import Any

from epsd_mm.old_spellings import described_in_present_words

from .settings import Settings, described
from .trained_network import teacher_digest


def identity(settings: Settings) -> dict[str, Any]:
    """What decides the masks and the training, in plain values.

    Left out is what only trades time for memory, as the criterion declares
    it (``cost_only``), and what a resumed run makes no use of, such as the
    seed of scoring and the places of files of masks and of a teacher, whose
    content counts.

    Raises:
        FileNotFoundError: The teacher is not where the settings say.
    """
    about = settings.describe()
    if (taught_by := teacher_digest(settings.sd_loss)) is not None:
        about['sd_loss']['teacher'] = taught_by
    return dict(
        about,
        settings=_scoring(settings, about['settings']),
        sparsity=float(settings.sparsity),
        include=settings.include and list(settings.include),
        exclude=settings.exclude and list(settings.exclude),
        masks=None if settings.masks is None else 'given',
        prefix=settings.prefix,
        start=None if settings.start is None else 'given',
        policy=described(settings.policy) if settings.changes else None,
        bad_boxes=settings.bad_boxes,
        batch_augments=settings.batch_augments,
    )


def check_identity(settings: Settings, before: Mapping[str, Any]) -> None:
    """Raise where a run would go on as another one.

    Args:
        settings: Of the run.
        before: The identity that a checkpoint holds; those of older
            versions lack entries, or have some that do not count.

    Raises:
        ValueError: Names the setting and both values.
    """
    now = identity(settings)
    before = described_in_present_words(before)
    before = {name: before.get(name, value) for name, value in now.items()}
    before['settings'] = _scoring(settings, before['settings'])
    if before['policy'] == dict(type='Fixed'):
        before['policy'] = None  # as it was told once
    for name, value in now.items():
        if before[name] != value:
            raise ValueError(
                f'the checkpoint to resume was trained with {name}='
                f'{before[name]}, this config says {value}: resume with the '
                'config it was trained with, or take its weights with '
                'load_from'
            )


def _scoring(settings: Settings, options: dict | None) -> dict | None:
    """Options of the criterion that have an effect on its scores."""
    if settings.criterion is None or options is None:
        return options
    free = settings.criterion.cost_only
    return {name: v for name, v in options.items() if name not in free}
