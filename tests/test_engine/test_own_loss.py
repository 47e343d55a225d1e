"""A loss with a need of its own is one file of the user's."""

import copy
import sys

import pytest

from epsd_mm.engine.variants import apply_sd_loss, apply_variant
from tests.helpers.datasets import picture_folder
from tests.helpers.runners import hook_of, runner_of, tiny_classifier_cfg

FILE = """
from mmengine.registry import DATA_SAMPLERS, MODELS

from epsd_mm.datasets.samplers.base import WrappingBatchSampler
from epsd_mm.distillation import Pairs, Partner, SelfDistillationLoss, Watch


@DATA_SAMPLERS.register_module()
class TwinBatchSampler(WrappingBatchSampler):
    does = 'loads each image twice'

    def __init__(self, sampler, batch_size, base=None, drop_last=None):
        super().__init__(sampler, batch_size, batch_size, base, drop_last)

    def __iter__(self):
        for batch in self.base:
            yield batch + batch


class Twins(Pairs):
    sampler = 'TwinBatchSampler'
    why = 'compares each image with itself'

    def watch(self, loss):
        return Watch(loss)


class Twin(Partner):
    needs = Twins()


@MODELS.register_module()
class TwinLoss(SelfDistillationLoss):
    def build_teacher(self):
        return Twin()

    def forward(self, observation, rows, found, progress=1.0):
        apart = (observation.logits - rows)[found].square().sum(1)
        return self.loss_weight * observation.weights[found] @ apart
"""


@pytest.fixture(scope='module', autouse=True)
def own_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp('own')
    (folder / 'twin_losses.py').write_text(FILE)
    sys.path.insert(0, str(folder))
    import twin_losses  # noqa: F401

    yield
    sys.path.remove(str(folder))


@pytest.fixture
def cfg(tmp_path):
    pictures = picture_folder(tmp_path / 'pictures')
    hook = dict(
        type='EPSDHook',
        sparsity=0.5,
        criterion=dict(type='ProsPr', steps=1, lr=0.01),
        sd_loss='CSKDLoss',
        draws=1,
        allow_empty_layers=True,
    )
    cfg = tiny_classifier_cfg(pictures, tmp_path / 'run', hook)
    cfg.custom_imports.imports.append('twin_losses')
    base = dict(type='ClassPairBatchSampler', drop_last=True)
    cfg.train_dataloader.batch_sampler = base
    return cfg


def test_it_scores_and_trains_on_the_batches_of_its_sampler(cfg):
    apply_sd_loss(cfg, 'TwinLoss')
    assert cfg.train_dataloader.batch_sampler.type == 'TwinBatchSampler'
    assert cfg.train_dataloader.batch_sampler.drop_last
    runner = runner_of(cfg)
    runner.train()
    terms, _ = runner.message_hub.get_scalar('train/loss_sd').data
    assert (terms > 0).all()
    assert hook_of(runner).masks.sparsity == pytest.approx(0.5, abs=1e-2)


def test_its_plain_runs_have_no_sampler_of_it(cfg):
    apply_sd_loss(cfg, 'TwinLoss')
    for variant in ('dense', 'prune-only'):
        plain = copy.deepcopy(cfg)
        apply_variant(plain, variant)
        assert plain.train_dataloader.batch_sampler is None
        assert plain.train_dataloader.batch_size == 4


def test_without_its_sampler_it_is_refused_with_the_line_to_add(cfg):
    cfg.default_hooks.epsd.sd_loss = 'TwinLoss'
    with pytest.raises(
        ValueError,
        match='TwinLoss compares each image with '
        "itself.*type='TwinBatchSampler'",
    ):
        runner_of(cfg).train()


def test_its_sampler_is_refused_beside_another_loss(cfg):
    cfg.default_hooks.epsd.sd_loss = 'PSKDLoss'
    cfg.train_dataloader.batch_sampler = dict(type='TwinBatchSampler')
    with pytest.raises(
        ValueError,
        match='TwinBatchSampler loads each image '
        'twice, but PSKDLoss makes no use of that',
    ):
        runner_of(cfg).train()
