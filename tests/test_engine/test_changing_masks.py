"""Masks that a policy changes in a training of mmengine."""

import re
from contextlib import contextmanager

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict

from epsd_mm.engine.saved_state import SavedState
from epsd_mm.engine.settings import Settings
from epsd_mm.policies import SET, Moment
from epsd_mm.pruning import Masks
from epsd_mm.run_page import RunFolder
from epsd_mm.run_page.in_words import in_short
from tests.helpers.datasets import picture_folder
from tests.helpers.runners import hook_of, runner_of, tiny_classifier_cfg
from tests.helpers.small_runs import Linear, Noise, small_runner

GRADUAL = dict(
    type='EPSDHook',
    sparsity=0.8,
    allocation='uniform',
    policy=dict(type='Gradual', every=3),
)
RANDOM = dict(
    type='EPSDHook', sparsity=0.8, criterion='Random', allocation='erk'
)
HOOKS = dict(
    Gradual=GRADUAL,
    SET=dict(RANDOM, policy=dict(type='SET', every=2)),
    RigL=dict(RANDOM, policy=dict(type='RigL', every=2)),
    both=dict(
        GRADUAL,
        criterion='SNIP',
        draws=1,
        sd_loss='PSKDLoss',
        policy=dict(type='Gradual', every=2, initial_sparsity=0.5),
    ),
)


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    return picture_folder(tmp_path_factory.mktemp('pictures'))


