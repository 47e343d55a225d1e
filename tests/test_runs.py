"""A run is told apart by what decides its result, and by nothing else."""

import pytest
from mmengine.config import Config

import epsd_mm
from epsd_mm.borrowed_masks import BORROWED
from epsd_mm.earlier_runs import training_length
from epsd_mm.runs import Run, key_of
from epsd_mm.training import check

CONFIG = epsd_mm.config_path('cifar100_resnet18_epsd')


def key(**asked):
    return key_of(Run(CONFIG, **asked).resolve())


def hook(**asked):
    return Run(CONFIG, **asked).resolve().default_hooks.epsd


@pytest.mark.parametrize(
    'asked, options',
    [
        (dict(sparsity=0.5), {'default_hooks.epsd.sparsity': 0.5}),
        (dict(seed=7), {'randomness.seed': 7}),
        (dict(criterion='ProsPr'), {}),
        (dict(sparsity=0.9), {}),
        (dict(options={'default_hooks.epsd.policy': 'Fixed'}), {}),
        ({}, {'default_hooks.epsd.policy.type': 'Fixed'}),
    ],
)
def test_two_ways_to_ask_for_a_run_have_one_key(asked, options):
    if 'criterion' in asked:
        asked = dict(criterion=dict(type='ProsPr', steps=3, lr=0.01))
    assert key(**asked) == key(options=options)


@pytest.mark.parametrize(
    'options',
    [
        dict(work_dir='elsewhere'),
        {'default_hooks.logger.interval': 3},
        {'default_hooks.checkpoint.interval': 5},
        dict(log_level='ERROR'),
    ],
)
def test_where_and_how_it_logs_is_no_part_of_a_run(options):
    assert key(options=options) == key()


@pytest.mark.parametrize(
    'asked',
    [
        dict(seed=1),
        dict(sparsity=0.8),
        dict(variant='dense'),
        dict(variant='simple-combination'),
        dict(criterion='SNIP'),
        dict(score_weights=dict(task=1.0, sd=10.0)),
        dict(sd_loss='PSKDLoss'),
        dict(options={'optim_wrapper.optimizer.lr': 0.3}),
        dict(options={'train_dataloader.batch_size': 64}),
        dict(options={'default_hooks.epsd.criterion.lr': 0.02}),
        dict(options={'env_cfg.cudnn_benchmark': True}),
        dict(options={'default_hooks.epsd.policy.type': 'RigL'}),
    ],
)
def test_what_decides_a_result_is(asked):
    assert key(**asked) != key()


def test_a_change_of_the_recipe_changes_every_key(monkeypatch):
    before = key()
    monkeypatch.setattr('epsd_mm.runs.RECIPE_VERSION', 2)
    assert key() != before


def test_classes_count_by_their_names_and_objects_are_refused():
    cfg = Config(dict(model=dict(type=Run)))
    assert key_of(cfg) == key_of(Config(dict(model=dict(type=Run))))
    policy = dict(epsd=dict(type='EPSDHook', policy=object()))
    with pytest.raises(TypeError, match='no lasting form'):
        key_of(Config(dict(default_hooks=policy)))
    with pytest.raises(TypeError, match='no lasting form'):
        key_of(Config(dict(model=dict(type=object()))))


def test_the_config_read_before_stays_as_it_was():
    base = Config.fromfile(CONFIG)
    before = base.to_dict()
    Run(CONFIG, variant='dense', seed=3).resolve(base)
    assert base.to_dict() == before


@pytest.mark.parametrize(
    'criterion', ['Random', 'Magnitude', 'SynFlow', 'NTKSAP']
)
@pytest.mark.parametrize('variant', ['prune-only', 'simple-combination'])
def test_what_a_criterion_without_data_cannot_use_goes(criterion, variant):
    found = hook(criterion=criterion, variant=variant)
    assert found.criterion.type == criterion
    idle = {'draws', 'batches_per_step', 'score_weights', 'compare_plain'}
    assert not idle & found.keys()
    assert (found.sd_loss is None) == (variant == 'prune-only')
    epsd_mm.engine.EPSDHook(**{k: v for k, v in found.items() if k != 'type'})


def test_rounds_have_their_own_number_of_draws():
    assert 'draws' not in hook(criterion='IterSNIP')
    assert hook(criterion='SNIP').draws == 8


