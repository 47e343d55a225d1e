"""What settings may stand beside a policy."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .settings import Settings


def check_policy(settings: 'Settings') -> None:
    """Raise where a policy and other settings contradict each other.

    Args:
        settings: With a policy that changes masks.

    Raises:
        ValueError: Names both, and what to do.
    """
    name = type(settings.policy).__name__
    if settings.masks is not None:
        raise ValueError(
            f'policy={name} changes masks while it trains, and those of '
            f'masks={str(settings.masks)!r} are kept: remove one of the two'
        )
    if settings.units:
        kind = settings.units.kind
        raise ValueError(
            f'structure={kind!r} beside policy={name}: whole {kind} go '
            'before the first step, and the policy masks weights in training: '
            'remove one of the two'
        )
    if not settings.sparsity:
        raise ValueError(
            f'policy={name} has no sparsity to keep or to reach: give a '
            'sparsity in (0, 1)'
        )
    settings.policy.check(settings.structure)
    initial = settings.policy.initial(settings.sparsity)
    if not initial and settings.criterion is not None:
        raise ValueError(
            f'policy={name} starts with all weights, so that criterion='
            f'{type(settings.criterion).__name__} would have no effect: set '
            'criterion=None, or an initial_sparsity of the policy'
        )
    if initial and settings.criterion is None:
        raise ValueError(
            f'policy={name} starts with masks of sparsity {initial}, and '
            "criterion=None finds none: name one, such as 'Random'"
        )
