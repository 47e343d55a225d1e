"""A cell that starts again before its first checkpoint is the same run."""

import json
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner
from mmengine.visualization import Visualizer

from epsd_mm.benchmark.cell import run
from epsd_mm.benchmark.own_checkpoints import can_resume, steps_saved
from epsd_mm.benchmark.result_file import read_result_file
from epsd_mm.benchmark.rewind_hook import forget_later
from epsd_mm.benchmark.suite import Suite
from epsd_mm.engine.safe_loading import CheckpointError, load_values
from epsd_mm.pruning import Masks
from epsd_mm.run_files import last_checkpoint
from epsd_mm.training import StartError
from tests.helpers.cells import made, one_thread

TOOLS = Path(__file__).parents[2] / 'tools' / 'analysis_tools'
sys.path.insert(0, str(TOOLS))

from damage.tiny_suite import write_tiny_suite  # noqa: E402

METHODS = """
methods = {
    'dense': dict(variant='dense'),
    'IMP': dict(
        variant='prune-only', rounds=dict(share=0.5, rewind=1),
        options={'resume': True},
    ),
}
"""


class KilledError(Exception):
    """Stands for the death of a process."""


@pytest.fixture(autouse=True)
def alone():
    with one_thread():
        yield


@pytest.fixture
def rewound(tmp_path):
    """The folder of a cell that goes back to a step of one that has run."""
    return rewound_cell(tmp_path, epochs=2)


def rewound_cell(folder, epochs):
    """That folder, of a cell of so many epochs of six steps."""
    path = write_tiny_suite(folder, 1, epochs, [])
    path.write_text(path.read_text() + METHODS)
    suite = Suite.load(path)
    folders = []
    for cell in suite.cells:
        rewinds = suite.rewinds.get(cell.key)
        folders.append(made(cell, folder, rewinds=rewinds))
    run(folders[0])
    return folders[-1]


def weights(path):
    return load_values(path)['state_dict']


def start_of(monkeypatch, folder):
    """Run a cell up to its first step, and kill it there."""
    starts = []

    def kill(runner, *args, **kwargs):
        starts.append({k: v.clone() for k, v in state(runner).items()})
        raise KilledError

    def state(runner):
        return runner.model.state_dict()

    call = Runner.call_hook

    def call_hook(runner, name, **kwargs):
        call(runner, name, **kwargs)
        is_cell = Path(runner.work_dir) == folder
        if name == 'before_train' and is_cell:
            kill(runner)

    with monkeypatch.context() as patch:
        patch.setattr(Runner, 'call_hook', call_hook)
        with pytest.raises(KilledError):
            run(folder)
    return starts[0]


def test_a_rewound_cell_starts_from_the_same_weights_again(
    rewound, monkeypatch
):
    """Also where the config says resume: there is nothing to go on from."""
    first = start_of(monkeypatch, rewound)
    assert (rewound / 'borrowed_masks.pth').is_file()
    again = start_of(monkeypatch, rewound)
    assert all(torch.equal(again[name], first[name]) for name in first)
    (saved,) = rewound.parent.glob('*/rewind/epoch_1.pth')
    wanted = weights(saved)['head.fc.bias']  # which no mask covers
    assert torch.equal(again['head.fc.bias'], wanted)


def killed_at(monkeypatch, folder, step):
    """Run a cell up to the end of a step, and kill it there."""
    call = Runner.call_hook

    def call_hook(runner, name, **kwargs):
        call(runner, name, **kwargs)
        if name == 'after_train_iter' and Path(runner.work_dir) == folder:
            # It is counted once the hooks have been called.
            if runner.iter + 1 == step:
                raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Runner, 'call_hook', call_hook)
        with pytest.raises(KilledError):
            run(folder)
    # It was that of a process that is gone.
    Visualizer._instance_dict.clear()


