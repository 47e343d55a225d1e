"""Says where a network that should be trained has not learned yet."""

from collections.abc import Iterable, Mapping
from logging import Logger

from epsd_mm.pruning.zero_layers import LOAD_TRAINED

# Of the loss of a guess: our choice. What was trained is far below.
_NEAR = 0.95


def warn_of_untrained(
    name: str, draws: Iterable[Mapping], logger: Logger
) -> None:
    """Log where what scores trained weights has met others.

    Args:
        name: Of the criterion.
        draws: What it has told, ``losses`` first that of the task; one for
            trained weights tells ``loss_by_chance`` too, that of equal odds
            for all classes, where the loss is a mean cross-entropy.
        logger: Takes a warning, once.
    """
    for notes in draws:
        chance = notes.get('loss_by_chance')
        if chance is None or notes['losses'][0] < _NEAR * chance:
            continue
        logger.warning(
            f'{name} scores what a trained network has learned, and this '
            'one hardly does better than chance: its loss is '
            f'{notes["losses"][0]:.4g}, that of a guess {chance:.4g}. Where '
            f'there are trained weights, {LOAD_TRAINED}'
        )
        return
