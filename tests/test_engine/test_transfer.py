"""Masks of another run, and the shapes of masks that a run is told."""

import copy
import json

import pytest
import torch

from epsd_mm.datasets.drawn_voc import generate_voc
from epsd_mm.engine import EPSDHook
from epsd_mm.engine.hooks import epsd_hook
from epsd_mm.engine.saved_state import SavedState
from epsd_mm.pruning import Masks, prunable_parameters
from tests.helpers.runners import (
    CLASSES,
    hook_of,
    prepared,
    runner_of,
    tiny_detector_cfg,
)
from tests.helpers.selections import erdos_renyi_kernel, groups

SNIP = dict(
    type='EPSDHook',
    sparsity=0.6,
    criterion='SNIP',
    draws=1,
    allow_empty_layers=True,
)
RANDOM = dict(
    type='EPSDHook',
    sparsity=0.5,
    criterion='Random',
    allow_empty_layers=True,
)


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp('drawn')
    return generate_voc(root, train=12, test=2, size=64, classes=CLASSES)


@pytest.fixture(scope='module')
def source(data_root, tmp_path_factory):
    """Work dir of a run that pruned and trained the whole network."""
    work_dir = tmp_path_factory.mktemp('source')
    runner_of(tiny_detector_cfg(data_root, work_dir, RANDOM)).train()
    return work_dir


@pytest.fixture(scope='module')
def masks_file(source):
    return str(source / 'epsd' / 'masks.pth')


@pytest.fixture(scope='module')
def transferred(data_root, masks_file, tmp_path_factory):
    """A run of two epochs: backbone as given, the other parts scored."""
    work_dir = tmp_path_factory.mktemp('transferred')
    epsd = dict(SNIP, masks=masks_file, prefix='backbone')
    runner = runner_of(tiny_detector_cfg(data_root, work_dir, epsd, epochs=2))
    runner.train()
    return work_dir, runner


@pytest.fixture
def no_scoring(monkeypatch):
    monkeypatch.setattr(
        epsd_hook, 'score_runner', lambda *unused: pytest.fail('scored')
    )


def checkpoint_of(work_dir, epoch):
    return torch.load(work_dir / f'epoch_{epoch}.pth', weights_only=False)


def zeros_under(masks, state_dict):
    return all(
        not state_dict[name][~mask].any() for name, mask in masks.items()
    )


def pruned(data_root, work_dir, epsd, **model):
    """The hook of a runner whose training is about to begin."""
    cfg = tiny_detector_cfg(data_root, work_dir, epsd)
    cfg.merge_from_dict(dict(model=model))
    runner = prepared(cfg)
    hook_of(runner).before_train(runner)
    return hook_of(runner), runner


def refused(data_root, work_dir, epsd, **model):
    """The error of such a runner."""
    with pytest.raises(ValueError) as error:
        pruned(data_root, work_dir, epsd, **model)
    return str(error.value)


def test_given_masks_are_kept_and_other_layers_stay_dense(
    data_root, masks_file, tmp_path, no_scoring
):
    given = Masks.load(masks_file).part('backbone')
    given.save(tmp_path / 'backbone.pth')
    epsd = dict(type='EPSDHook', masks=str(tmp_path / 'backbone.pth'))
    runner = runner_of(tiny_detector_cfg(data_root, tmp_path, epsd))
    before = {n: p.clone() for n, p in runner.model.named_parameters()}
    runner.train()
    assert hook_of(runner).masks == given
    saved = checkpoint_of(tmp_path, 1)
    assert Masks.unpack(saved['epsd']['masks']) == given
    state = saved['state_dict']
    assert zeros_under(given, state)
    moved = sum(
        int((state[n] != before[n])[mask].sum()) for n, mask in given.items()
    )
    assert moved > 0.5 * given.kept
    others = prunable_parameters(runner.model).keys() - given
    assert others and all(state[name].all() for name in others)


def test_masks_of_the_whole_network(
    data_root, masks_file, tmp_path, no_scoring
):
    epsd = dict(type='EPSDHook', masks=masks_file)
    hook, runner = pruned(data_root, tmp_path, epsd)
    assert hook.masks == Masks.load(masks_file)
    assert zeros_under(hook.masks, runner.model.state_dict())


def test_the_checkpoint_of_a_run_is_refused_and_its_masks_named(source):
    """It holds objects of mmengine's, which would have to be unpickled."""
    hook = EPSDHook(masks=str(source / 'epoch_1.pth'))
    with pytest.raises(ValueError, match='masks.pth of a run') as e:
        hook.settings.read_masks()
    assert 'more than tensors' in str(e.value)


