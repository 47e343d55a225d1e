"""A training that goes back to a step goes on as it did from there."""

import json
import sys
from pathlib import Path

import pytest
import torch

from epsd_mm.benchmark.cell import run
from epsd_mm.benchmark.result_file import read_result_file
from epsd_mm.benchmark.suite_folder import SPEC
from epsd_mm.engine.safe_loading import load_values
from epsd_mm.run_files import last_checkpoint
from epsd_mm.runs import Run, key_of
from epsd_mm.training import StartError
from tests.helpers.cells import one_thread

TOOLS = Path(__file__).parents[2] / 'tools' / 'analysis_tools'
sys.path.insert(0, str(TOOLS))

from damage.tiny_suite import write_tiny_suite  # noqa: E402

EPOCHS = dict(type='CosineAnnealingLR', by_epoch=True, T_max=4)
ITERATIONS = dict(type='CosineAnnealingLR', by_epoch=False, T_max=24)
#: A step has 8 of 48 pictures: both train for 24 steps.
LOOPS = {
    'epoch': {'param_scheduler': [EPOCHS]},
    'iter': {
        'param_scheduler': [ITERATIONS],
        'train_cfg': dict(
            _delete_=True, by_epoch=False, max_iters=24, val_interval=24
        ),
        'default_hooks.checkpoint': dict(
            _delete_=True, type='CheckpointHook', by_epoch=False, interval=24
        ),
    },
}
STEPS = {'epoch': 1, 'iter': 6}


@pytest.fixture(autouse=True)
def quick_alone(monkeypatch):
    # mmengine waits for its worker processes, of which there are none here.
    monkeypatch.setattr('mmengine.runner.loops.time.sleep', lambda _: None)
    with one_thread():
        yield


def trained(folder, asked, rewinds=()):
    """The folder of a cell that has run."""
    key = key_of(asked.resolve())
    (folder / key).mkdir()
    spec = dict(run=asked.to_dict(), key=key, name='a cell', rewinds=rewinds)
    (folder / key / SPEC).write_text(json.dumps(spec))
    run(folder / key)
    return folder / key


def runs_of(folder, unit, step=None, epochs=4, **options):
    """A dense run, and one that goes back in it and removes nothing."""
    write_tiny_suite(folder, epochs=epochs)
    common = dict(
        config=str(folder / 'config.py'),
        variant='dense',
        seed=0,
        options=LOOPS[unit] | options,
    )
    whole = Run(**common)
    again = Run(**common, weights_of=whole, rewound_to=step or STEPS[unit])
    return whole, again


def logged(folder):
    (path,) = folder.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {x['iter']: x['lr'] for x in lines if 'lr' in x}


@pytest.mark.parametrize(
    'step, epochs, options',
    [(1, 4, {}), (2, 3, {'optim_wrapper.accumulative_counts': 12})],
)
def test_it_ends_as_the_other_where_nothing_was_removed(
    step, epochs, options, tmp_path
):
    """Weights, statistics and momentum, bit for bit, with random crops.

    Also where a step adds up batches, and the last step fewer of them.
    """
    whole, again = runs_of(tmp_path, 'epoch', step, epochs, **options)
    one = trained(tmp_path, whole, [step])
    other = trained(tmp_path, again)
    one, other = (load_values(last_checkpoint(f)) for f in (one, other))
    for name, value in one['state_dict'].items():
        assert torch.equal(other['state_dict'][name], value), name
    states = [file['optimizer']['state'] for file in (one, other)]
    assert states[0].keys() == states[1].keys()
    for index, state in states[0].items():
        momentum = states[1][index]['momentum_buffer']
        assert torch.equal(momentum, state['momentum_buffer'])


@pytest.mark.parametrize('unit', ['epoch', 'iter'])
def test_its_schedule_goes_on_from_the_step_and_steps_before_do_not_count(
    unit, tmp_path
):
    """Of four epochs, or 24 steps, the first was another's."""
    whole, again = runs_of(tmp_path, unit)
    folders = trained(tmp_path, whole, [STEPS[unit]]), trained(tmp_path, again)
    one, other = (logged(folder) for folder in folders)
    assert min(one) <= 2 and min(other) > 6
    assert other == {at: rate for at, rate in one.items() if at > 6}
    assert len(set(other.values())) > 1
    found = [read_result_file(folder)[0] for folder in folders]
    assert [of['training/iterations'][0] for of in found] == [24, 18]


def test_iterations_count_that_are_in_no_log(tmp_path):
    """Every fifth of an epoch of six is logged, and its end is not."""
    often = {'default_hooks.logger.interval': 5}
    whole, again = runs_of(tmp_path, 'epoch', **often)
    folders = trained(tmp_path, whole, [1]), trained(tmp_path, again)
    assert max(logged(folders[0])) == 23
    found = [read_result_file(folder)[0] for folder in folders]
    assert [of['training/iterations'][0] for of in found] == [24, 18]
    for of in found:
        time = of['training/iteration_time'][0]
        assert of['training/epoch_time'][0] == pytest.approx(6 * time)


def test_weights_alone_are_nothing_to_go_back_to(tmp_path):
    whole, again = runs_of(tmp_path, 'epoch')
    path = trained(tmp_path, whole, [1]) / 'rewind' / 'epoch_1.pth'
    content = load_values(path)
    del content['optimizer']
    torch.save(content, path)
    with pytest.raises(StartError, match='neither the optimiser nor the sch'):
        trained(tmp_path, again)
