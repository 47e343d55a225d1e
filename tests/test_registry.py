"""Criteria and losses by name, config or object."""

import pytest
from mmengine.registry import MODELS, DefaultScope

from epsd_mm.distillation import CSKDLoss
from epsd_mm.pruning import SNIP, Criterion, Magnitude, ProsPr, Random
from epsd_mm.registry import CRITERIA, build_criterion, build_sd_loss


@pytest.mark.parametrize('cls', [SNIP, Magnitude, ProsPr, Random])
def test_every_criterion_has_its_name(cls):
    assert type(build_criterion(cls.__name__)) is cls
    assert type(build_criterion(dict(type=cls.__name__))) is cls
    assert type(build_criterion(dict(type=cls))) is cls


def test_options_arrive():
    criterion = build_criterion(dict(type='ProsPr', steps=5, lr=0.02))
    assert (criterion.steps, criterion.lr) == (5, 0.02)
    loss = build_sd_loss(dict(type='CSKDLoss', temperature=2, loss_weight=3))
    assert (loss.temperature, loss.loss_weight) == (2, 3)


def test_objects_and_none_pass():
    criterion, loss = ProsPr(), CSKDLoss()
    assert build_criterion(criterion) is criterion
    assert build_sd_loss(loss) is loss
    assert build_criterion(None) is build_sd_loss(None) is None


def test_a_config_is_not_changed():
    config = dict(type='ProsPr', steps=2)
    build_criterion(config)
    assert config == dict(type='ProsPr', steps=2)


@pytest.mark.parametrize('scope', ['mmengine', 'mmdet', 'mmpretrain'])
def test_losses_need_no_prefix_in_any_scope(scope):
    with DefaultScope.overwrite_default_scope(scope):
        assert isinstance(MODELS.build(dict(type='CSKDLoss')), CSKDLoss)


def test_unknown_names_are_told_the_known_ones():
    with pytest.raises(ValueError) as error:
        build_criterion('Prospr')
    assert str(error.value) == (
        "unknown criterion 'Prospr'; known are FORCE, GraSP, IterSNIP, "
        'Magnitude, ProsPr, Random, SNIP, SynFlow'
    )
    with pytest.raises(ValueError, match="unknown sd_loss 'KD'.*CSKDLoss"):
        build_sd_loss(dict(type='KD'))


def test_a_model_is_no_loss():
    """Both live in one registry."""
    with pytest.raises(ValueError, match='unknown sd_loss') as error:
        build_sd_loss(dict(type='BaseDataPreprocessor'))
    known = str(error.value).partition('known are ')[2].split(', ')
    assert 'CSKDLoss' in known and 'BaseDataPreprocessor' not in known


def test_a_criterion_is_no_loss_and_the_other_way():
    with pytest.raises(ValueError, match='unknown sd_loss'):
        build_sd_loss('SNIP')
    with pytest.raises(ValueError, match='unknown criterion'):
        build_criterion('CSKDLoss')
    with pytest.raises(ValueError, match='criterion=.* must be a name'):
        build_criterion(CSKDLoss())


def test_unknown_options_are_told_the_known_ones():
    with pytest.raises(ValueError) as error:
        build_criterion(dict(type='ProsPr', step=3, rate=1))
    message = str(error.value)
    assert 'ProsPr has no option step, rate' in message
    assert 'it takes steps, lr, momentum, first_order, offload' in message
    with pytest.raises(ValueError, match='Random has no option.*takes none'):
        build_criterion(dict(type='Random', seed=3))
    with pytest.raises(ValueError, match='has no option T.*temperature'):
        build_sd_loss(dict(type='CSKDLoss', T=4))


@pytest.mark.parametrize('spec', [3, ['ProsPr'], dict(steps=3), {}, True])
def test_other_kinds_of_specification(spec):
    with pytest.raises(ValueError, match='must be a name, a dict with a type'):
        build_criterion(spec)


def test_values_that_are_wrong_reach_the_user():
    with pytest.raises(ValueError, match='steps=-1'):
        build_criterion(dict(type='ProsPr', steps=-1))


def test_ones_own_criterion():
    class Mine(Criterion):
        def __init__(self, power=2):
            self.power = power

        def scores(self, objective, params, masks, batches):
            return {n: params[n].abs() ** self.power for n in masks}

    CRITERIA.register_module(module=Mine)
    try:
        assert build_criterion(dict(type='Mine', power=3)).power == 3
    finally:
        del CRITERIA.module_dict['Mine']