def test_given_masks_train_with_self_distillation(
    data_root, masks_file, tmp_path, no_scoring
):
    epsd = dict(type='EPSDHook', masks=masks_file, sd_loss='CSKDLoss')
    runner = runner_of(tiny_detector_cfg(data_root, tmp_path, epsd))
    runner.train()
    assert zeros_under(Masks.load(masks_file), runner.model.state_dict())
    assert 'train/loss_sd' in runner.message_hub.log_scalars


def test_one_part_of_the_masks_is_taken_by_its_prefix(
    data_root, masks_file, tmp_path, no_scoring
):
    """The rest may belong to a network of another kind."""
    saved = Masks.load(masks_file)
    other = {'head.fc.weight': torch.ones(10, 8) > 0}
    Masks({**saved.part('backbone'), **other}).save(
        tmp_path / 'classifier.pth'
    )
    epsd = dict(type='EPSDHook', masks=str(tmp_path / 'classifier.pth'))
    message = refused(data_root, tmp_path / 'whole', epsd)
    assert 'head.fc.weight: no such weight' in message
    assert 'backbone' not in message
    epsd['prefix'] = 'backbone'
    hook, _ = pruned(data_root, tmp_path / 'part', epsd)
    assert hook.masks == saved.part('backbone')


def test_the_other_parts_are_scored_at_their_sparsity(transferred, masks_file):
    masks = hook_of(transferred[1]).masks
    names = list(prunable_parameters(transferred[1].model))
    assert list(masks) == names
    given = Masks.load(masks_file).part('backbone')
    assert masks.part('backbone') == given
    fresh = Masks({n: mask for n, mask in masks.items() if n not in given})
    assert fresh.kept == round(0.4 * fresh.total)
    assert fresh != Masks({n: Masks.load(masks_file)[n] for n in fresh})


def test_given_and_fresh_masks_are_kept_and_saved_together(transferred):
    work_dir, runner = transferred
    masks = hook_of(runner).masks
    for epoch in (1, 2):
        saved = checkpoint_of(work_dir, epoch)
        assert Masks.unpack(saved['epsd']['masks']) == masks
        assert zeros_under(masks, saved['state_dict'])


def test_the_file_of_a_run_holds_all_its_masks(transferred):
    """Or the next run that is given it would train the backbone dense."""
    work_dir, runner = transferred
    saved = Masks.load(work_dir / 'epsd' / 'masks.pth')
    assert saved == hook_of(runner).masks


def test_given_and_fresh_masks_resume(
    transferred, data_root, masks_file, tmp_path, no_scoring
):
    epsd = dict(SNIP, masks=masks_file, prefix='backbone')
    cfg = tiny_detector_cfg(data_root, tmp_path, epsd, epochs=2)
    cfg.load_from = str(transferred[0] / 'epoch_1.pth')
    cfg.resume = True
    runner = runner_of(cfg)
    runner.train()
    assert hook_of(runner).masks == hook_of(transferred[1]).masks
    ours = checkpoint_of(tmp_path, 2)['state_dict']
    theirs = checkpoint_of(transferred[0], 2)['state_dict']
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_scoring_sees_the_given_masks(
    data_root, masks_file, tmp_path, monkeypatch
):
    """The other parts are ranked beside a backbone that is sparse."""
    seen = []
    score = epsd_hook.score_runner

    def spy(runner, model, *rest):
        seen.append(copy.deepcopy(model.state_dict()))
        masks, report = score(runner, model, *rest)
        seen.append(masks)
        return masks, report

    monkeypatch.setattr(epsd_hook, 'score_runner', spy)
    epsd = dict(
        SNIP,
        masks=masks_file,
        prefix='backbone',
        exclude=['roi_head.*'],
    )
    hook, _ = pruned(data_root, tmp_path, epsd)
    state, fresh = seen
    given = Masks.load(masks_file).part('backbone')
    assert zeros_under(given, state)
    assert {name.split('.')[0] for name in fresh} == {'neck', 'rpn_head'}
    assert hook.masks.keys() == given.keys() | fresh.keys()