@pytest.mark.parametrize('variant', ['dense', 'sd-only'])
@pytest.mark.parametrize(
    'asked',
    [dict(sparsity=0.9), dict(criterion='SNIP'), dict(score_weights={})],
)
def test_what_a_dense_run_cannot_use_is_refused(variant, asked):
    with pytest.raises(ValueError, match='no effect'):
        Run(CONFIG, variant=variant, **asked)


def test_a_run_survives_being_written_down():
    run = Run(CONFIG, criterion=dict(type='SNIP'), seed=2, options={'a.b': 1})
    assert Run(**run.to_dict()) == run


LENDER = Run(CONFIG, sparsity=0.5, seed=0).to_dict()


def test_masks_of_another_run_are_part_of_a_run():
    lent = dict(masks_of=LENDER)
    keys = [
        key(**lent),
        key(**lent, shuffled=True),
        key(**lent, seed=1),
        key(masks_of=dict(LENDER, sparsity=0.6)),
        key(masks_of=dict(LENDER, seed=1)),
        key(masks_of=dict(LENDER, criterion='SNIP')),
        key(options={'default_hooks.epsd.masks': BORROWED}),
    ]
    assert len(set(keys)) == len(keys)
    logged = {'default_hooks.logger.interval': 3}
    assert key(masks_of=dict(LENDER, options=logged)) == keys[0]
    assert Run(**Run(CONFIG, **lent).to_dict()).masks_of == Run(**LENDER)


def test_nobody_trains_without_the_masks_that_were_asked_for():
    """By the tool for training, which does not make them."""
    found = hook(masks_of=LENDER)
    assert found.criterion is None and found.masks == BORROWED
    with pytest.raises(FileNotFoundError, match=BORROWED):
        check(Run(CONFIG, masks_of=LENDER).resolve())


def test_what_decides_no_masks_is_refused_beside_those_of_another_run():
    for idle in (dict(sparsity=0.5), dict(score_weights=dict(sd=1.0))):
        with pytest.raises(ValueError, match='no effect'):
            Run(CONFIG, masks_of=LENDER, **idle)
    by_option = {'default_hooks.epsd.policy': 'RigL'}
    for lender in (dict(policy='RigL'), dict(options=by_option)):
        run = Run(CONFIG, masks_of=dict(LENDER, **lender))
        with pytest.raises(ValueError, match='change while it trains, by Ri'):
            run.resolve()


def test_what_prunes_without_scores_is_refused_for_its_changing_masks():
    lender = dict(config=CONFIG, variant='prune-only', policy='GMP')
    with pytest.raises(ValueError, match='change while it trains, by Gradu'):
        Run(CONFIG, masks_of=lender).resolve()


def test_a_policy_changes_masks_and_a_criterion_where_it_starts():
    assert hook(policy='GMP').criterion is None
    assert hook(policy='RigL').criterion == 'Random'
    started = hook(policy='RigL', criterion='SNIP')
    assert started.criterion.type == 'SNIP'
    assert started.policy.type == 'RigL'
    option = {'default_hooks.epsd.policy.every': 20}
    assert hook(policy='SET', options=option).policy.every == 20
    assert len({key(policy=p) for p in (None, 'GMP', 'SET', 'RigL')}) == 4


def test_a_dense_run_has_no_policy():
    with pytest.raises(ValueError, match='so that policy would have no'):
        Run(CONFIG, variant='dense', policy='GMP')


def test_it_resolves_alike_each_time():
    """Also where an option replaces a part of the config."""
    loop = dict(_delete_=True, by_epoch=False, max_iters=7)
    run = Run('configs/cifar100_resnet18_epsd.py', options={'train_cfg': loop})
    first, again = run.resolve(), run.resolve()
    assert (
        first.train_cfg == again.train_cfg == dict(by_epoch=False, max_iters=7)
    )
    assert Run(**run.to_dict()).resolve().to_dict() == first.to_dict()


@pytest.mark.parametrize(
    'loop, length',
    [
        (dict(by_epoch=True, max_epochs=3), ('epoch', 3)),
        (dict(type='EpochBasedTrainLoop', max_epochs=3), ('epoch', 3)),
        (dict(by_epoch=False, max_iters=3), ('iter', 3)),
        (dict(type='IterBasedTrainLoop', max_iters=3), ('iter', 3)),
    ],
)
def test_how_long_a_training_is_however_its_loop_is_told(loop, length):
    assert training_length(Config(dict(train_cfg=loop))) == length
