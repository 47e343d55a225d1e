"""Whole channels go before training and stay out of it."""

import copy
import json
import logging

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from torch.nn.functional import cross_entropy

from epsd_mm.engine import model_units
from epsd_mm.engine.settings import Settings
from epsd_mm.pruning import Masks, Random
from epsd_mm.structure import Channels
from tests.helpers.runners import hook_of
from tests.helpers.small_runs import small_runner
from tests.helpers.units import Branches, branches_groups

WIDTH, BODY = 16, 24
ONE, REST = 'net.one', 'net.body'
SIZES = {
    'net.one.weight': WIDTH * 18,
    'net.two.weight': WIDTH * 2,
    'net.body.weight': WIDTH * BODY * 9,
    'net.head.weight': BODY * 12,
}
CHANNELS = dict(
    type='EPSDHook', sparsity=0.5, criterion='SNIP', structure='channels'
)


class Pictures(torch.utils.data.Dataset):
    """Sixteen, with labels."""

    def __len__(self):
        return 16

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return torch.randn(2, 6, 6, generator=generator), index % 3


class Classifier(BaseModel):
    """A network that has units, see the helper."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = Branches(WIDTH, BODY)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        outputs = self.net(inputs)
        if mode == 'loss':
            return dict(loss=cross_entropy(outputs, data_samples))
        return outputs


@pytest.fixture(autouse=True)
def grouped_by_hand(monkeypatch):
    monkeypatch.setattr(
        model_units,
        'find_model_groups',
        lambda model: branches_groups(WIDTH, BODY, 'net.'),
    )


def collate(batch):
    pictures, labels = zip(*batch)
    return dict(
        inputs=torch.stack(pictures), data_samples=torch.tensor(labels)
    )


def runner(work_dir, epochs=1, hook=CHANNELS, **changes):
    epsd = dict(hook, **changes.pop('epsd', {}))
    sampler = dict(type='DefaultSampler', shuffle=True)
    loader = dict(batch_size=8, num_workers=0, sampler=sampler)
    optimizer = dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=0.01)
    options = dict(
        model=Classifier(),
        train_dataloader=dict(loader, dataset=Pictures(), collate_fn=collate),
        optim_wrapper=dict(optimizer=optimizer),
        cfg=Config(dict(train_dataloader=loader)),
    )
    return small_runner(work_dir, epochs, epsd, **{**options, **changes})


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('channels')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            model_units,
            'find_model_groups',
            lambda model: branches_groups(WIDTH, BODY, 'net.'),
        )
        finished = runner(work_dir, epochs=2)
        finished.train()
    return work_dir, finished


def saved(work_dir, epoch):
    return torch.load(work_dir / f'epoch_{epoch}.pth', weights_only=False)


def channels_of(work_dir, epoch):
    return Channels.unpack(saved(work_dir, epoch)['epsd']['channels'])


def test_nothing_of_a_removed_channel_lives(trained):
    work_dir, finished = trained
    channels = channels_of(work_dir, 2)
    assert 0 < channels.kept < channels.total
    start = Classifier().state_dict()
    for weights in (
        finished.model.state_dict(),
        saved(work_dir, 2)['state_dict'],
    ):
        for name in ('norm1.weight', 'norm1.bias', 'norm2.weight'):
            weight, kept = weights[f'net.{name}'], channels[ONE]
            assert not weight[~kept].any()
            assert (weight != start[f'net.{name}'])[kept].all()
        for name, group in (('one', ONE), ('body', REST)):
            weight, kept = weights[f'net.{name}.weight'], channels[group]
            assert not weight[~kept].any()
            assert weight[kept].any()
        assert not weights['net.body.bias'][~channels[REST]].any()
        assert not weights['net.body.weight'][:, ~channels[ONE]].any()
    seen = {}
    model = finished.model
    for name in ('norm1', 'norm2', 'body'):
        getattr(model.net, name).register_forward_hook(
            lambda _, __, output, name=name: seen.update({name: output})
        )
    model(torch.randn(3, 2, 6, 6))
    for name, group in (('norm1', ONE), ('norm2', ONE), ('body', REST)):
        assert not seen[name][:, ~channels[group]].any()


def test_masks_count_prunable_weights_alone(trained):
    work_dir, finished = trained
    masks = Masks.unpack(saved(work_dir, 2)['epsd']['masks'])
    assert (
        masks
        == hook_of(finished).masks
        == Masks.load(work_dir / 'epsd' / 'masks.pth')
    )
    assert {name: mask.numel() for name, mask in masks.items()} == SIZES
    assert 0.5 <= masks.sparsity < 0.75
    log = finished.message_hub.get_scalar('train/sparsity').current()
    assert log == pytest.approx(masks.sparsity)
    channels = Channels.load(work_dir / 'epsd' / 'channels.pth')
    assert channels == channels_of(work_dir, 2)
    for row in channels.values():
        assert row.sum() % 8 == 0


def test_the_report_has_both(trained):
    report = json.loads((trained[0] / 'epsd' / 'report.json').read_text())
    channels = Channels.load(trained[0] / 'epsd' / 'channels.pth')
    for name, row in channels.items():
        told = report['channels'][name]
        assert (told['kept'], told['total']) == (int(row.sum()), len(row))
        assert 0 < told['mass_kept'] <= told['mass'] <= 1
    assert report['whole'] == {'net.head': 'its outputs are the task'}
    assert report['structure']['type'] == 'Units'
    assert report['layers'].keys() == SIZES.keys()
    removed = report['all_weights']['total'] - report['all_weights']['kept']
    assert removed > report['total'] - report['kept']  # scales and shifts too
    log = trained[1].message_hub.get_scalar('train/sparsity_all').current()
    assert log == pytest.approx(report['sparsity_all'])


def test_resume_goes_on_with_the_same_channels(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(
        'epsd_mm.engine.hooks.epsd_hook.score_runner',
        lambda *args: pytest.fail('scored on resume'),
    )
    path = str(trained[0] / 'epoch_2.pth')
    resumed = runner(tmp_path, 3, load_from=path, resume=True)
    resumed.train()
    channels = channels_of(trained[0], 2)
    assert channels_of(tmp_path, 3) == channels
    for name in ('norm1.weight', 'norm2.bias'):
        weight = resumed.model.state_dict()[f'net.{name}']
        assert torch.equal(weight != 0, channels[ONE])


@pytest.mark.parametrize(
    'change, words',
    [
        (lambda c, m: None, 'but not the channels that they were made of'),
        (lambda c, m: c.shuffled(1), 'not those that its masks were made of'),
        (
            lambda c, m: Channels({ONE: c[ONE]}),
            'net.body: no channels',
        ),
    ],
    ids=['none', 'others', 'of another network'],
)
def test_channels_that_do_not_fit_are_told(trained, tmp_path, change, words):
    from epsd_mm.digest import digest

    checkpoint = saved(trained[0], 2)
    state = copy.copy(checkpoint['epsd'])
    channels = change(
        Channels.unpack(state.pop('channels')), Masks.unpack(state['masks'])
    )
    if channels is not None:
        state['channels'] = channels.pack()
    del state['digest']
    checkpoint['epsd'] = dict(state, digest=digest(state))
    path = tmp_path / 'epoch_2.pth'
    torch.save(checkpoint, path)
    with pytest.raises(ValueError, match=words):
        runner(tmp_path, 3, load_from=str(path), resume=True).train()


@pytest.mark.parametrize(
    'criterion',
    [
        'Random',
        'GraSP',
        dict(type='SynFlow', rounds=3),
        dict(type='NTKSAP', rounds=2, samples=1),
        dict(type='ProsPr', steps=1, lr=0.01),
    ],
    ids=lambda c: c if isinstance(c, str) else c['type'],
)
def test_every_criterion_keeps_the_budget(tmp_path, criterion):
    floor = dict(type='global', min_density=0.2)
    epsd = dict(criterion=criterion, allocation=floor)
    run = runner(tmp_path, epsd=epsd)
    run.train()
    masks = hook_of(run).masks
    channels = channels_of(tmp_path, 1)
    assert 0.5 <= masks.sparsity < 0.75
    assert all(row.sum() in (8, 16, 24) for row in channels.values())
    assert not run.model.net.norm1.bias[~channels[ONE]].any()


def test_layers_that_are_excluded_or_frozen_keep_their_channels(tmp_path):
    run = runner(tmp_path, epsd=dict(exclude=['net.two.*'], sparsity=0.2))
    run.train()
    channels = channels_of(tmp_path, 1)
    assert list(channels) == [REST]
    masks = hook_of(run).masks
    assert set(masks) == SIZES.keys() - {'net.two.weight'}
    assert masks['net.one.weight'].all()
    report = json.loads((tmp_path / 'epsd' / 'report.json').read_text())
    assert report['whole']['net.one'] == (
        'together with weights that are not prunable'
    )
    frozen = Classifier()
    frozen.net.body.requires_grad_(False)
    with pytest.raises(ValueError, match='1 together with frozen weights'):
        runner(
            tmp_path / 'frozen', model=frozen, epsd=dict(sparsity=0.9)
        ).train()


def test_multiply_adds_count_where_they_are_asked_for(tmp_path):
    structure = dict(type='channels', of='multiply_adds')
    run = runner(tmp_path, epsd=dict(structure=structure, criterion='Random'))
    run.train()
    masks = hook_of(run).masks
    price = dict.fromkeys(SIZES, 36) | {'net.head.weight': 1}
    left = sum(int(mask.sum()) * price[n] for n, mask in masks.items())
    whole = sum(SIZES[name] * price[name] for name in SIZES)
    assert 0.25 * whole < left <= 0.5 * whole


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(allocation='erk'), "must be 'global' or 'uniform'"),
        (
            dict(allocation=dict(type='global', dense_first=True)),
            'dense_first has no meaning for channels',
        ),
        (dict(allow_empty_layers=True), 'allow_empty_layers=True would have'),
        (dict(masks='masks.pth'), "masks='masks.pth' would have no effect"),
        (
            dict(
                criterion='Magnitude',
                structure=dict(type='channels', scores='gate'),
            ),
            'Magnitude has none',
        ),
        (
            dict(
                criterion=Random(),
                structure=dict(type='channels', scores='mean'),
            ),
            'Random looks at no weight',
        ),
        (dict(structure=dict(type='channels', of='flops')), "of='flops'"),
        (
            dict(structure=dict(type='channels', multiple_of=0)),
            'multiple_of=0',
        ),
    ],
)
def test_options_that_do_not_go_with_channels(options, words):
    with pytest.raises(ValueError, match=words):
        Settings.build(**{'sparsity': 0.5, 'structure': 'channels'} | options)


def test_masks_of_channels_without_the_channels_are_told(trained, tmp_path):
    """They cover weights, and a shift that is trained emits something."""
    told = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: told.append(record.getMessage())
    masks = str(trained[0] / 'epsd' / 'masks.pth')
    run = runner(tmp_path, hook=dict(type='EPSDHook', masks=masks))
    run.logger.addHandler(handler)
    run.train()
    assert any('are those of whole channels' in message for message in told)
