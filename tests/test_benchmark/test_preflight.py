"""What no cell of a suite could train by is told before the first runs."""

import pytest

from epsd_mm.benchmark.configured_steps import configured_steps
from epsd_mm.benchmark.preflight import check_masks
from epsd_mm.engine.changing_masks import steps_of
from tests.helpers.datasets import picture_folder
from tests.helpers.runners import prepared, tiny_classifier_cfg
from tests.helpers.suites import suite_of

EPSD = dict(
    type='EPSDHook',
    sparsity=0.8,
    criterion=dict(type='SNIP'),
    sd_loss=dict(type='CSKDLoss'),
    draws=1,
)
PAIRS = 'ClassPairBatchSampler'


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    return picture_folder(tmp_path_factory.mktemp('pictures'))


TRAININGS = dict(
    pairs={
        'train_dataloader.batch_sampler': dict(type=PAIRS),
        'optim_wrapper.accumulative_counts': 4,
    },
    halves={
        'train_dataloader.batch_sampler': dict(type='OverlapBatchSampler'),
        'train_dataloader.num_batch_per_epoch': 4,
    },
    iterations={
        'train_cfg': dict(
            type='IterBasedTrainLoop', max_iters=21, _delete_=True
        ),
        'optim_wrapper.accumulative_counts': 4,
    },
)


@pytest.mark.parametrize('name', TRAININGS)
def test_steps_are_those_of_the_runner(name, pictures, tmp_path):
    cfg = tiny_classifier_cfg(pictures, tmp_path, EPSD, 3)
    cfg.merge_from_dict(TRAININGS[name])
    steps = configured_steps(cfg, read_data=True)
    assert steps == steps_of(prepared(cfg)) > 0
    unread = configured_steps(cfg, read_data=False)
    assert unread == (steps if name == 'iterations' else None)


def test_steps_of_data_that_is_elsewhere_are_not_known(tmp_path):
    cfg = tiny_classifier_cfg(tmp_path / 'elsewhere', tmp_path, EPSD)
    assert configured_steps(cfg, read_data=True) is None


@pytest.fixture
def suite(pictures, tmp_path):
    """A suite of one method over a tiny classifier, 3 epochs."""
    cfg = tiny_classifier_cfg(pictures, tmp_path / 'of', EPSD, 3, PAIRS)
    for name in ('work_dir', 'experiment_name'):
        cfg.pop(name)
    cfg.dump(tmp_path / 'classifier.py')
    config = str(tmp_path / 'classifier.py')

    def load(options, **method):
        method = dict(method, options=options)
        return suite_of(tmp_path, dict(x=method), 2, [0.8], config=config)

    return load


def hook(**options):
    return {f'default_hooks.epsd.{n}': value for n, value in options.items()}


PLAIN = dict(variant='prune-only')
GMP, RIGL = dict(PLAIN, policy='GMP'), dict(PLAIN, policy='RigL')
REFUSED = {
    'every=100 leaves no way from begin=0.0': ({}, GMP),
    'every=100 leaves no update before end': ({}, RIGL),
    'sparsity=0.8 cannot be reached': (
        hook(allocation=dict(type='global', min_density=0.5)),
        {},
    ),
    'leaves nothing of 1 of ': (
        hook(allocation={'head.*': 0.999}),
        dict(PLAIN, criterion='SNIP'),
    ),
    'matches no': (hook(exclude=['nothing.*']), dict(criterion='GraSP')),
}


@pytest.mark.parametrize('said', REFUSED)
def test_what_a_cell_would_refuse_is_told_before_any_runs(said, suite):
    options, method = REFUSED[said]
    asked = suite(options, **method)
    told = f"suite.py: 'a/x/0.8/seed 0' cannot run: .*{said}"
    with pytest.raises(ValueError, match=told):
        check_masks(asked, asked.cells, read_data=True)


@pytest.mark.parametrize('method', [GMP, RIGL], ids=['GMP', 'RigL'])
def test_what_a_cell_would_train_by_is_not(method, suite):
    asked = suite({'default_hooks.epsd.policy.every': 3}, **method)
    check_masks(asked, asked.cells, read_data=True)
    # How long an epoch is may be known elsewhere alone.
    check_masks(asked, suite({}, **method).cells, read_data=False)


def test_a_schedule_in_iterations_is_told_without_the_data(suite):
    loop = dict(by_epoch=False, max_iters=90, _delete_=True)
    asked = suite({'train_cfg': loop}, **GMP)
    with pytest.raises(ValueError, match='in a training of 90 steps'):
        check_masks(asked, asked.cells, read_data=False)
