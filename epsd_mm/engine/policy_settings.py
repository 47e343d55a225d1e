"""What may stand beside a policy."""

from pathlib import Path

from epsd_mm.policies import MaskPolicy
from epsd_mm.pruning import Criterion, Structure
from epsd_mm.structure import Units


def check_policy(
    policy: MaskPolicy,
    *,
    sparsity: float,
    criterion: Criterion | None,
    structure: Structure | None,
    masks: str | Path | None,
) -> None:
    """Raise where a policy and other settings contradict each other.

    Args:
        policy: Changes masks.
        sparsity: As of :class:`~epsd_mm.engine.settings.Settings`, and so
            are the others.
        criterion: Finds the masks that the policy starts from.
        structure: What is kept together.
        masks: File of given ones.

    Raises:
        ValueError: Names both, and what to do.
    """
    name = type(policy).__name__
    if masks is not None:
        raise ValueError(
            f'policy={name} changes masks while it trains, and those of '
            f'masks={str(masks)!r} are kept: remove one of the two'
        )
    if isinstance(structure, Units):
        kind = structure.kind
        raise ValueError(
            f'structure={kind!r} beside policy={name}: whole {kind} go '
            'before the first step, and the policy masks weights in training: '
            'remove one of the two'
        )
    if not sparsity:
        raise ValueError(
            f'policy={name} has no sparsity to keep or to reach: give a '
            'sparsity in (0, 1)'
        )
    policy.check(structure)
    initial = policy.initial(sparsity)
    if not initial and criterion is not None:
        raise ValueError(
            f'policy={name} starts with all weights, so that criterion='
            f'{type(criterion).__name__} would have no effect: set '
            'criterion=None, or an initial_sparsity of the policy'
        )
    if initial and criterion is None:
        raise ValueError(
            f'policy={name} starts with masks of sparsity {initial}, and '
            "criterion=None finds none: name one, such as 'Random'"
        )
