"""What a suite says without any effect is refused before anything runs."""

import pytest

from epsd_mm.benchmark.effects import check_effects
from epsd_mm.benchmark.option_names import unknown_options
from tests.helpers.suites import suite_of

DENSE = dict(dense=dict(variant='dense'))
BOTH = DENSE | dict(epsd=dict())
DRAWS = {'default_hooks.epsd.draws': 3}
EPOCHS = {'train_cfg.max_epochs': 7}


def checked(folder, methods, **more):
    check_effects(suite_of(folder, methods, **more))


@pytest.mark.parametrize(
    'method, said',
    [
        (
            dict(variant='prune-only', score_weights=dict(task=1, sd=10)),
            "method 'x' score_weights=",
        ),
        (
            dict(
                variant='simple-combination',
                score_weights=dict(task=1, sd=10),
            ),
            "method 'x' score_weights=",
        ),
        (dict(variant='prune-only', sd_loss='CSKDLoss'), 'sd_loss='),
        (dict(variant='dense', options=DRAWS), 'default_hooks.epsd.draws=3'),
        (dict(variant='sd-only', options=DRAWS), 'default_hooks.epsd.draws=3'),
        (
            dict(
                variant='prune-only',
                options={'default_hooks.epsd.compare_plain': True},
            ),
            'compare_plain=True',
        ),
        (
            dict(
                variant='prune-only',
                options={'default_hooks.epsd.sd_loss.temperature': 2.0},
            ),
            'temperature=2.0',
        ),
    ],
)
def test_what_a_method_makes_no_use_of_is_refused(tmp_path, method, said):
    with pytest.raises(ValueError, match=said) as error:
        checked(tmp_path, dict(epsd=dict(), x=method))
    assert 'leave it out' in str(error.value)


@pytest.mark.parametrize(
    'method',
    [
        # as the config has it: said for those who read the suite
        dict(criterion='ProsPr', sd_loss='CSKDLoss', options=EPOCHS),
        dict(variant='sd-only', sd_loss='CSKDLoss', options=EPOCHS),
        dict(options=DRAWS),
        dict(criterion='SNIP', score_weights=dict(task=0, sd=1)),
        dict(variant='prune-only', criterion='SNIP'),
        dict(sd_loss='DLBLoss'),
    ],
)
def test_what_makes_a_difference_or_is_there_already_may_be_said(
    tmp_path, method
):
    checked(tmp_path, BOTH | dict(x=method))


@pytest.mark.parametrize(
    'option',
    [
        dict(work_dir='elsewhere'),
        dict(resume=True),
        dict(launcher='slurm'),
        dict(log_level='WARNING'),
        dict(experiment_name='mine'),
    ],
)
def test_what_each_cell_settles_by_itself_is_refused(tmp_path, option):
    ((name, value),) = option.items()
    said = f'the option {name}={value!r} has no effect, since .* leave it out'
    with pytest.raises(ValueError, match=f"set-up 'a' {said}"):
        checked(tmp_path, BOTH, options=option)
    with pytest.raises(ValueError, match=f"method 'x' {said}"):
        checked(tmp_path, dict(x=dict(options=option)))


def test_an_option_of_a_set_up_must_serve_some_method(tmp_path):
    checked(tmp_path, BOTH, options=DRAWS | EPOCHS)
    with pytest.raises(ValueError, match="set-up 'a' the option default"):
        checked(tmp_path, DENSE, options=DRAWS, sparsities=())
    overridden = dict(epsd=dict(options=DRAWS))
    with pytest.raises(ValueError, match=r"'a' the option default.*draws=5"):
        checked(tmp_path, overridden, options={'default_hooks.epsd.draws': 5})


def test_a_student_has_the_network_of_its_teacher(tmp_path):
    """Whatever its own options say of it, unless they say the same."""
    name = 'model.backbone.depth'

    def methods(depth):
        return {
            'GMP': dict(
                variant='prune-only', policy='GMP', options={name: 34}
            ),
            'x': dict(student_of='GMP', options={name: depth}),
        }

    checked(tmp_path, methods(34))
    with pytest.raises(ValueError, match=f"'x' the option {name}=50 has no e"):
        checked(tmp_path, methods(50))


def test_sparsities_that_no_method_has_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r'sparsities=\[0.9\] has no effect'):
        checked(tmp_path, DENSE)


def test_a_direction_must_tell_something(tmp_path):
    unknown = dict(metric='custom/score', better='higher')
    checked(tmp_path, BOTH, **unknown)
    with pytest.raises(ValueError, match="better='higher' .* to compare"):
        checked(tmp_path, dict(epsd=dict()), **unknown)
    with pytest.raises(ValueError, match="better='higher' .* tells it"):
        checked(tmp_path, BOTH, better='higher')


@pytest.mark.parametrize(
    'options, said',
    [
        ({'optim_wraper.optimizer.lr': 0.1}, "did you mean 'optim_wrapper'"),
        ({'optim_wraper': dict(clip_grad=None)}, "begins with 'optim_wraper'"),
        ({'learning_rate': 0.1}, "'learning_rate', which neither .*cifar100"),
        ({'train_cfg.max_epoch': 3}, "max_epoch is none.* mean 'max_epochs'"),
        ({'train_cfg': dict(max_epoch=3)}, 'train_cfg.max_epoch is none'),
        (
            {'train_cfg.by_epoch': False, 'train_cfg.max_epochs': 3},
            'train_cfg.max_epochs is none',
        ),
        ({'val_cfg.fp32': True}, 'val_cfg.fp32 is none'),
    ],
)
def test_options_that_nothing_reads_are_refused(tmp_path, options, said):
    with pytest.raises(ValueError, match=f"of set-up 'a' .*{said}"):
        checked(tmp_path, BOTH, options=options)
    methods = BOTH | dict(x=dict(options=options))
    with pytest.raises(ValueError, match=f"of method 'x' .*{said}"):
        checked(tmp_path, methods)


@pytest.mark.parametrize(
    'options',
    [
        {'train_cfg.max_epochs': 3, 'train_cfg.val_interval': 3},
        {'randomness.deterministic': True, 'env_cfg.cudnn_benchmark': True},
        {'find_unused_parameters': True},
        {'train_cfg': dict(type='EpochBasedTrainLoop', max_epochs=3)},
        {'val_cfg.fp16': False},
    ],
)
def test_options_that_the_runner_reads_need_not_be_in_the_config(
    tmp_path, options
):
    suite = suite_of(tmp_path, BOTH, options=options)
    assert list(unknown_options(suite)) == []


def test_a_loop_is_that_of_the_set_up(tmp_path):
    loop = dict(by_epoch=False, max_iters=3, _delete_=True)
    methods = dict(x=dict(options={'train_cfg.max_iters': 5}))
    suite = suite_of(tmp_path, methods, options=dict(train_cfg=loop))
    assert list(unknown_options(suite)) == []
