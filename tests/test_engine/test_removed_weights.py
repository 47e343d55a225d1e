"""A removed weight takes part in nothing of a run, and none comes back."""

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.optim import ApexOptimWrapper, OptimWrapper, OptimWrapperDict
from torch import nn

from epsd_mm.engine.hooks import DenseHook, RevivalHook
from epsd_mm.engine.optimizers import optimizers_of
from epsd_mm.pruning import Masks
from tests.helpers.datasets import picture_folder
from tests.helpers.models import tiny_classifier
from tests.helpers.runners import hook_of, runner_of, tiny_classifier_cfg
from tests.helpers.small_runs import PRUNED, small_runner

RANDOM = dict(
    type='EPSDHook',
    sparsity=0.9,
    criterion='Random',
    allow_empty_layers=True,
)


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    return picture_folder(tmp_path_factory.mktemp('pictures'))


@pytest.fixture(scope='module')
def source(pictures, tmp_path_factory):
    """Work dir of a pruned run."""
    work_dir = tmp_path_factory.mktemp('source')
    runner_of(tiny_classifier_cfg(pictures, work_dir, RANDOM)).train()
    return work_dir


@pytest.fixture(scope='module')
def masks(source):
    return Masks.load(source / 'epsd' / 'masks.pth')


def plain_cfg(*args):
    """The config of a run without a hook of this package."""
    cfg = tiny_classifier_cfg(*args[:2], {}, *args[2:])
    cfg.default_hooks.pop('epsd')
    return cfg


class Norms(Hook):
    """Remembers the gradients that the optimiser's steps are given."""

    def before_train(self, runner):
        self.kept, self.removed = [], 0
        self.masks = hook_of(runner).masks
        optimizer = runner.optim_wrapper.optimizer
        optimizer.register_step_pre_hook(lambda *unused: self.look(runner))

    def look(self, runner):
        square = 0.0
        for name, param in runner.model.named_parameters():
            gradient = param.grad
            if name in self.masks:
                mask = self.masks[name]
                self.removed += int(gradient[~mask].count_nonzero())
                gradient = gradient[mask]
            square += float(gradient.double().square().sum())
        self.kept.append(square**0.5)


@pytest.mark.parametrize('accumulated', [1, 2])
def test_the_logged_norm_is_that_of_what_is_kept(
    accumulated, pictures, tmp_path
):
    cfg = tiny_classifier_cfg(pictures, tmp_path, RANDOM)
    cfg.optim_wrapper.clip_grad = dict(max_norm=1e9)
    cfg.optim_wrapper.accumulative_counts = accumulated
    runner = runner_of(cfg)
    norms = Norms()
    runner.register_hook(norms, priority='LOWEST')
    runner.train()
    logged = runner.message_hub.get_scalar('train/grad_norm').current()
    assert norms.removed == 0
    assert logged > 0
    assert logged == pytest.approx(norms.kept[-1], rel=1e-4)


def test_momentum_of_a_dense_checkpoint_is_cleared_on_resume(
    source, masks, pictures, tmp_path
):
    checkpoint = torch.load(source / 'epoch_1.pth', weights_only=False)
    model = tiny_classifier()
    checkpoint['optimizer']['state'] = {
        index: dict(momentum_buffer=torch.ones_like(param))
        for index, param in enumerate(model.parameters())
    }
    torch.save(checkpoint, tmp_path / 'old.pth')
    cfg = tiny_classifier_cfg(pictures, tmp_path, RANDOM, 2)
    cfg.optim_wrapper.optimizer.momentum = 0.9
    cfg.load_from, cfg.resume = str(tmp_path / 'old.pth'), True
    runner = runner_of(cfg)
    runner.train()
    weights = dict(runner.model.named_parameters())
    for name in masks:
        buffer = runner.optim_wrapper.optimizer.state[weights[name]]
        assert not buffer['momentum_buffer'][~masks[name]].any()


def warnings_of(caplog):
    said = [r.getMessage() for r in caplog.records if r.levelno >= 30]
    return [text for text in said if 'revives' in text]


def begun(cfg, caplog, hook=None):
    """A runner whose training has begun and ended, and its warnings."""
    runner = runner_of(cfg)
    if hook is not None:
        runner.register_hook(hook)
    runner.logger.addHandler(caplog.handler)
    runner.train()
    return runner


def test_load_from_of_a_pruned_checkpoint_into_a_dense_run_is_counted(
    source, masks, pictures, tmp_path, caplog
):
    cfg = tiny_classifier_cfg(pictures, tmp_path, dict(type='DenseHook'))
    cfg.load_from = str(source / 'epoch_1.pth')
    begun(cfg, caplog)
    removed = f'{masks.total - masks.kept:,}'
    (said,) = warnings_of(caplog)
    assert f'training revives {removed} weights' in said
    assert "masks='" in said


def test_resume_without_the_hook_is_counted(
    source, masks, pictures, tmp_path, caplog
):
    cfg = plain_cfg(pictures, tmp_path, 2)
    cfg.load_from, cfg.resume = str(source / 'epoch_1.pth'), True
    begun(cfg, caplog, RevivalHook())
    (said,) = warnings_of(caplog)
    assert f'{masks.total - masks.kept:,} weights' in said


def test_plain_self_distillation_from_a_pruned_checkpoint_is_counted(
    source, masks, pictures, tmp_path, caplog
):
    epsd = dict(type='EPSDHook', criterion=None, sd_loss='PSKDLoss')
    cfg = tiny_classifier_cfg(pictures, tmp_path, epsd)
    cfg.load_from = str(source / 'epoch_1.pth')
    begun(cfg, caplog)
    (said,) = warnings_of(caplog)
    assert f'{masks.total - masks.kept:,} weights' in said