class Watch(Hook):
    """After each iteration: what the masks keep, and what is not zero."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.kept, self.masks = [], []

    def after_train_iter(self, runner, *unused, **more):
        masks = hook_of(runner).masks
        params = dict(runner.model.named_parameters())
        averages = [
            dict(hook.ema_model.module.named_parameters())
            for hook in runner.hooks
            if hasattr(hook, 'ema_model')
        ]
        for name, mask in masks.items():
            for weights in (params, *averages):
                assert not weights[name][~mask].any()
        self.kept.append({n: int(m.sum()) for n, m in masks.items()})
        self.masks.append(masks)


def train(pictures, work_dir, hook, epochs=3, resume_from=None, **changes):
    cfg = tiny_classifier_cfg(pictures, work_dir, dict(hook), epochs)
    cfg.optim_wrapper.optimizer.update(momentum=0.9)
    cfg.merge_from_dict(changes)
    if resume_from is not None:
        cfg.load_from, cfg.resume = str(resume_from), True
    runner = runner_of(cfg)
    watch = Watch()
    runner.register_hook(watch)
    runner.train()
    return watch


def saved(path):
    checkpoint = torch.load(path, weights_only=False)
    return checkpoint, SavedState.unpack(checkpoint['epsd'])


@pytest.mark.parametrize('name', HOOKS)
def test_a_run_resumed_in_mid_schedule_ends_alike(name, pictures, tmp_path):
    hook = HOOKS[name]
    watch = train(pictures, tmp_path / 'whole', hook)
    middle = tmp_path / 'whole' / 'epoch_1.pth'
    again = train(pictures, tmp_path / 'again', hook, resume_from=middle)
    first, second = (
        saved(tmp_path / run / 'epoch_3.pth') for run in ('whole', 'again')
    )
    for name, weights in first[0]['state_dict'].items():
        assert torch.equal(second[0]['state_dict'][name], weights), name
    assert first[1].masks == second[1].masks == watch.masks[-1]
    assert first[1].policy == second[1].policy
    assert again.kept == watch.kept[-len(again.kept) :]
    # And something changed before and after it was resumed.
    assert watch.masks[0] != saved(middle)[1].masks != watch.masks[-1]


@pytest.mark.parametrize('lasting', [False, True])
def test_workers_that_outlive_an_epoch_are_told_of(
    lasting, pictures, tmp_path
):
    """mmengine seeds workers when they begin, which is at a resume too."""
    hook = HOOKS['RigL']
    workers = {
        'train_dataloader.num_workers': 1,
        'train_dataloader.persistent_workers': lasting,
    }
    train(pictures, tmp_path / 'whole', hook, **workers)
    middle = tmp_path / 'whole' / 'epoch_1.pth'
    train(pictures, tmp_path / 'again', hook, resume_from=middle, **workers)
    (first, masks), (second, resumed) = (
        saved(tmp_path / run / 'epoch_3.pth') for run in ('whole', 'again')
    )
    equal = all(
        torch.equal(second['state_dict'][name], weights)
        for name, weights in first['state_dict'].items()
    )
    log = next((tmp_path / 'again').glob('*/*.log')).read_text()
    assert log.count('(num_workers=1) draw random augmentations') == lasting
    assert equal != lasting
    assert masks.masks.kept == resumed.masks.kept


class Bfloat16(OptimWrapper):
    """Mixed precision as ``AmpOptimWrapper`` has it, on the CPU."""

    def __init__(self, **options):
        super().__init__(**options)
        self.scaler = torch.amp.GradScaler('cpu', init_scale=4.0)

    @contextmanager
    def optim_context(self, model):
        with super().optim_context(model):
            with torch.autocast('cpu', dtype=torch.bfloat16):
                yield

    def backward(self, loss, **options):
        self.scaler.scale(loss).backward(**options)
        self._inner_count += 1

    def step(self, **options):
        self.scaler.step(self.optimizer, **options)
        self.scaler.update()


# What a training of 16 iterations is like, and where it is resumed.
TRAININGS = dict(
    average=dict(custom_hooks=[dict(type='EMAHook', momentum=0.2)]),
    accumulated=dict(counts=2),
    iterations=dict(
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=16),
        sampler='InfiniteSampler',
    ),
    bfloat16=dict(amp=Bfloat16),
)
MOVES = dict(every=2, fraction=1.0, end=1.0)  # of few weights
POLICIES = dict(
    Gradual=dict(GRADUAL, sparsity=0.5, policy=dict(type='Gradual', every=2)),
    SET=dict(RANDOM, sparsity=0.5, policy=dict(MOVES, type='SET')),
    RigL=dict(RANDOM, sparsity=0.5, policy=dict(MOVES, type='RigL')),
)


def train_small(
    work_dir,
    hook,
    resume_from=None,
    counts=1,
    sampler='DefaultSampler',
    amp=None,
    watching=True,
    **changes,
):
    optimizer = dict(type='SGD', lr=0.1, momentum=0.9)
    wrapper = dict(optimizer=optimizer, accumulative_counts=counts)
    loader = dict(
        batch_size=4,
        num_workers=0,
        dataset=Noise(),
        sampler=dict(type=sampler, shuffle=True),
        collate_fn=lambda batch: dict(inputs=torch.stack(batch)),
    )
    epochs = 'train_cfg' not in changes  # of two iterations
    saves = dict(
        type='CheckpointHook', by_epoch=epochs, interval=1 if epochs else 2
    )
    if resume_from is not None:
        changes.update(load_from=str(resume_from), resume=True)
    runner = small_runner(
        work_dir,
        8,
        hook,
        **dict(
            dict(
                optim_wrapper=wrapper,
                train_dataloader=loader,
                default_hooks=dict(checkpoint=saves, epsd=dict(hook)),
                custom_hooks=[],
            ),
            **changes,
        ),
    )
    if amp:
        built = runner.build_optim_wrapper(runner.optim_wrapper)
        runner.optim_wrapper = amp(
            optimizer=built.optimizer, accumulative_counts=counts
        )
    watch = Watch()
    if watching:
        runner.register_hook(watch)
    runner.train()
    return watch


@pytest.mark.parametrize('policy', POLICIES)
@pytest.mark.parametrize('kind', TRAININGS)
def test_every_kind_of_training_resumed_ends_alike(kind, policy, tmp_path):
    hook, training = POLICIES[policy], TRAININGS[kind]
    watch = train_small(tmp_path / 'whole', hook, **training)
    names = 'epoch_3.pth', 'epoch_8.pth'
    if kind == 'iterations':
        names = 'iter_6.pth', 'iter_16.pth'
    middle = tmp_path / 'whole' / names[0]
    again = train_small(tmp_path / 'again', hook, middle, **training)
    (first, masks), (second, resumed) = (
        saved(tmp_path / run / names[1]) for run in ('whole', 'again')
    )
    for part in ('state_dict', 'ema_state_dict'):
        for name, weights in first.get(part, {}).items():
            assert torch.equal(second[part][name], weights), (part, name)
    assert masks.masks == resumed.masks == watch.masks[-1]
    assert masks.policy == resumed.policy
    assert again.kept == watch.kept[-len(again.kept) :]
    assert saved(middle)[1].masks != watch.masks[-1]


def test_resuming_amid_accumulated_batches_warns(tmp_path):
    hook = POLICIES['SET']
    train_small(tmp_path / 'whole', hook, counts=4)
    middle = tmp_path / 'whole' / 'epoch_3.pth'
    train_small(tmp_path / 'again', hook, middle, counts=4)
    log = next((tmp_path / 'again').glob('*/*.log')).read_text()
    assert log.count('gradient of some iterations is lost') == 1


@pytest.mark.parametrize('hook', ['Gradual', 'RigL', 'fixed', 'dense'])
@pytest.mark.parametrize('iteration, done', [(5, 1), (6, 2)])
def test_resuming_amid_an_epoch_warns(hook, iteration, done, tmp_path):
    """mmengine trains the whole epoch again that had begun."""
    hooks = dict(POLICIES, fixed=RANDOM, dense=dict(type='DenseHook'))
    saves = dict(type='CheckpointHook', by_epoch=False, interval=1)
    hook = dict(hooks[hook])
    each = dict(default_hooks=dict(checkpoint=saves, epsd=hook))
    watching = hook['type'] == 'EPSDHook'
    train_small(tmp_path / 'whole', hook, watching=watching, **each)
    middle = tmp_path / 'whole' / f'iter_{iteration}.pth'
    again = tmp_path / 'again'
    train_small(again, hook, middle, watching=watching, **each)
    log = next(again.glob('*/*.log')).read_text()
    told = f'written after {done} of 2 batches of epoch 3'
    more = f'{done} iterations more than the 16 of its schedule'
    assert log.count(told) == log.count(more) == 1
    last = max(int(path.stem[5:]) for path in again.glob('iter_*.pth'))
    assert last == 16 + done  # as mmengine alone would


@pytest.mark.parametrize('kind', ['average', 'iterations'])
def test_resuming_between_epochs_does_not_warn(kind, tmp_path):
    hook, training = POLICIES['SET'], TRAININGS[kind]
    train_small(tmp_path / 'whole', hook, **training)
    name = 'iter_6.pth' if kind == 'iterations' else 'epoch_3.pth'
    train_small(
        tmp_path / 'again', hook, tmp_path / 'whole' / name, **training
    )
    log = next((tmp_path / 'again').glob('*/*.log')).read_text()
    assert 'resumed epoch' in log and 'begins anew' not in log


@pytest.mark.parametrize('name', ['Gradual', 'SET', 'RigL'])
def test_masks_are_counted_after_every_update(name, pictures, tmp_path):
    watch = train(pictures, tmp_path, HOOKS[name])  # 18 iterations
    totals = [sum(kept.values()) for kept in watch.kept]
    weights = watch.masks[0].total
    if name != 'Gradual':
        assert all(kept == watch.kept[0] for kept in watch.kept)
        return
    # t_0 = 0, n Δt = 12: s_t = .8 (1 − (1 − t/12)³)
    for step, kept in enumerate(totals, 1):
        done = min(step // 3 * 3 / 12, 1)
        assert kept == round(weights * (1 - 0.8 * (1 - (1 - done) ** 3)))


def test_checkpoints_and_the_file_of_masks_have_those_in_force(
    pictures, tmp_path
):
    watch = train(pictures, tmp_path, HOOKS['RigL'])
    for epoch in (1, 2, 3):
        checkpoint, state = saved(tmp_path / f'epoch_{epoch}.pth')
        assert state.masks == watch.masks[6 * epoch - 1]
        for name, mask in state.masks.items():
            assert not checkpoint['state_dict'][name][~mask].any()
        assert state.policy['step'] == 6 * epoch
    assert Masks.load(tmp_path / 'epsd' / 'masks.pth') == watch.masks[-1]
    log = next(tmp_path.glob('*/*.log')).read_text()
    told = re.findall(r'masks after step (\d+): ([\d,]+) of', log)
    assert [int(step) for step, _ in told] == [2, 4, 6, 8, 10, 12]
    assert {int(kept.replace(',', '')) for _, kept in told} == {
        watch.masks[0].kept
    }


def test_an_average_of_weights_has_none_that_went(pictures, tmp_path):
    ema = dict(type='EMAHook', momentum=0.1)
    train(pictures, tmp_path, HOOKS['RigL'], custom_hooks=[ema])
    checkpoint, state = saved(tmp_path / 'epoch_3.pth')
    for name, mask in state.masks.items():
        assert not checkpoint['state_dict'][name][~mask].any()
        plain = checkpoint['ema_state_dict'][f'module.{name}']
        assert not plain[~mask].any() and plain[mask].any()


def test_steps_are_those_of_the_optimiser(pictures, tmp_path):
    """18 batches, 4 of which make a step, and the rest another one."""
    hook = dict(RANDOM, policy=dict(type='SET', every=1, end=1.0))
    watch = train(
        pictures,
        tmp_path,
        hook,
        **{'optim_wrapper.accumulative_counts': 4},
    )
    pairs = zip(watch.masks[:-1], watch.masks[1:])
    changes = [i for i, (a, b) in enumerate(pairs, 2) if a != b]
    assert changes == [4, 8, 12, 16]  # at the end nothing moves
    assert saved(tmp_path / 'epoch_3.pth')[1].policy['step'] == 5


class Kill(Hook):
    """Ends a training once its fourth checkpoint is there."""

    priority = 'LOWEST'

    def after_train_epoch(self, runner):
        if runner.epoch == 3:
            raise RuntimeError('killed')


def test_a_run_that_goes_back_has_the_masks_of_its_newest_checkpoint(
    tmp_path,
):
    """They change after step 10, and it is resumed from the one before."""
    move = dict(type='SET', every=10, fraction=1.0, end=1.0)
    hook = dict(RANDOM, sparsity=0.5, policy=move)
    run = tmp_path / 'run'
    watch = train_small(run, hook)
    file = run / 'epsd' / 'masks.pth'
    assert Masks.load(file) == watch.masks[-1] != watch.masks[0]

    with pytest.raises(RuntimeError, match='killed'):
        train_small(run, hook, run / 'epoch_3.pth', custom_hooks=[Kill()])
    assert saved(run / 'epoch_4.pth')[1].masks == watch.masks[0]
    assert Masks.load(file) == watch.masks[0]


class Choosing(Linear):
    """Takes its optimiser from several, of which there is one."""

    def train_step(self, data, optim_wrapper):
        wrapper = optim_wrapper['only']
        loss = self(data['inputs'], mode='loss')['loss']
        wrapper.update_params(loss)
        return dict(loss=loss)


@pytest.mark.parametrize('counts', [1, 2])
def test_an_optimiser_by_name_is_one_too(counts, tmp_path):
    """16 batches; s_t = .8 (1 − (1 − t/6)³) of 24 weights at 3 and 6."""
    policy = dict(type='Gradual', every=3, end=6 * counts / 16)
    hook = dict(OLD, sparsity=0.8, criterion=None, policy=policy)
    model = Choosing()
    only = OptimWrapper(
        torch.optim.SGD(model.parameters(), 0.1), accumulative_counts=counts
    )
    runner = small_runner(tmp_path, 8, hook, model=model)
    runner.optim_wrapper = OptimWrapperDict(only=only)
    watch = Watch()
    runner.register_hook(watch)
    runner.train()
    totals = [sum(kept.values()) for kept in watch.kept]
    one, two, left = 3 * counts - 1, 3 * counts, 17 - 6 * counts
    assert totals == one * [24] + two * [7] + left * [5]


def test_a_run_without_a_policy_is_not_resumed_with_one(pictures, tmp_path):
    train(pictures, tmp_path / 'plain', RANDOM, epochs=1)
    first = tmp_path / 'plain' / 'epoch_1.pth'
    with pytest.raises(ValueError, match='trained with policy=None'):
        train(pictures, tmp_path / 'a', HOOKS['SET'], resume_from=first)
    checkpoint, state = saved(first)
    del state.identity['policy']  # as earlier versions have saved it
    checkpoint['epsd'] = state.pack()
    torch.save(checkpoint, first)
    with pytest.raises(ValueError, match='trained without a policy'):
        train(pictures, tmp_path / 'old', HOOKS['SET'], resume_from=first)
    train(pictures, tmp_path / 'set', HOOKS['SET'], epochs=1)
    first = tmp_path / 'set' / 'epoch_1.pth'
    with pytest.raises(ValueError, match="policy={'type': 'SET'"):
        train(pictures, tmp_path / 'b', RANDOM, resume_from=first)
    with pytest.raises(ValueError, match='through 6 steps.* has 12'):
        train(pictures, tmp_path / 'c', HOOKS['SET'], 2, first)


@pytest.mark.parametrize('first', [None, 'Fixed', 'told'])
def test_to_have_the_default_is_to_have_no_policy(first, tmp_path):
    """As a checkpoint says it, or one of an earlier version."""
    hook = dict(RANDOM, policy=None if first is None else 'Fixed')
    train_small(tmp_path / 'first', hook)
    path = tmp_path / 'first' / 'epoch_3.pth'
    if first == 'told':
        checkpoint, state = saved(path)
        assert state.identity['policy'] is None
        state.identity['policy'] = dict(type='Fixed')
        checkpoint['epsd'] = state.pack()
        torch.save(checkpoint, path)
    hook['policy'] = 'Fixed' if first is None else None
    watch = train_small(tmp_path / 'again', hook, path)
    assert len(watch.kept) == 10


def test_a_schedule_longer_than_training_is_told_before_scoring(
    pictures, tmp_path
):
    hook = dict(RANDOM, policy=dict(type='RigL', every=100))
    with pytest.raises(ValueError, match='training of 18 steps'):
        train(pictures, tmp_path, hook)
    assert not (tmp_path / 'epsd').exists()


OUT_OF_REACH = {
    '0.5 at most': dict(allocation=dict(type='global', min_density=0.5)),
    'at least': dict(allocation={'layer.weight': 0.9}),
    'matches no prunable weight': dict(allocation={'nothing*': 0.5}),
    'groups of 4': dict(structure='2:4', sparsity=0.5),  # of six columns
}


@pytest.mark.parametrize('initial', [0.0, 0.2])
@pytest.mark.parametrize('message', OUT_OF_REACH)
def test_a_target_out_of_reach_is_told_before_scoring(
    message, initial, tmp_path
):
    policy = dict(type='Gradual', every=3, initial_sparsity=initial)
    hook = dict(type='EPSDHook', sparsity=0.8, policy=policy)
    if initial:
        hook['criterion'] = 'Random'
    hook.update(OUT_OF_REACH[message])
    runner = small_runner(tmp_path, 8, hook)
    with pytest.raises(ValueError, match=message):
        runner.train()
    assert runner.iter == 0 and not (tmp_path / 'epsd').exists()


OLD = dict(type='EPSDHook', sparsity=0.5, criterion='Random')
FROM_DENSE = dict(OLD, criterion=None, policy=dict(type='Gradual', every=3))


@pytest.mark.parametrize('policy', ['Gradual', 'given', 'same'])
def test_no_report_of_other_masks_is_left(policy, tmp_path):
    """Of an earlier run in the same work dir, whose masks nobody has."""
    small_runner(tmp_path / 'run', 8, OLD).train()
    folder = tmp_path / 'run' / 'epsd'
    masks = Masks.load(folder / 'masks.pth')
    (folder / 'channels.pth').touch()
    hook = FROM_DENSE
    if policy != 'Gradual':
        given = masks if policy == 'same' else Masks.ones_like(masks)
        given.save(tmp_path / 'given.pth')
        hook = dict(type='EPSDHook', masks=str(tmp_path / 'given.pth'))
    small_runner(tmp_path / 'run', 8, hook).train()
    left = {'masks.pth'}
    if policy == 'same':  # the report is of these very masks
        left |= {'report.json', 'density.png', 'channels.pth'}
    assert {file.name for file in folder.iterdir()} == left


def test_a_page_shows_the_masks_at_the_end(tmp_path):
    """From 18 of 24 weights to 6."""
    policy = dict(type='Gradual', every=3, initial_sparsity=0.25)
    hook = dict(OLD, sparsity=0.75, policy=policy)
    cfg = Config(dict(default_hooks=dict(epsd=hook)))
    train_small(tmp_path, hook, cfg=cfg)
    run = RunFolder.of(tmp_path)
    assert run.report['kept'] == 18 and run.masks.kept == 6
    (table,) = in_short(run).blocks
    (said,) = [row[1] for row in table.rows if row[0] == 'weights removed']
    expected = '75.00% of 24 prunable ones, 6 are left, by policy Gradual'
    assert said == expected


class Overflowing(Bfloat16):
    """Its first gradient overflows, so that a step is skipped."""

    def backward(self, loss, **options):
        super().backward(loss * (1 if self._inner_count else torch.inf))


def test_a_target_missed_for_skipped_steps_is_told(tmp_path):
    """15 of 16 steps: .9 (1 − (1 − 8/16)³) of 24 weights are gone."""
    policy = dict(type='Gradual', every=8, end=1.0)
    hook = dict(OLD, sparsity=0.9, criterion=None, policy=policy)
    watch = train_small(tmp_path, hook, amp=Overflowing)
    assert watch.masks[-1].kept == 5  # of 24: .2125
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert log.count('sparsity 0.791667 at the end of training, and 0.9') == 1
    assert 'made 15 of 16 steps' in log and 'its end below 1' in log


class Narrow(Linear):
    """24 weights, and then 2."""

    def __init__(self):
        super().__init__()
        self.last = torch.nn.Linear(2, 1)

    def forward(self, inputs, mode='tensor'):
        outputs = self.last(super().forward(inputs)[:, :2])
        return dict(loss=outputs.mean()) if mode == 'loss' else outputs


def test_a_layer_without_a_share_is_told_before_training(tmp_path):
    """Of 26 weights 5 are kept: 4.6 and .4, that is 5 and none."""
    policy = dict(type='Gradual', every=3)
    hook = dict(
        type='EPSDHook', sparsity=0.8, allocation='uniform', policy=policy
    )
    runner = small_runner(tmp_path / 'told', 8, hook, model=Narrow())
    with pytest.raises(ValueError, match='nothing of 1 of 2 layers: last'):
        runner.train()
    assert runner.iter == 0 and not (tmp_path / 'told' / 'epsd').exists()
    hook['allow_empty_layers'] = True
    runner = small_runner(tmp_path / 'allowed', 8, hook, model=Narrow())
    runner.train()
    assert hook_of(runner).masks.empty_layers() == ['last.weight']


REFUSED = {
    'policy=RigL changes masks while it trains': dict(
        policy='RigL', masks='m.pth', sparsity=0.5
    ),
    'RigL has no sparsity': dict(policy='RigL'),
    "unknown policy 'GMP', here 'Gradual'; known are": dict(
        policy='GMP', sparsity=0.5
    ),
    "structure='channels' beside policy=RigL: whole channels go": dict(
        policy='RigL',
        structure='channels',
        criterion='Random',
        allocation='erk',
        sparsity=0.5,
    ),
    'single weights, which Rows': dict(
        policy='SET', sparsity=0.5, structure='rows', criterion='Random'
    ),
    "structure='channels' beside policy=Gradual": dict(
        policy='Gradual', sparsity=0.5, structure='channels'
    ),
    "structure='neurons' beside policy=Gradual: whole neurons": dict(
        policy='Gradual', sparsity=0.5, structure='neurons'
    ),
    'starts with all weights, so that criterion=SNIP': dict(
        policy='Gradual', sparsity=0.5, criterion='SNIP'
    ),
    'starts with masks of sparsity 0.5, and criterion=None': dict(
        policy='RigL', sparsity=0.5, criterion=None
    ),
    'must be below sparsity=0.5': dict(
        policy=dict(type='Gradual', initial_sparsity=0.6), sparsity=0.5
    ),
    'nothing is scored, so draws=4, seed=1': dict(
        policy='Gradual', sparsity=0.5, draws=4, seed=1
    ),
    'Gradual has no sparsity': dict(policy='Gradual'),
    "unknown policy 'Rigl'; known are Fixed, Gradual, RigL, SET": dict(
        policy='Rigl', sparsity=0.5
    ),
    'policy RigL has no option interval': dict(
        policy=dict(type='RigL', interval=3), sparsity=0.5
    ),
}


@pytest.mark.parametrize('message', REFUSED)
def test_what_does_not_stand_beside_a_policy_is_refused(message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Settings.build(**REFUSED[message])


def test_masks_of_the_start_are_those_of_any_criterion():
    settings = Settings.build(policy='RigL', sparsity=0.9)
    assert settings.initial_sparsity == 0.9
    assert type(settings.criterion).__name__ == 'ProsPr'
    half = Settings.build(
        policy=dict(type='Gradual', initial_sparsity=0.5), sparsity=0.9
    )
    assert half.initial_sparsity == 0.5 and half.sparsity == 0.9


WEIGHTS = dict(a=torch.zeros(8, 8), b=torch.zeros(4, 16))
# By the formula with s_f of each layer: s_0 = .25, or .4, of it is gone.
STARTS = dict(
    globs=(dict(sparsity=0.75, allocation={'*': 0.75}), 0.25, (48, 48)),
    one_glob=(dict(sparsity=0.5, allocation={'a': 0.75}), 0.25, (48, 48)),
    room=(dict(sparsity=0.75, allocation={'a': 0.5}), 0.4, (38, 39)),
    low=(dict(sparsity=0.5, allocation={'a': 0.2}), 0.4, (51, 38)),
    pairs=(dict(sparsity=0.5, structure='2:4'), 0.25, (48, 48)),
    both=(
        dict(sparsity=0.5, structure='2:4', allocation={'*': 0.5}),
        0.4,
        (48, 48),  # three of four: two would be more than is asked
    ),
    global_=(dict(sparsity=0.75), 0.25, (64, 32)),
)


@pytest.mark.parametrize('start', STARTS)
def test_allocation_and_structure_hold_from_the_start_on(start):
    options, initial, kept = STARTS[start]
    policy = dict(type='Gradual', initial_sparsity=initial)
    settings = Settings.build(criterion='Random', policy=policy, **options)
    target = settings.initial_target(WEIGHTS)
    target.check()
    scores = dict(a=torch.rand(8, 8) + 1, b=torch.rand(4, 16))
    masks = target.select(scores)
    a, b = (int(mask.sum()) for mask in masks.values())
    # What no glob names makes up for the rounding of what one does.
    room = 3 if 'a' in options.get('allocation', ()) else 0
    assert a == kept[0] and kept[1] <= b <= kept[1] + room
    # And the first update finds nothing that was to go before.
    first = settings.policy.next(
        masks, scores, {}, Moment(0, 1000), settings.target(WEIGHTS)
    )
    assert first == masks


def test_a_start_beside_globs_is_trained_from(tmp_path):
    """Of 24 weights: s_t = .75 − .5 (1 − t/12)³ at 0, 3, …, 12."""
    policy = dict(type='Gradual', every=3, initial_sparsity=0.25)
    hook = dict(RANDOM, sparsity=0.75, policy=policy)
    watch = train_small(tmp_path, dict(hook, allocation={'layer*': 0.75}))
    totals = [sum(kept.values()) for kept in watch.kept]
    assert totals == 2 * [18] + 3 * [11] + 3 * [8] + 3 * [6] + 5 * [6]


def test_masks_of_a_start_keep_as_many_as_training_starts_with(tmp_path):
    Masks({'a.weight': torch.arange(10) < 7}).save(tmp_path / 'masks.pth')
    policy = dict(type='Gradual', initial_sparsity=0.2)
    settings = Settings.build(
        sparsity=0.5,
        policy=policy,
        criterion='Random',
        start=tmp_path / 'masks.pth',
    )
    message = '0.3, and initial_sparsity=0.2 keeps more'
    with pytest.raises(ValueError, match=message):
        settings.read_start()


class Stateful(SET):
    """Counts its updates."""

    _calls = 0

    def next(self, *args):
        self._calls += 1
        return super().next(*args)

    def state_dict(self):
        return dict(calls=self._calls)

    def load_state_dict(self, state):
        self._calls = state['calls']


def test_a_policy_of_ones_own_keeps_its_state(pictures, tmp_path):
    hook = dict(RANDOM, policy=Stateful(every=2))
    train(pictures, tmp_path / 'whole', hook)
    middle = tmp_path / 'whole' / 'epoch_1.pth'
    hook = dict(RANDOM, policy=Stateful(every=2))
    train(pictures, tmp_path / 'again', hook, resume_from=middle)
    _, state = saved(tmp_path / 'again' / 'epoch_3.pth')
    assert state.policy['policy'] == dict(calls=6)


@pytest.mark.parametrize('flexible', [False, True])
@pytest.mark.parametrize('by_epoch', [False, True])
def test_every_loop_counts_its_steps(flexible, by_epoch, tmp_path):
    """Eight samples in batches of four, 12 times."""
    loop = dict(type='IterBasedTrainLoop', max_iters=24)
    loop = dict(by_epoch=True, max_epochs=12) if by_epoch else loop
    # Such a loop waits where a sampler comes to an end.
    sampler = 'DefaultSampler' if by_epoch else 'InfiniteSampler'
    runner = small_runner(
        tmp_path,
        hook=dict(
            type='EPSDHook',
            sparsity=0.75,
            policy=dict(type='Gradual', every=6),
        ),
        flexible=flexible,
        train_cfg=loop,
        train_dataloader=dict(
            batch_size=4,
            num_workers=0,
            dataset=Noise(),
            sampler=dict(type=sampler, shuffle=True),
            collate_fn=lambda batch: dict(inputs=torch.stack(batch)),
        ),
    )
    watch = Watch()
    runner.register_hook(watch)
    runner.train()
    totals = [sum(kept.values()) for kept in watch.kept]
    # Of 24 weights: s_t = .75 (1 − (1 − t/18)³) at 6, 12, 18
    assert totals == 5 * [24] + 6 * [11] + 6 * [7] + 7 * [6]
