"""No checkpoint is lost, and a run goes on from the newest whole one."""

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook

from epsd_mm.early_pruning import channels_of
from epsd_mm.engine.checkpoints import WholeFiles, _choice
from epsd_mm.engine.safe_loading import CheckpointError
from epsd_mm.locks import LockedError
from epsd_mm.prune_then_distill import kept_entries
from tests.helpers.processes import training_in
from tests.helpers.small_runs import PRUNED, small_runner


class Watch(Hook):
    """Notes which checkpoints there are while one is being saved."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.seen = []

    def before_save_checkpoint(self, runner, checkpoint):
        self.seen.append(checkpoints(runner.work_dir))


def checkpoints(folder):
    return sorted(path.name for path in Path(folder).glob('*.pth'))


def saving(**options):
    options = dict(type='CheckpointHook', max_keep_ckpts=1, **options)
    return dict(checkpoint=dict(dict(interval=1), **options))


@pytest.mark.parametrize('flexible', [False, True], ids=['plain', 'flexible'])
@pytest.mark.parametrize(
    'hook', [PRUNED, dict(type='DenseHook')], ids=['pruned', 'dense']
)
def test_the_old_checkpoint_goes_when_the_new_one_is_there(
    hook, flexible, tmp_path
):
    runner, watch = small_runner(tmp_path, 3, hook, flexible), Watch()
    runner.register_hook(watch)
    runner.train()
    assert watch.seen == [[], ['epoch_1.pth'], ['epoch_2.pth']]
    assert checkpoints(tmp_path) == ['epoch_3.pth']


def test_the_old_best_goes_when_the_new_best_is_there(tmp_path):
    runner, watch = (
        small_runner(
            tmp_path,
            3,
            default_hooks=saving(save_best='score', rule='greater'),
        ),
        Watch(),
    )
    runner.register_hook(watch)

    class Validates(Hook):
        def after_train_epoch(self, runner):
            saver = next(h for h in runner.hooks if hasattr(h, 'save_best'))
            saver.after_val_epoch(runner, dict(score=float(runner.epoch)))

    runner.register_hook(Validates(), priority='VERY_LOW')
    runner.train()
    best = [[n for n in names if 'best' in n] for names in watch.seen]
    assert all(best[2:]), 'there was a time without a best checkpoint'
    assert [n for n in checkpoints(tmp_path) if 'best' in n] == [
        'best_score_epoch_2.pth'
    ]


@pytest.mark.parametrize('flexible', [False, True], ids=['plain', 'flexible'])
def test_a_disk_that_fills_while_saving_loses_nothing(
    flexible, tmp_path, monkeypatch
):
    small_runner(tmp_path, 1, flexible=flexible).train()
    before = (tmp_path / 'epoch_1.pth').read_bytes()

    def full(handle):
        raise OSError(errno.ENOSPC, 'No space left on device')

    runner = small_runner(tmp_path, 2, flexible=flexible, resume=True)
    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space left.*epoch_2.pth'):
        runner.train()
    monkeypatch.undo()
    assert checkpoints(tmp_path) == ['epoch_1.pth']
    assert (tmp_path / 'epoch_1.pth').read_bytes() == before
    assert (tmp_path / 'last_checkpoint').read_text().endswith('epoch_1.pth')
    assert not list(tmp_path.rglob('.*.draft'))
    again = small_runner(tmp_path, 2, flexible=flexible, resume=True)
    again.train()
    assert checkpoints(tmp_path) == ['epoch_2.pth']


@pytest.fixture
def run_dir(tmp_path):
    """Three checkpoints of a run, in a folder of their own."""
    folder = tmp_path / 'run'
    saver = dict(type='CheckpointHook', interval=1)
    small_runner(folder, 3, default_hooks=dict(checkpoint=saver)).train()
    assert len(checkpoints(folder)) == 3
    return folder


def resumed(folder, **changes):
    """The epoch that a run in a folder goes on from, and what was said."""
    runner = small_runner(folder, 9, resume=True, **changes)
    found = []

    class Stop(Hook):
        priority = 'LOWEST'

        def before_train(self, runner):
            found.append(runner.epoch)
            raise KeyboardInterrupt

    runner.register_hook(Stop())
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    log = max(folder.glob('*/*.log'), key=lambda p: p.stat().st_mtime_ns)
    return found[0], log.read_text()


@pytest.mark.parametrize('flexible', [False, True], ids=['plain', 'flexible'])
def test_where_last_checkpoint_is_lost_nothing_is_replaced(flexible, run_dir):
    before = {p: p.read_bytes() for p in run_dir.glob('*.pth')}
    (run_dir / 'last_checkpoint').unlink()
    saver = dict(type='CheckpointHook', interval=1)
    options = dict(default_hooks=dict(checkpoint=saver), flexible=flexible)
    small_runner(run_dir, 4, resume=True, **options).train()
    assert {p: p.read_bytes() for p in before} == before
    assert (run_dir / 'epoch_4.pth').is_file()


@pytest.mark.parametrize('flexible', [False, True], ids=['plain', 'flexible'])
def test_a_name_as_resume_is_the_file_that_is_given(flexible, run_dir):
    given = str(run_dir / 'epoch_2.pth')
    assert resumed(run_dir, flexible=flexible)[0] == 3
    runner = small_runner(run_dir, 4, flexible=flexible, resume=given)
    seen = []

    class Look(Hook):
        def before_train(self, runner):
            seen.append(runner.epoch)

    runner.register_hook(Look())
    runner.train()
    assert seen == [2]


@pytest.mark.parametrize('flexible', [False, True], ids=['plain', 'flexible'])
def test_a_runner_may_go_on_when_its_checkpoint_was_let_go(flexible, tmp_path):
    """What it started from is gone when it is asked again."""
    small_runner(tmp_path, 1, flexible=flexible).train()
    runner = small_runner(tmp_path, 2, flexible=flexible, resume=True)
    runner.train()
    assert checkpoints(tmp_path) == ['epoch_2.pth']
    runner.call_hook('before_run')
    assert runner.epoch == 2


def truncated(content):
    return content[: len(content) // 2]


def flipped(content):
    middle = len(content) // 2
    return (
        content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]
    )


DAMAGE = dict(
    truncated=truncated,
    empty=lambda content: b'',
    zeroed=lambda content: bytes(len(content)),
    flipped=flipped,
)


@pytest.mark.parametrize('damage', DAMAGE.values(), ids=DAMAGE)
def test_the_newest_whole_one_is_found_and_the_damaged_one_named(
    damage, run_dir
):
    path = run_dir / 'epoch_3.pth'
    path.write_bytes(damage(path.read_bytes()))
    epoch, log = resumed(run_dir)
    assert epoch == 2
    assert f'{path} is ' in log and 'it is passed over' in log
    # Another one is taken: nobody is asked to.
    assert 'take another' not in log


def without(part):
    def change(path):
        checkpoint = torch.load(path, weights_only=False)
        del checkpoint[part]
        torch.save(checkpoint, path)

    return change


NO_CHECKPOINTS = {
    'mapping': lambda path: torch.save({}, path),
    'list': lambda path: torch.save([1, 2], path),
    'weights': lambda path: torch.save(dict(a=torch.ones(2)), path),
    'pickle': lambda path: path.write_bytes(b'\x80\x02garbage' + bytes(99)),
    'no meta': without('meta'),
    'no log': without('message_hub'),
}


@pytest.mark.parametrize('write', NO_CHECKPOINTS.values(), ids=NO_CHECKPOINTS)
def test_a_file_that_no_run_can_go_on_from_is_passed_over(write, run_dir):
    path = run_dir / 'epoch_3.pth'
    write(path)
    epoch, log = resumed(run_dir)
    assert epoch == 2
    assert f'{path} ' in log and 'it is passed over' in log
    with pytest.raises(CheckpointError, match='epoch_3.pth'):
        small_runner(run_dir, 9, resume=True, load_from=str(path)).train()


@pytest.mark.parametrize(
    'content', [None, '', '\n', '\0' * 30, 'gone/epoch_9.pth', 's3://a/b.pth']
)
def test_last_checkpoint_may_be_lost(content, run_dir):
    last = run_dir / 'last_checkpoint'
    last.unlink()
    if content is not None:
        last.write_text(content)
    assert resumed(run_dir)[0] == 3


@pytest.mark.parametrize('flexible', [False, True], ids=['plain', 'flexible'])
def test_one_that_was_finished_when_the_run_died_is_found(flexible, run_dir):
    """Between the checkpoint and ``last_checkpoint``."""
    last = str(run_dir / 'epoch_2.pth')
    (run_dir / 'last_checkpoint').write_text(last)
    assert resumed(run_dir, flexible=flexible)[0] == 3


def says_it_was_saved(path, when):
    checkpoint = torch.load(path, weights_only=False)
    checkpoint['meta']['time'] = when
    torch.save(checkpoint, path)


def test_larger_numbers_of_an_earlier_run_are_not_newer(run_dir):
    says_it_was_saved(run_dir / 'epoch_3.pth', '20200229_120000')
    (run_dir / 'last_checkpoint').write_text(str(run_dir / 'epoch_2.pth'))
    assert resumed(run_dir)[0] == 2
    (run_dir / 'last_checkpoint').unlink()
    assert resumed(run_dir)[0] == 2


def copied(folder):
    """A copy whose oldest checkpoint was copied last."""
    copy = folder.with_name('copy')
    shutil.copytree(folder, copy)
    for age in (1, 2, 3):
        os.utime(copy / f'epoch_{age}.pth', (2e9 - age, 2e9 - age))
    return copy


@pytest.mark.parametrize('last', ['there', 'lost', 'damaged'])
def test_a_copy_beside_its_original_is_resumed_from_its_newest(last, run_dir):
    copy = copied(run_dir)
    if last == 'lost':
        (copy / 'last_checkpoint').unlink()
    if last == 'damaged':
        (copy / 'epoch_3.pth').write_bytes(b'')
    small_runner(run_dir, 4, resume=True).train()
    epoch, log = resumed(copy)
    assert epoch == (2 if last == 'damaged' else 3)
    assert f'checkpoint is {copy}' in log


def copied_up_to(number, folder):
    copy = copied(folder)
    for age in range(number + 1, 4):
        (copy / f'epoch_{age}.pth').unlink()
    return copy


@pytest.mark.parametrize('flexible', [False, True], ids=['plain', 'flexible'])
def test_a_copy_is_not_resumed_from_its_original(flexible, run_dir):
    """Which may have gone on, or be of another training by now."""
    assert resumed(copied_up_to(2, run_dir), flexible=flexible)[0] == 2


def test_a_copy_without_checkpoints_starts_from_the_beginning(run_dir):
    epoch, log = resumed(copied_up_to(0, run_dir))
    assert epoch == 0
    assert f'names {run_dir / "epoch_3.pth"}, which is gone or of' in log


def test_what_was_loaded_from_another_run_is_no_beginning(run_dir):
    """A FlexibleRunner has done so before its hooks are asked."""
    copy = copied_up_to(0, run_dir)
    with pytest.raises(CheckpointError, match='remove that file'):
        resumed(copy, flexible=True)


@pytest.mark.parametrize('flexible', [False, True], ids=['plain', 'flexible'])
def test_a_folder_that_was_copied_without_its_times_is_resumed(
    flexible, run_dir
):
    for age, name in enumerate(['epoch_2', 'epoch_1', 'epoch_3']):
        os.utime(run_dir / f'{name}.pth', (1e9 - age, 1e9 - age))
    assert resumed(run_dir, flexible=flexible)[0] == 3


def test_a_folder_that_was_moved_is_resumed(run_dir):
    moved = run_dir.with_name('moved')
    shutil.move(run_dir, moved)
    assert resumed(moved)[0] == 3


@pytest.mark.parametrize('flexible', [False, True], ids=['plain', 'flexible'])
def test_the_best_one_is_none_to_resume(flexible, run_dir):
    shutil.copy(run_dir / 'epoch_1.pth', run_dir / 'best_score_epoch_9.pth')
    shutil.copy(run_dir / 'epoch_1.pth', run_dir / 'epoch_3-0123abcd.pth')
    (run_dir / 'last_checkpoint').unlink()
    assert resumed(run_dir, flexible=flexible)[0] == 3


def test_where_none_is_whole_nothing_starts_over(run_dir):
    for path in run_dir.glob('*.pth'):
        path.write_bytes(truncated(path.read_bytes()))
    before = {p: p.read_bytes() for p in run_dir.rglob('*.pth')}
    runner = small_runner(run_dir, 9, resume=True)
    with pytest.raises(CheckpointError) as e:
        runner.train()
    for name in ('epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth'):
        assert name in str(e.value)
    assert 'another work_dir' in str(e.value)
    assert {p: p.read_bytes() for p in run_dir.rglob('*.pth')} == before


@pytest.mark.parametrize('flexible', [False, True], ids=['plain', 'flexible'])
def test_that_a_run_starts_from_the_beginning_is_said(flexible, tmp_path):
    epoch, log = resumed(tmp_path, flexible=flexible)
    assert epoch == 0
    assert 'no checkpoint to resume' in log


@pytest.mark.parametrize('content', ['gone/epoch_9.pth', '', None])
def test_where_last_checkpoint_names_nothing_the_run_starts(content, tmp_path):
    """``None`` stands for a folder of this name."""
    last = tmp_path / 'last_checkpoint'
    last.mkdir() if content is None else last.write_text(content)
    epoch, log = resumed(tmp_path)
    assert epoch == 0
    assert 'no checkpoint to resume' in log


@pytest.mark.parametrize('flexible', [False, True], ids=['plain', 'flexible'])
@pytest.mark.parametrize(
    'hook', [PRUNED, dict(type='DenseHook')], ids=['pruned', 'dense']
)
def test_starting_over_does_not_replace_the_best(hook, flexible, tmp_path):
    best = tmp_path / 'best_val_acc_epoch_3.pth'
    torch.save(dict(state_dict={}), best)
    before = best.read_bytes()
    runner = small_runner(tmp_path, 4, hook, flexible, resume=True)
    with pytest.raises(CheckpointError, match='best_val_acc.*load_from'):
        runner.train()
    assert checkpoints(tmp_path) == [best.name]
    assert best.read_bytes() == before


def test_checkpoints_are_found_where_the_hook_writes_them(tmp_path):
    options = saving(
        out_dir=str(tmp_path / 'out'),
        filename_tmpl='at_{}.ckpt',
        by_epoch=False,
    )
    runner = small_runner(tmp_path / 'a', 3, default_hooks=options)
    runner.train()
    assert os.listdir(tmp_path / 'out' / 'a') == ['at_6.ckpt']
    (tmp_path / 'a' / 'last_checkpoint').unlink()
    epoch, _ = resumed(tmp_path / 'a', default_hooks=options)
    assert epoch == 2, 'the third epoch was not over'


@pytest.mark.parametrize('resume', [True, False], ids=['resume', 'load_from'])
@pytest.mark.parametrize(
    'hook', [PRUNED, dict(type='DenseHook')], ids=['pruned', 'dense']
)
def test_a_damaged_one_that_is_asked_for_is_named(hook, resume, run_dir):
    path = run_dir / 'epoch_2.pth'
    path.write_bytes(flipped(path.read_bytes()))
    runner = small_runner(
        run_dir.parent / 'other', 9, hook, resume=resume, load_from=str(path)
    )
    with pytest.raises(CheckpointError, match=r'epoch_2\.pth is damaged'):
        runner.train()


def test_whoever_reads_a_damaged_state_names_the_file_and_the_way_out(
    run_dir,
):
    path = str(run_dir / 'epoch_3.pth')
    content = torch.load(path, weights_only=False)
    del content['epsd']['masks']['layer.weight']['bits']
    told = r"epoch_3\.pth: checkpoint\['epsd'\] is damaged: its masks is .*"
    told += 'take another checkpoint of that run'
    with pytest.raises(CheckpointError, match=told):
        channels_of(path, content)
    with pytest.raises(CheckpointError, match=told):
        kept_entries(torch.nn.Linear(6, 4), content, path)


def test_a_state_that_is_not_what_was_saved_is_named(run_dir):
    path = run_dir / 'epoch_3.pth'
    checkpoint = torch.load(path, weights_only=False)
    checkpoint['epsd']['random_state']['torch'][-1] += 1
    torch.save(checkpoint, path)
    with pytest.raises(CheckpointError, match=r"epoch_3\.pth.*\['epsd'\]"):
        small_runner(run_dir, 9, resume=True).train()


@pytest.mark.parametrize(
    'hook', [PRUNED, dict(type='DenseHook')], ids=['pruned', 'dense']
)
def test_a_second_training_in_a_folder_is_refused(hook, tmp_path):
    process = training_in(tmp_path)
    try:
        runner = small_runner(tmp_path, 1, hook)
        with pytest.raises(LockedError, match=f'going on.*{process.pid}'):
            runner.train()
        assert not checkpoints(tmp_path)
        assert not (tmp_path / 'epsd').exists()
    finally:
        process.kill()
        process.wait()
    small_runner(tmp_path, 1, hook).train()
    assert checkpoints(tmp_path) == ['epoch_1.pth']
    assert not (tmp_path / '.training.lock').exists()


@pytest.mark.parametrize(
    'name, waits', [('a.pth', True), ('last', True), ('image.JPG', False)]
)
def test_pictures_do_not_wait_for_the_disk(name, waits, tmp_path, monkeypatch):
    """Of thousands that are painted each would take its time."""
    waited = []
    monkeypatch.setattr(os, 'fsync', waited.append)
    path = tmp_path / 'new' / name
    WholeFiles().put(b'content', path)
    assert path.read_bytes() == b'content'
    assert bool(waited) == waits


def test_drafts_of_a_killed_training_are_removed(tmp_path):
    draft = tmp_path / '.epoch_1.pth.0123abcd.draft'
    draft.write_bytes(b'half')
    small_runner(tmp_path, 1).train()
    assert not draft.exists()


@pytest.mark.parametrize(
    'model, refused',
    [
        (dict(type='RetinaNet'), True),
        (dict(type='Compact', of='RetinaNet'), False),
        (dict(type='DetTTAModel', module=dict(type='Compact')), False),
        (torch.nn.Linear(1, 1), False),
    ],
)
def test_a_compact_checkpoint_is_of_no_whole_network(model, refused, tmp_path):
    path = tmp_path / 'compact.pth'
    text = "model = dict(channels=dict(), type='Compact')"
    torch.save(dict(meta=dict(cfg=text), state_dict={}), path)
    runner = SimpleNamespace(
        cfg=dict(model=model), _load_from=str(path), _resume=False
    )
    if refused:
        with pytest.raises(CheckpointError, match='is of a compact network'):
            _choice(runner)
    else:
        assert _choice(runner) == str(path)