def test_masks_that_keep_what_was_removed_are_counted(
    source, masks, pictures, tmp_path, caplog
):
    cfg = tiny_classifier_cfg(pictures, tmp_path, dict(RANDOM, sparsity=0.5))
    cfg.load_from = str(source / 'epoch_1.pth')
    runner = begun(cfg, caplog)
    new = hook_of(runner).masks
    revived = sum(int((new[n] & ~masks[n]).sum()) for n in masks)
    (said,) = warnings_of(caplog)
    assert f'{revived:,} weights' in said


def test_the_masks_of_the_checkpoint_revive_nothing(
    source, pictures, tmp_path, caplog
):
    epsd = dict(type='EPSDHook', masks=str(source / 'epsd' / 'masks.pth'))
    cfg = tiny_classifier_cfg(pictures, tmp_path, epsd)
    cfg.load_from = str(source / 'epoch_1.pth')
    begun(cfg, caplog)
    assert warnings_of(caplog) == []


def test_a_backbone_that_starts_from_a_pruned_file_is_counted(
    source, masks, pictures, tmp_path, caplog
):
    cfg = tiny_classifier_cfg(pictures, tmp_path, dict(type='DenseHook'))
    cfg.model = dict(
        cfg.model,
        backbone=dict(
            cfg.model.backbone,
            init_cfg=dict(
                type='Pretrained',
                checkpoint=str(source / 'epoch_1.pth'),
                prefix='backbone.',
            ),
        ),
    )
    begun(cfg, caplog)
    part = masks.part('backbone')
    (said,) = warnings_of(caplog)
    assert f'{part.total - part.kept:,} weights' in said


def test_a_dense_checkpoint_over_a_pruned_file_revives_nothing(
    source, pictures, tmp_path, caplog
):
    runner_of(plain_cfg(pictures, tmp_path / 'dense')).train()
    cfg = tiny_classifier_cfg(pictures, tmp_path / 'b', dict(type='DenseHook'))
    init = dict(
        type='Pretrained',
        checkpoint=str(source / 'epoch_1.pth'),
        prefix='backbone.',
    )
    cfg.model = dict(
        cfg.model, backbone=dict(cfg.model.backbone, init_cfg=init)
    )
    cfg.load_from = str(tmp_path / 'dense' / 'epoch_1.pth')
    begun(cfg, caplog)
    assert warnings_of(caplog) == []


def test_a_dense_checkpoint_says_nothing(pictures, tmp_path, caplog):
    cfg = plain_cfg(pictures, tmp_path / 'a')
    runner_of(cfg).train()
    cfg = plain_cfg(pictures, tmp_path / 'b')
    cfg.load_from = str(tmp_path / 'a' / 'epoch_1.pth')
    begun(cfg, caplog, DenseHook())
    assert warnings_of(caplog) == []


def apex(model, **options):
    """An apex wrapper as its constructor leaves it, without apex."""
    wrapper = ApexOptimWrapper.__new__(ApexOptimWrapper)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    OptimWrapper.__init__(wrapper, optimizer)
    settings = dict(opt_level='O1', master_weights=None, enabled=True)
    for name, value in {**settings, **options}.items():
        setattr(wrapper, name, value)
    return wrapper


@pytest.mark.parametrize(
    'options', [dict(opt_level='O2'), dict(master_weights=True)]
)
@pytest.mark.parametrize('several', [False, True])
def test_master_weights_are_refused(options, several):
    wrapper = apex(nn.Linear(2, 2), **options)
    if several:
        wrapper = OptimWrapperDict(a=apex(nn.Linear(2, 2)), b=wrapper)
    with pytest.raises(ValueError, match='float32 copies') as error:
        optimizers_of(wrapper)
    assert repr(options.get('opt_level', 'O1')) in str(error.value)


@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(opt_level='O3'),
        dict(opt_level='O2', master_weights=False),
        dict(opt_level='O2', enabled=False),
    ],
)
def test_other_levels_of_apex_are_not(options):
    wrapper = apex(nn.Linear(2, 2), **options)
    assert optimizers_of(wrapper) == [wrapper.optimizer]


def test_given_masks_alone_say_what_stays_whole(
    source, pictures, tmp_path, caplog
):
    epsd = dict(type='EPSDHook', masks=str(source / 'epsd' / 'masks.pth'))
    runner = runner_of(tiny_classifier_cfg(pictures, tmp_path, epsd))
    runner.model.table = nn.Embedding(60, 40)
    runner.logger.addHandler(caplog.handler)
    hook_of(runner)._new_masks(
        runner, runner.model, hook_of(runner).settings.read_masks()
    )
    said = [r.getMessage() for r in caplog.records]
    assert any(
        '2,400 weights' in text and 'Embedding' in text for text in said
    )


@pytest.mark.parametrize('flexible', [False, True], ids=['plain', 'flexible'])
@pytest.mark.parametrize(
    'other',
    [dict(PRUNED, criterion='Random', sparsity=0.7), dict(type='DenseHook')],
    ids=lambda hook: hook['type'],
)
def test_a_second_hook_of_a_run_is_refused(other, flexible, tmp_path):
    """Its masks would join, but not those of the checkpoint."""
    hooks = dict(custom_hooks=[dict(PRUNED), dict(other)])
    runner = small_runner(tmp_path, flexible=flexible, **hooks)
    with pytest.raises(ValueError, match=f'EPSDHook and {other["type"]}'):
        runner.train()
