"""Criteria, losses and shapes of masks by name, config or object."""

import pytest
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope

from epsd_mm.distillation import CSKDLoss
from epsd_mm.pruning import (
    ERK,
    NM,
    SNIP,
    Allocation,
    Blocks,
    ByGlob,
    Criterion,
    Global,
    Magnitude,
    ProsPr,
    Random,
    Rows,
    Uniform,
    Weights,
)
from epsd_mm.registry import (
    ALLOCATIONS,
    CRITERIA,
    STRUCTURES,
    build_allocation,
    build_criterion,
    build_sd_loss,
    build_structure,
)


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
        'Magnitude, NTKSAP, ProsPr, Random, SDMPrune, SNIP, SynFlow'
    )
    with pytest.raises(ValueError, match="unknown sd_loss 'SD'.*CSKDLoss"):
        build_sd_loss(dict(type='SD'))


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


@pytest.mark.parametrize(
    'build, name, cls',
    [
        (build_allocation, 'global', Global),
        (build_allocation, 'uniform', Uniform),
        (build_allocation, 'erk', ERK),
        (build_structure, 'weights', Weights),
        (build_structure, 'rows', Rows),
    ],
)
def test_allocations_and_structures_have_their_names(build, name, cls):
    assert type(build(name)) is cls
    assert type(build(dict(type=name))) is cls
    assert type(build(ConfigDict(type=name))) is cls
    assert type(build(dict(type=cls))) is cls


@pytest.mark.parametrize(
    'build, part',
    [
        (build_allocation, ERK()),
        (build_allocation, ByGlob({'*': 0.5})),
        (build_structure, NM(2, 4)),
        (build_allocation, None),
        (build_structure, None),
    ],
)
def test_allocations_and_structures_pass_as_they_are(build, part):
    assert build(part) is part


@pytest.mark.parametrize('name', ['global', 'uniform', 'erk'])
def test_options_of_allocations_arrive(name):
    options = dict(min_density=0.1, dense_first=True, dense_last=True)
    allocation = build_allocation(dict(type=name, **options))
    assert vars(allocation) == options


def test_sparsities_by_glob_are_a_dict_without_a_type():
    sparsities = {'backbone.*': 0.8, 'neck.*': 0.5}
    for spec in (sparsities, ConfigDict(sparsities)):
        allocation = build_allocation(spec)
        assert type(allocation) is ByGlob
        assert allocation.sparsities == sparsities
        assert list(allocation.sparsities) == list(sparsities)
    assert sparsities == {'backbone.*': 0.8, 'neck.*': 0.5}


def test_sparsities_by_glob_take_the_options_of_every_allocation():
    allocation = build_allocation(
        dict(type='by_glob', sparsities={'*': 0.5}, min_density=0.1)
    )
    assert allocation.min_density == 0.1
    assert allocation.sparsities == {'*': 0.5}


@pytest.mark.parametrize('text, numbers', [('2:4', (2, 4)), ('1:16', (1, 16))])
def test_groups_are_written_as_n_of_m(text, numbers):
    structure = build_structure(text)
    assert type(structure) is NM and (structure.n, structure.m) == numbers
    same = build_structure(dict(type='nm', n=numbers[0], m=numbers[1]))
    assert vars(same) == vars(structure)


def test_options_of_blocks_arrive():
    blocks = build_structure(dict(type='blocks', rows=4, columns=1))
    assert type(blocks) is Blocks
    assert (blocks.rows, blocks.columns) == (4, 1)


@pytest.mark.parametrize(
    'build, spec, message',
    [
        (
            build_allocation,
            'ERK',
            "unknown allocation 'ERK'; known are by_glob, erk, global, "
            'uniform',
        ),
        (
            build_structure,
            dict(type='2:4'),
            "unknown structure '2:4'; known are blocks, channels, neurons, "
            'nm, rows, weights',
        ),
        (
            build_structure,
            '2:4:8',
            "unknown structure '2:4:8'; known are blocks, channels, neurons, "
            'nm, rows, weights',
        ),
        (
            build_structure,
            'erk',
            "unknown structure 'erk'; known are blocks, channels, neurons, "
            'nm, rows, weights',
        ),
    ],
)
def test_unknown_shapes_of_masks_are_told_the_known_ones(build, spec, message):
    with pytest.raises(ValueError) as error:
        build(spec)
    assert str(error.value) == message


@pytest.mark.parametrize(
    'build, spec, words',
    [
        (
            build_allocation,
            dict(type='erk', floor=0.1),
            'ERK has no option floor; it takes min_density, dense_first, '
            'dense_last',
        ),
        (
            build_allocation,
            dict(type='by_glob', sparsities={'*': 0.5}, floor=0.1),
            'ByGlob has no option floor; it takes sparsities, min_density',
        ),
        (
            build_allocation,
            dict(type='by_glob', sparsities={'*': 0.5}, options={}),
            'ByGlob has no option options',
        ),
        (
            build_structure,
            dict(type='nm', n=2, k=4),
            'NM has no option k; it takes n, m',
        ),
        (
            build_structure,
            dict(type='rows', size=2),
            'Rows has no option size; it takes none',
        ),
    ],
)
def test_unknown_options_of_shapes_of_masks(build, spec, words):
    with pytest.raises(ValueError) as error:
        build(spec)
    assert words in str(error.value)


@pytest.mark.parametrize(
    'build, spec, words',
    [
        (build_allocation, dict(type='erk', min_density=2), 'min_density=2'),
        (build_allocation, {'backbone.*': 1.5}, 'sparsity=1.5'),
        (build_allocation, {}, 'must be a dict from globs'),
        (build_structure, '4:2', 'n=4 and m=2'),
        (build_structure, dict(type='blocks', rows=0, columns=1), 'rows=0'),
    ],
)
def test_wrong_values_of_shapes_of_masks_reach_the_user(build, spec, words):
    with pytest.raises(ValueError, match=words):
        build(spec)


@pytest.mark.parametrize('spec', [0.5, ['erk'], True, NM(2, 4)])
def test_what_is_no_allocation(spec):
    with pytest.raises(ValueError, match='allocation=.* must be a name'):
        build_allocation(spec)


@pytest.mark.parametrize('spec', [24, (2, 4), dict(n=2, m=4), ERK()])
def test_what_is_no_structure(spec):
    with pytest.raises(ValueError, match='structure=.* must be a name'):
        build_structure(spec)


@pytest.mark.parametrize('spec', ['blocks', 'nm', 'by_glob'])
def test_options_that_are_missing_are_named(spec):
    build = build_allocation if spec == 'by_glob' else build_structure
    with pytest.raises((TypeError, ValueError)) as error:
        build(spec)
    first = dict(blocks='rows', nm='n', by_glob='sparsities')[spec]
    assert f"'{first}'" in str(error.value)


def test_ones_own_allocation_and_structure():
    class Halves(Allocation):
        def counts(self, layers, keep):
            return {n: layer.upper // 2 for n, layer in layers.items()}

    class Pairs(Rows):
        pass

    ALLOCATIONS.register_module(name='halves', module=Halves)
    STRUCTURES.register_module(name='pairs', module=Pairs)
    try:
        allocation = build_allocation(dict(type='halves', min_density=0.1))
        assert type(allocation) is Halves and allocation.min_density == 0.1
        assert type(build_structure('pairs')) is Pairs
    finally:
        del ALLOCATIONS.module_dict['halves']
        del STRUCTURES.module_dict['pairs']