def test_given_masks_hold_for_frozen_weights_beside_a_criterion(
    data_root, masks_file, tmp_path, monkeypatch
):
    """As in mmdet's own configs, which freeze the stem and a stage."""

    def run(work_dir, **changes):
        epsd = dict(SNIP, masks=masks_file, prefix='backbone')
        cfg = tiny_detector_cfg(data_root, work_dir, epsd, epochs=2)
        cfg.model.backbone.frozen_stages = 1
        cfg.update(changes)
        runner = runner_of(cfg)
        runner.train()
        return runner.model, hook_of(runner).masks

    model, masks = run(tmp_path / 'whole')
    given = Masks.load(masks_file).part('backbone')
    frozen = [n for n, p in model.named_parameters() if not p.requires_grad]
    frozen = given.keys() & frozen
    assert {n.split('.')[1] for n in frozen} == {'conv1', 'layer1'}
    assert masks.part('backbone') == given
    fresh = Masks({n: mask for n, mask in masks.items() if n not in given})
    assert fresh.keys() == prunable_parameters(model).keys() - given.keys()
    assert fresh.kept == round(0.4 * fresh.total)
    first, last = (
        checkpoint_of(tmp_path / 'whole', epoch) for epoch in (1, 2)
    )
    for saved in (first, last):
        assert Masks.unpack(saved['epsd']['masks']) == masks
        assert zeros_under(masks, saved['state_dict'])
    for name, weight in first['state_dict'].items():
        if name in frozen:
            assert torch.equal(weight, last['state_dict'][name])
    monkeypatch.setattr(
        epsd_hook, 'score_runner', lambda *unused: pytest.fail('scored')
    )
    start = str(tmp_path / 'whole' / 'epoch_1.pth')
    model, resumed = run(tmp_path / 'again', load_from=start, resume=True)
    assert resumed == masks
    assert zeros_under(masks, model.state_dict())


def test_shapes_that_do_not_fit_are_named(data_root, masks_file, tmp_path):
    epsd = dict(type='EPSDHook', masks=masks_file, prefix='backbone')
    wider = dict(stem_channels=8)
    message = refused(data_root, tmp_path, epsd, backbone=wider)
    assert (
        'backbone.conv1.weight: mask (4, 3, 7, 7), weight (8, 3, 7, 7)'
        in message
    )
    assert 'layer4' not in message


def test_names_that_do_not_fit_are_named(data_root, masks_file, tmp_path):
    renamed = Masks.load(masks_file).part('backbone', to='trunk')
    renamed.save(tmp_path / 'renamed.pth')
    epsd = dict(type='EPSDHook', masks=str(tmp_path / 'renamed.pth'))
    message = refused(data_root, tmp_path / 'run', epsd)
    assert 'trunk.conv1.weight: no such weight' in message
    assert not (tmp_path / 'run' / 'epsd').exists()


def test_masks_that_cover_everything_leave_nothing_to_score(
    data_root, masks_file, tmp_path
):
    message = refused(data_root, tmp_path, dict(SNIP, masks=masks_file))
    assert 'the given masks cover all' in message


def test_a_missing_file_is_named_before_the_data_are_looked_at(
    data_root, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        'epsd_mm.engine.hooks.training_data_hook.check_data',
        lambda *unused: pytest.fail('looked'),
    )
    epsd = dict(type='EPSDHook', masks=str(tmp_path / 'nowhere.pth'))
    with pytest.raises(FileNotFoundError, match='nowhere.pth.*work_dir/epsd'):
        pruned(data_root, tmp_path / 'run', epsd)


@pytest.mark.parametrize('options', [{}, SNIP], ids=['alone', 'with others'])
def test_a_resumed_run_does_without_the_file(
    options, transferred, source, data_root, tmp_path, no_scoring
):
    if options:
        start = transferred[0]
    else:
        start = tmp_path / 'first'
        given = str(source / 'epsd' / 'masks.pth')
        epsd = dict(type='EPSDHook', masks=given, prefix='backbone')
        runner_of(tiny_detector_cfg(data_root, start, epsd, 2)).train()
    gone = dict(masks=str(tmp_path / 'gone.pth'), prefix='backbone')
    epsd = dict(dict(options, type='EPSDHook'), **gone)
    cfg = tiny_detector_cfg(data_root, tmp_path / 'again', epsd, epochs=2)
    cfg.load_from = str(start / 'epoch_1.pth')
    cfg.resume = True
    runner = runner_of(cfg)
    runner.train()
    first, last = (
        checkpoint_of(folder, 2)['epsd']
        for folder in (start, tmp_path / 'again')
    )
    assert Masks.unpack(last['masks']) == Masks.unpack(first['masks'])
    assert hook_of(runner).masks == Masks.unpack(first['masks'])


