"""What the methods of a suite are, whatever they are called."""

import json

from epsd_mm.engine.variants import VARIANTS
from epsd_mm.pages import Table

from ..comparison import Arm, Comparison
from ..traits import Traits

_ROLES = VARIANTS | dict(given='masks of another run')


def method_table(comparison: Comparison) -> Table:
    """A row for each method of the suite."""
    rows = []
    for method in comparison.suite.methods:
        arm = next(arm for arm in comparison.arms if arm.method == method)
        traits = comparison.traits(arm)
        rows.append(
            [
                method,
                _what_it_is(comparison, arm),
                traits.criterion or '',
                traits.sd_loss or '',
            ]
        )
    headings = ('method', 'what it is', 'criterion', 'self-distillation')
    return Table(headings, rows, folded='What the methods are')


def _what_it_is(comparison: Comparison, arm: Arm) -> str:
    """When it is pruned, by what scores, and how it is trained."""
    traits, lender = comparison.traits(arm), comparison.lender(arm)
    method = comparison.suite.methods[arm.method]
    trained = _trained(comparison, arm)
    if method.student_of is not None:
        return f'dense, as large as what {method.student_of} keeps, {trained}'
    if lender is not None:
        what = f'masks of {lender.method}' + ', shuffled' * method.shuffled
        if method.weights_of is not None:
            what += f', on the trained network of {method.weights_of}'
        return f'{what}, {trained}' if traits.taught_per_step else what
    early = not traits.prunes_late and not traits.taught_per_step
    unscored = traits.data_free and not traits.given_masks
    if early and not unscored:
        return _ROLES[traits.role] + _weighted(traits)
    parts = []
    if traits.after_training:
        rounds = '' if method.rounds is None else ' in rounds'
        parts.append(f'pruned{rounds} after training')
    if traits.scores_sd:
        term = 'its teacher' if traits.taught_per_step else 'self-distillation'
        parts.append(f'scored with {term}{_weighted(traits)}')
    elif traits.prunes_early:
        by = 'without images' if traits.data_free else 'by the plain loss'
        parts.append(f'scored {by}')
    elif traits.criterion is None:
        parts.append('dense')
    if traits.while_training:
        trained = f'masks change while it is {trained}'
    elif traits.after_training:
        trained = f'then {trained}'
    return ', '.join([*parts, trained])


def _trained(comparison: Comparison, arm: Arm) -> str:
    traits, teacher = comparison.traits(arm), comparison.teacher(arm)
    if traits.taught_per_step:
        by = teacher and teacher.method
        return f'taught by {by or "a network that was trained before"}'
    if traits.sd_loss is None:
        return 'trained by the plain loss'
    return 'trained with self-distillation'


def _weighted(traits: Traits) -> str:
    """The weights of the terms in the scores, unless those of training."""
    if not traits.scores_sd:
        return ''
    weights = json.loads(traits.objective)
    task, sd = weights['task'], weights['sd']
    if task == sd == 1:
        return ''
    return f' (scores: {task:g} × the task + {sd:g} × self-distillation)'
