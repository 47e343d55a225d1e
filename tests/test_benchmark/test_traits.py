"""What a method is does not depend on what it is called, nor how made."""

import pytest
from mmengine.config import Config

from epsd_mm.benchmark.traits import traits_of
from epsd_mm.engine.variants import VARIANTS
from epsd_mm.runs import Run
from tests.helpers.suites import CONFIG

BASE = Config.fromfile(CONFIG)
DENSE = Run(CONFIG, variant='dense', seed=0)


def traits(**options):
    return traits_of(Run(CONFIG, **options).resolve(BASE))


@pytest.mark.parametrize('variant', VARIANTS)
def test_variants_are_told_from_their_configs(variant):
    assert traits(variant=variant).role == variant


@pytest.mark.parametrize(
    'options, role',
    [
        (dict(score_weights=dict(task=1, sd=0)), 'simple-combination'),
        (dict(score_weights=dict(task=0, sd=1)), 'epsd'),
        (dict(criterion='Random'), 'simple-combination'),
        (dict(criterion='SynFlow', variant='prune-only'), 'prune-only'),
        (dict(options={'default_hooks.epsd.sd_loss': None}), 'prune-only'),
        (dict(options={'default_hooks.epsd.masks': 'masks.pth'}), 'given'),
        (dict(policy='RigL', criterion='ProsPr'), 'later'),
        (dict(weights_of=DENSE), 'later'),
        (dict(variant='prune-only', weights_of=DENSE), 'prune-only'),
    ],
)
def test_a_role_is_what_is_done(options, role):
    assert traits(**options).role == role


def test_the_scorer_is_all_but_the_objective():
    epsd, combined, plain, weighted, other = (
        traits(),
        traits(variant='simple-combination'),
        traits(variant='prune-only'),
        traits(score_weights=dict(task=1, sd=10)),
        traits(options={'default_hooks.epsd.draws': 2}),
    )
    assert epsd.scorer == combined.scorer == plain.scorer == weighted.scorer
    assert epsd.scorer != other.scorer
    assert epsd.objective != weighted.objective
    assert epsd.training == combined.training != plain.training


def test_steps_are_told_however_they_are_set():
    by_criterion = traits(criterion=dict(type='ProsPr', steps=1))
    by_option = traits(options={'default_hooks.epsd.criterion.steps': 1})
    assert by_criterion.steps == by_option.steps == 1
    three = traits(criterion=dict(type='ProsPr', steps=3))
    assert three.scorer != by_criterion.scorer
    assert three.scorer_but_steps == by_criterion.scorer_but_steps


def test_what_only_costs_time_makes_no_other_scorer():
    slow = traits(criterion=dict(type='ProsPr', offload=True))
    assert slow.scorer == traits(criterion='ProsPr').scorer


@pytest.mark.parametrize(
    'options, images',
    [
        (dict(), 256),  # CS-KD: a partner beside each of 128
        (dict(variant='dense'), 128),
        (dict(sd_loss='PSKDLoss'), 128),
        (dict(sd_loss='DLBLoss'), 128),  # 64 fresh ones and 64 again
        (dict(sd_loss='DLBLoss', variant='dense'), 64),
    ],
)
def test_images_of_a_step_are_all_that_are_looked_at(options, images):
    assert traits(**options).images_per_step == images


@pytest.mark.parametrize(
    'policy, kind', [('GMP', 'Gradual'), ('SET', 'SET'), ('RigL', 'RigL')]
)
def test_a_policy_is_what_a_method_prunes_by(policy, kind):
    plain = traits(policy=policy, variant='prune-only')
    assert plain.role == 'prune-only' and plain.criterion == kind
    trained = traits(policy=policy, variant='simple-combination')
    assert trained.role == 'simple-combination'
    assert trained == traits(policy=policy)  # no score sees the term
    assert plain.scorer == trained.scorer
    assert plain.scorer != traits(criterion='Random').scorer


@pytest.mark.parametrize(
    'policy, criterion', [('GMP', 'Gradual'), ('RigL', 'RigL')]
)
def test_a_policy_may_prune_a_trained_network(policy, criterion):
    plain = dict(policy=policy, variant='prune-only')
    found, early = traits(**plain, weights_of=DENSE), traits(**plain)
    assert found.after_training and found.while_training
    assert found.criterion == f'{criterion} after training'
    assert found.scorer != early.scorer and not early.after_training


@pytest.mark.parametrize(
    'criterion, products, replays',
    [
        (dict(type='ProsPr', steps=3), 3 / 4, 3 / 4),
        (dict(type='ProsPr', steps=3, kept_graphs=1), 3 / 4, 2 / 4),
        (dict(type='ProsPr', steps=3, first_order=True), 0, 0),
        ('SNIP', 0, 0),
        ('GraSP', 1, 1),
        ('Random', 0, 0),
    ],
)
def test_products_with_the_hessian_are_counted(criterion, products, replays):
    found = traits(criterion=criterion)
    assert (found.hessian_products, found.replays) == (products, replays)