def test_resume_checks_that_every_prunable_weight_has_a_mask(
    transferred, data_root, masks_file, tmp_path
):
    """Whatever the file of given masks says by now."""
    saved = checkpoint_of(transferred[0], 1)
    masks = dict(Masks.unpack(saved['epsd']['masks']))
    del masks['rpn_head.rpn_conv.weight']
    saved['epsd'] = SavedState(masks=Masks(masks)).pack()
    torch.save(saved, tmp_path / 'cut.pth')
    epsd = dict(SNIP, masks=masks_file, prefix='backbone')
    cfg = tiny_detector_cfg(data_root, tmp_path / 'run', epsd, epochs=2)
    cfg.load_from, cfg.resume = str(tmp_path / 'cut.pth'), True
    with pytest.raises(ValueError, match='rpn_head.rpn_conv.weight: no mask'):
        runner_of(cfg).train()


def test_an_unknown_prefix_is_told_names(masks_file):
    hook = EPSDHook(masks=masks_file, prefix='bakbone')
    with pytest.raises(ValueError, match="starts with 'bakbone.'") as e:
        hook.settings.read_masks()
    assert 'backbone.conv1.weight' in str(e.value)


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(prefix='backbone', sparsity=0.5), "prefix='backbone'"),
        (dict(criterion='SNIP'), 'sparsity=0.0'),
        (dict(criterion='ProsPr'), 'sparsity=0.0'),
        (dict(criterion=dict(type='ProsPr', steps=1)), 'sparsity=0.0'),
        (dict(criterion=None, sparsity=0.5), 'sparsity=0.5'),
        (dict(allocation='erk'), 'allocation='),
        (dict(structure='2:4'), 'structure='),
        (dict(exclude=['neck.*']), "exclude=['neck.*']"),
        (dict(seed=3), 'seed=3'),
        (dict(draws=3), 'draws=3'),
        (dict(score_weights=dict(task=1, sd=1)), 'score_weights='),
    ],
    ids=lambda value: str(value)[:40],
)
def test_options_beside_given_masks_that_have_no_effect(
    options, words, masks_file
):
    if 'prefix' not in options:
        options = dict(options, masks=masks_file)
    with pytest.raises(ValueError) as e:
        EPSDHook(**options)
    assert words in str(e.value)


def test_masks_are_named_by_a_path():
    with pytest.raises(ValueError, match='must be the path of a file'):
        EPSDHook(masks=dict(backbone='masks.pth'))


@pytest.mark.parametrize(
    'option',
    [
        dict(allocation='erk'),
        dict(allocation={'backbone.*': 0.5}),
        dict(structure='2:4'),
        dict(include=['backbone.*']),
        dict(allow_empty_layers=True),
    ],
    ids=str,
)
def test_shapes_of_masks_without_a_criterion_have_no_effect(option):
    with pytest.raises(ValueError, match='would have no effect') as e:
        EPSDHook(criterion=None, sd_loss='CSKDLoss', **option)
    assert f'{next(iter(option))}=' in str(e.value)


@pytest.mark.parametrize(
    'option, words',
    [
        (dict(allocation='evci'), "unknown allocation 'evci'"),
        (dict(allocation={'*': 2}), 'sparsity=2'),
        (dict(structure='4:2'), 'n=4 and m=2'),
        (dict(structure='2:4', allocation={'*': 0.9}), '0.9 cannot be met'),
    ],
)
def test_wrong_shapes_of_masks_are_refused_when_it_is_built(option, words):
    with pytest.raises(ValueError, match=words):
        EPSDHook(sparsity=0.5, **option)


def report_of(work_dir):
    return json.loads((work_dir / 'epsd' / 'report.json').read_text())


def test_the_allocation_reaches_the_masks(data_root, tmp_path):
    epsd = dict(RANDOM, sparsity=0.8, allocation='erk')
    hook, runner = pruned(data_root, tmp_path, epsd)
    assert hook.masks.kept == round(0.2 * hook.masks.total)
    shapes = {n: mask.shape for n, mask in hook.masks.items()}
    densities = erdos_renyi_kernel(shapes, hook.masks.kept)
    for name, mask in hook.masks.items():
        wanted = densities[name] * mask.numel()
        assert abs(int(mask.sum()) - wanted) < 1 + 1e-6
    assert report_of(tmp_path)['allocation']['type'] == 'ERK'
    assert zeros_under(hook.masks, runner.model.state_dict())


def test_sparsities_by_glob_reach_the_masks(data_root, tmp_path):
    """Written as in a config, with names that have dots."""
    epsd = dict(RANDOM, allocation={'backbone.layer3.*': 0.75, 'neck.*': 0.25})
    hook, _ = pruned(data_root, tmp_path, epsd)
    assert hook.masks.kept == round(0.5 * hook.masks.total)
    for prefix, density in (('backbone.layer3', 0.25), ('neck', 0.75)):
        layers = hook.masks.part(prefix).layers().values()
        assert {layer['density'] for layer in layers} == {density}


