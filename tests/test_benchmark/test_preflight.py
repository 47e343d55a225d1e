"""What no cell of a suite could train by is told before the first runs."""

import pytest

from epsd_mm.benchmark.asked_masks import AskedMasks
from epsd_mm.benchmark.asked_networks import Networks
from epsd_mm.benchmark.configured_steps import configured_steps
from epsd_mm.benchmark.preflight import check_cells
from epsd_mm.engine.changing_masks import steps_of
from tests.helpers.datasets import picture_folder
from tests.helpers.runners import (
    prepared,
    tiny_classifier_cfg,
    tiny_detector_cfg,
)
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
def suite_with(pictures, tmp_path):
    """A suite of some methods over a tiny classifier, 3 epochs."""
    cfg = tiny_classifier_cfg(pictures, tmp_path / 'of', EPSD, 3, PAIRS)
    for name in ('work_dir', 'experiment_name'):
        cfg.pop(name)
    cfg.dump(tmp_path / 'classifier.py')
    config = str(tmp_path / 'classifier.py')

    def load(methods):
        return suite_of(tmp_path, methods, 2, [0.8], config=config)

    return load


@pytest.fixture
def suite(suite_with):
    """A suite of one method."""

    def load(options, **method):
        return suite_with(dict(x=dict(method, options=options)))

    return load


def hook(**options):
    return {f'default_hooks.epsd.{n}': value for n, value in options.items()}


PLAIN = dict(variant='prune-only')
GMP, RIGL = dict(PLAIN, policy='GMP'), dict(PLAIN, policy='RigL')
SDM = dict(alpha=0.4, temperature=0.2)
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
    'train_cfg.val_begin=4 evaluates nothing of a training of 3 epochs': (
        {'train_cfg.val_begin': 4},
        dict(criterion='SNIP'),
    ),
    "structure='neurons' removes .* ImageClassifier has none": (
        {},
        dict(PLAIN, criterion=dict(type='SDMPrune', **SDM)),
    ),
    'finds no channels of ImageClassifier that may go': (
        hook(structure='channels', exclude=['backbone.layer[12]*']),
        dict(PLAIN, criterion='SNIP'),
    ),
    "teacher.checkpoint='nowhere.pth' of KD is no file": (
        hook(
            **{
                'sd_loss.teacher': dict(
                    config=__file__, checkpoint='nowhere.pth'
                )
            }
        ),
        dict(sd_loss='KD'),
    ),
    'matches no': (hook(exclude=['nothing.*']), dict(criterion='GraSP')),
}


@pytest.mark.parametrize('name', ['NTKSAP', 'SynFlow'])
def test_a_criterion_that_detectors_refuse_is_told_without_data(
    name, tmp_path
):
    hook = dict(type='EPSDHook', sparsity=0.8, criterion=name)
    cfg = tiny_detector_cfg(tmp_path, tmp_path, hook)
    said = f'{name} takes one tensor of outputs, and .* is a detector: choose'
    with pytest.raises(TypeError, match=said):
        AskedMasks(Networks(), read_data=False).check(cfg)


# Of the rounds at .5, .75 and .8 the second keeps fewer than the floor.
FLOOR = hook(allocation=dict(type='global', min_density=0.4))


@pytest.mark.parametrize('said', REFUSED)
def test_what_a_cell_would_refuse_is_told_before_any_runs(said, suite):
    options, method = REFUSED[said]
    asked = suite(options, **method)
    told = f"suite.py: 'a/x/0.8/seed 0' cannot run: .*{said}"
    with pytest.raises(ValueError, match=told):
        check_cells(asked, asked.cells, read_data=True)


def test_rounds_that_would_not_get_there_are_told_before_any_runs(suite):
    asked = suite(FLOOR, variant='prune-only', rounds=dict(share=0.5))
    told = "'a/x/0.75/seed 0' cannot run: sparsity=0.75 cannot be reached"
    with pytest.raises(ValueError, match=told):
        check_cells(asked, asked.cells, read_data=True)


WIDE = {'model.backbone.base_channels': 8, 'model.head.in_channels': 64}
FROZEN = {'model.backbone.frozen_stages': 1}
CLASSES = {'model.head.num_classes': 5}
SCALED = {'model.data_preprocessor': dict(mean=[9.0] * 3, std=[3.0] * 3)}
DENSE = dict(variant='dense')
SNIP = dict(PLAIN, criterion='SNIP')
#: By what is said of x: the methods that it stands among, and itself.
UNFIT = {
    r"weights_of names 'a/wide/seed 0', .*conv1.weight: \(8, 4, 3, 3\) there,"
    r' \(4, 4, 3, 3\) here, and \d+ more\): name a method whose options': (
        dict(wide=dict(DENSE, options=WIDE)),
        dict(SNIP, weights_of='wide'),
    ),
    r"weights_of names 'a/dense/seed 0', .*\(4, 4, 3, 3\) there, \(8, 4,": (
        dict(dense=DENSE),
        dict(DENSE, weights_of='dense', options=WIDE),
    ),
    r"masks_of names 'a/wide/0.8/seed 0', .*\(8, 4, 3, 3\) there, \(4, 4": (
        dict(wide=dict(SNIP, options=WIDE)),
        dict(masks_of='wide'),
    ),
    'the teacher has 5 classes and the student 4: take a teacher': (
        dict(dense=dict(DENSE, options=CLASSES)),
        dict(sd_loss='KD', teacher='dense'),
    ),
    r'takes mean=\[9.0, 9.0, 9.0\] of its data_preprocessor where the st': (
        dict(dense=dict(DENSE, options=SCALED)),
        dict(sd_loss='KD', teacher='dense'),
    ),
    'is not trained by the config of the teacher, and a student starts': (
        dict(frozen=dict(SNIP, options=FROZEN)),
        dict(student_of='frozen'),
    ),
}


@pytest.mark.parametrize('said', UNFIT)
def test_networks_that_do_not_fit_are_told_before_any_trains(said, suite_with):
    others, method = UNFIT[said]
    asked = suite_with(dict(others, x=method))
    with pytest.raises(ValueError, match=f"'a/x/.*' cannot run: .*{said}"):
        check_cells(asked, asked.cells, read_data=True)


def test_networks_that_fit_are_not(suite_with):
    """A learning rate and a loss are no other network."""
    slow = {'optim_wrapper.optimizer.lr': 0.001}
    asked = suite_with(
        {
            'dense': DENSE,
            'fine': dict(DENSE, weights_of='dense', options=slow),
            'SNIP': SNIP,
            'SNIP, SD': dict(masks_of='SNIP', options=slow),
            'IMP': dict(PLAIN, rounds=dict(rewind=1)),
            'taught': dict(sd_loss='KD', masks_of='IMP', teacher='dense'),
            'student': dict(student_of='SNIP'),
        }
    )
    check_cells(asked, asked.cells, read_data=True)


@pytest.mark.parametrize('method', [GMP, RIGL], ids=['GMP', 'RigL'])
def test_what_a_cell_would_train_by_is_not(method, suite):
    asked = suite({'default_hooks.epsd.policy.every': 3}, **method)
    check_cells(asked, asked.cells, read_data=True)
    # How long an epoch is may be known elsewhere alone.
    check_cells(asked, suite({}, **method).cells, read_data=False)


def test_a_schedule_in_iterations_is_told_without_the_data(suite):
    loop = dict(by_epoch=False, max_iters=90, _delete_=True)
    asked = suite({'train_cfg': loop}, **GMP)
    with pytest.raises(ValueError, match='in a training of 90 steps'):
        check_cells(asked, asked.cells, read_data=False)
