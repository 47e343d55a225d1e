"""What a killed scoring must have in common with the one that goes on."""

import pytest

from epsd_mm.engine import scoring_key
from tests.helpers.datasets import picture_folder
from tests.helpers.runners import hook_of, prepared, tiny_classifier_cfg

OPTIONS = dict(
    type='EPSDHook',
    sparsity=0.5,
    criterion=dict(type='ProsPr', steps=1, lr=0.01),
    sd_loss=dict(type='CSKDLoss'),
    seed=0,
)


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    return picture_folder(tmp_path_factory.mktemp('set') / 'pictures')


def cfg_of(pictures, folder, **options):
    return tiny_classifier_cfg(
        pictures, folder, OPTIONS | options, 1, 'ClassPairBatchSampler'
    )


def key_of(cfg, change=None):
    runner = prepared(cfg)
    if change:
        change(runner.model)
    settings = hook_of(runner).settings
    return scoring_key.scoring_key(runner, runner.model, settings)


@pytest.fixture(scope='module')
def key(pictures, tmp_path_factory):
    return key_of(cfg_of(pictures, tmp_path_factory.mktemp('run') / 'a'))


HARMLESS = dict(
    nothing={},
    allow_empty_layers=dict(allow_empty_layers=True),
    compare_plain=dict(compare_plain=True),
    zero_layers=dict(zero_layers='dense'),
    policy=dict(policy=dict(type='SET', every=1)),
    offload=dict(criterion=dict(OPTIONS['criterion'], offload=True)),
)
OTHERS = dict(
    sparsity=dict(sparsity=0.6),
    seed=dict(seed=1),
    start=dict(policy=dict(type='Gradual', every=1, initial_sparsity=0.4)),
    lr=dict(criterion=dict(type='ProsPr', steps=1, lr=0.02)),
    criterion=dict(criterion='SNIP'),
    temperature=dict(sd_loss=dict(type='CSKDLoss', temperature=2.0)),
    score_weights=dict(score_weights=dict(sd=2.0)),
    exclude=dict(exclude=['head.*']),
    allocation=dict(allocation=dict(type='global', min_density=0.1)),
    structure=dict(structure='rows'),
    draws=dict(draws=6),
    batches_per_step=dict(batches_per_step=2),
)


@pytest.mark.parametrize('options', HARMLESS.values(), ids=HARMLESS)
def test_what_is_made_of_the_scores_does_not_count(
    options, key, pictures, tmp_path
):
    assert key_of(cfg_of(pictures, tmp_path, **options)) == key


@pytest.mark.parametrize('options', OTHERS.values(), ids=OTHERS)
def test_settings_count(options, key, pictures, tmp_path):
    assert key_of(cfg_of(pictures, tmp_path, **options)) != key


def one_weight(model):
    model.head.fc.bias.data[0] += 1e-6


def one_buffer(model):
    model.backbone.bn1.running_mean[0] += 1e-6


def freeze(model):
    model.head.fc.bias.requires_grad = False


@pytest.mark.parametrize('change', [one_weight, one_buffer, freeze])
def test_the_model_counts(change, key, pictures, tmp_path):
    assert key_of(cfg_of(pictures, tmp_path), change) != key


def less_flips(cfg):
    cfg.train_dataloader.dataset.pipeline[1].prob = 0.25


def other_loss(cfg):
    cfg.model.head.loss.loss_weight = 2.0


def larger_batches(cfg):
    cfg.train_dataloader.batch_size = 6


@pytest.mark.parametrize('change', [less_flips, other_loss, larger_batches])
def test_the_config_counts(change, key, pictures, tmp_path):
    cfg = cfg_of(pictures, tmp_path)
    change(cfg)
    assert key_of(cfg) != key


def test_workers_do_not_count(key, pictures, tmp_path):
    cfg = cfg_of(pictures, tmp_path)
    cfg.train_dataloader.update(num_workers=1, persistent_workers=True)
    assert key_of(cfg) == key


def test_the_pictures_of_the_data_set_count(key, pictures, tmp_path):
    extra = pictures / 'class_0' / 'more.png'
    extra.write_bytes((pictures / 'class_1' / '0.png').read_bytes())
    try:
        assert key_of(cfg_of(pictures, tmp_path)) != key
    finally:
        extra.unlink()


@pytest.mark.parametrize('what', ['_package', '_sources'])
def test_code_counts(what, key, pictures, tmp_path, monkeypatch):
    files = getattr(scoring_key, what)

    def edited(*args):
        found = files(*args)
        name = next(name for name in found if 'class' in name)
        return dict(found, **{name: found[name] + b'# edited'})

    monkeypatch.setattr(scoring_key, what, edited)
    assert key_of(cfg_of(pictures, tmp_path)) != key