@pytest.mark.slow
def test_a_rewound_cell_that_is_killed_in_training_ends_as_another_does(
    tmp_path, monkeypatch
):
    """Bit for bit; it goes on from its own weights, and not from the step.

    Of 18 steps it trains those after the 6th, and is killed after the 15th,
    in the epoch after that of its first checkpoint.
    """
    folder = rewound_cell(tmp_path / 'killed', epochs=3)
    whole = tmp_path / 'whole' / folder.name
    shutil.copytree(folder.parent, whole.parent)
    run(whole)
    Visualizer._instance_dict.clear()
    killed_at(monkeypatch, folder, 15)
    assert last_checkpoint(folder).name == 'epoch_2.pth'
    run(folder)
    steps = Counter(
        line['iter']
        for path in folder.glob('*/vis_data/scalars.json')
        for line in map(json.loads, path.read_text().splitlines())
        if 'lr' in line
    )
    # Every second one is logged.
    assert steps == {8: 1, 10: 1, 12: 1, 14: 2, 16: 1, 18: 1}
    ends = [load_values(last_checkpoint(each)) for each in (folder, whole)]
    assert ends[0]['meta']['iter'] == ends[1]['meta']['iter'] == 18
    states = [end['state_dict'] for end in ends]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    momenta = [end['optimizer']['state'] for end in ends]
    assert momenta[0].keys() == momenta[1].keys()
    for index, momentum in momenta[0].items():
        other = momenta[1][index]['momentum_buffer']
        assert torch.equal(momentum['momentum_buffer'], other)
    found, other = (read_result_file(each)[0] for each in (folder, whole))
    assert found['training/iterations'][0] == 12
    same = [n for n in other if n.startswith(('metric/', 'saved/'))]
    assert same and all(found[name] == other[name] for name in same)
    assert 'training/seconds' in other and 'training/seconds' not in found


def test_a_cell_whose_start_was_not_loaded_does_not_train(
    rewound, monkeypatch
):
    monkeypatch.setattr(Runner, 'load_or_resume', lambda runner: None)
    monkeypatch.setattr(
        'epsd_mm.benchmark.scored_apart.score_apart', lambda *a, **k: None
    )
    folder = rewound / 'lender' / 'epsd'
    folder.mkdir(parents=True)
    layer = torch.ones(4, 8, dtype=torch.bool)
    Masks({'head.fc.weight': layer}).save(folder / 'masks.pth')
    with pytest.raises(StartError, match='none were loaded'):
        run(rewound)


def test_a_cell_does_not_start_from_a_part_of_the_weights(
    rewound, monkeypatch
):
    (saved,) = rewound.parent.glob('*/rewind/epoch_1.pth')
    start_of(monkeypatch, rewound)
    content = load_values(saved)
    del content['state_dict']['head.fc.bias']
    torch.save(content, saved)
    with pytest.raises(CheckpointError, match='head.fc.bias'):
        run(rewound)


@pytest.mark.parametrize(
    'name, resumes',
    [
        ('epoch_3.pth', True),
        ('iter_12.pth', True),
        ('borrowed_masks.pth', False),
        ('best_accuracy_epoch_3.pth', False),
        ('init.pth', False),
    ],
)
def test_only_a_checkpoint_of_the_training_can_be_resumed(
    name, resumes, tmp_path
):
    (tmp_path / name).touch()
    assert can_resume(tmp_path) == resumes


def test_a_checkpoint_of_any_name_can_be_resumed_while_it_is_there(tmp_path):
    path = tmp_path / 'elsewhere' / 'step7.pth'
    path.parent.mkdir()
    path.touch()
    (tmp_path / 'last_checkpoint').write_text(str(path))
    assert can_resume(tmp_path)
    path.unlink()
    assert not can_resume(tmp_path)


def test_steps_are_those_of_the_training_alone(tmp_path):
    for name in ('epoch_2.pth', 'epoch_10.pth', 'iter_4.pth', 'lost.pth'):
        (tmp_path / name).touch()
    assert steps_saved(tmp_path, 'epoch') == [2, 10]


def test_a_run_that_died_before_it_named_its_checkpoint_begins_again(tmp_path):
    """Or it would pass the step without saving it for those that go back."""
    (tmp_path / 'epoch_1.pth').touch()
    forget_later(tmp_path, 'epoch', [1])
    assert not can_resume(tmp_path)