def test_the_structure_reaches_the_masks(data_root, tmp_path):
    epsd = dict(RANDOM, structure='2:4', include=['backbone.layer*'])
    hook, runner = pruned(data_root, tmp_path, epsd)
    for mask in hook.masks.values():
        assert {sum(group) for group in groups(mask, 4)} == {2}
    assert report_of(tmp_path)['structure'] == dict(type='NM', n=2, m=4)
    assert zeros_under(hook.masks, runner.model.state_dict())


def test_a_structure_that_does_not_divide_names_the_stem(data_root, tmp_path):
    message = refused(data_root, tmp_path, dict(RANDOM, structure='2:4'))
    assert "'backbone.conv1.weight' has 3 input channels" in message
    assert 'dense_first=True' in message


LOSS = dict(type='CSKDLoss', temperature=4.0, loss_weight=1.0)
PROSPR = dict(type='ProsPr', steps=2, lr=0.001)
DISTILLED = dict(
    sparsity=0.8,
    criterion=PROSPR,
    sd_loss=LOSS,
    draws=1,
    exclude=['roi_head.*', 'rpn_head.*', 'neck.fpn_convs.*'],
    allow_empty_layers=True,
)


@pytest.fixture(scope='module')
def distilled(data_root, tmp_path_factory):
    """A runner that resumes, and the checkpoint of a hook."""
    epsd = dict(DISTILLED, type='EPSDHook')
    hook, runner = pruned(data_root, tmp_path_factory.mktemp('old'), epsd)
    checkpoint = {}
    hook.before_save_checkpoint(runner, checkpoint)
    runner._resume = True
    return runner, checkpoint


@pytest.mark.parametrize(
    'change, before, now',
    [
        (dict(sparsity=0.5), 'sparsity=0.8', '0.5'),
        (
            dict(sd_loss=dict(LOSS, temperature=2.0)),
            "'temperature': 4.0",
            "'temperature': 2.0",
        ),
        (
            dict(sd_loss=dict(LOSS, loss_weight=3.0)),
            "'loss_weight': 1.0",
            "'loss_weight': 3.0",
        ),
        (dict(sd_loss=None), "sd_loss={'type': 'CSKDLoss'", 'None'),
        (dict(draws=2), 'draws=1', '2'),
        (dict(criterion=dict(PROSPR, lr=0.1)), "'lr': 0.001", "'lr': 0.1"),
        (dict(criterion='SNIP'), 'criterion=ProsPr', 'SNIP'),
        (dict(masks='masks.pth'), 'masks=None', 'given'),
    ],
    ids=[
        'sparsity',
        'temperature',
        'weight',
        'no loss',
        'draws',
        'option',
        'criterion',
        'masks',
    ],
)
def test_what_a_run_cannot_change_half_way(change, before, now, distilled):
    with pytest.raises(ValueError, match='to resume was trained with') as e:
        EPSDHook(**{**DISTILLED, **change}).after_load_checkpoint(*distilled)
    first, _, second = str(e.value).partition('this config says')
    assert before in first and now in second


@pytest.mark.parametrize(
    'change',
    [
        dict(),
        dict(sd_loss='CSKDLoss'),
        dict(seed=7),
        dict(criterion=dict(PROSPR, offload=True)),
        dict(criterion=dict(PROSPR, kept_graphs=1)),
        dict(compare_plain=True),
    ],
    ids=[
        'nothing',
        'spelling',
        'seed',
        'offload',
        'kept_graphs',
        'compare_plain',
    ],
)
def test_what_a_run_may_change_half_way(change, distilled, no_scoring):
    """Masks are those of the checkpoint."""
    runner, checkpoint = distilled
    hook = EPSDHook(**{**DISTILLED, **change})
    hook.after_load_checkpoint(runner, checkpoint)
    hook.before_train(runner)
    hook.after_train(runner)
    assert hook.masks == Masks.unpack(checkpoint['epsd']['masks'])


def test_checkpoints_of_older_versions_resume(distilled):
    """They named what only trades time for memory, and no given masks."""
    runner, checkpoint = distilled
    older = copy.deepcopy(checkpoint)
    saved = older['epsd']['identity']
    saved['settings'] |= dict(offload=True, kept_graphs=0)
    del saved['masks'], saved['prefix'], older['epsd']['digest']
    EPSDHook(**DISTILLED).after_load_checkpoint(runner, older)
    saved['settings']['lr'] = 0.5
    with pytest.raises(ValueError, match="'lr': 0.5"):
        EPSDHook(**DISTILLED).after_load_checkpoint(runner, older)
