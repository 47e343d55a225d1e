"""What a suite says without any effect is refused before anything runs."""

import pytest

from epsd_mm.benchmark.effects import check_effects
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


def test_an_option_of_a_set_up_must_serve_some_method(tmp_path):
    checked(tmp_path, BOTH, options=DRAWS | EPOCHS)
    with pytest.raises(ValueError, match="set-up 'a' the option default"):
        checked(tmp_path, DENSE, options=DRAWS, sparsities=())
    overridden = dict(epsd=dict(options=DRAWS))
    with pytest.raises(ValueError, match=r"'a' the option default.*draws=5"):
        checked(tmp_path, overridden, options={'default_hooks.epsd.draws': 5})


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
