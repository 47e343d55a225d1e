"""Set-ups that start from a network of other classes run in every method."""

import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from epsd_mm.benchmark import compact_cell
from epsd_mm.benchmark.cell import run
from epsd_mm.benchmark.suite import Suite
from epsd_mm.engine.initial_model import build_untrained
from epsd_mm.engine.safe_loading import load_values
from epsd_mm.runs import Run
from tests.helpers.cells import made, one_thread

from ..helpers.suites import CONFIG, suite_of

TOOLS = Path(__file__).parents[2] / 'tools' / 'analysis_tools'
sys.path.insert(0, str(TOOLS))

from damage.tiny_suite import write_tiny_suite  # noqa: E402

METHODS = """
methods = {
    'EPSD': dict(),
    'same': dict(masks_of='EPSD'),
    'units': dict(
        criterion='Magnitude', variant='prune-only',
        options={
            'default_hooks.epsd.structure': dict(
                type='channels', of='weights', multiple_of=1
            ),
            'default_hooks.epsd.allow_empty_layers': False,
            'default_hooks.epsd.allocation': 'uniform',
        },
    ),
}
"""


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Weights of a network of seven classes, and folders after it."""
    folder = tmp_path_factory.mktemp('tuned')
    path = write_tiny_suite(folder, 1, 1, [])
    path.write_text(path.read_text() + METHODS)
    cfg = Config.fromfile(folder / 'config.py')
    cfg.model.head.num_classes = 7
    state = build_untrained(cfg).state_dict()
    torch.save(dict(state_dict=state), folder / 'others.pth')
    with open(folder / 'config.py', 'a') as text:
        text.write(f'\nload_from = {str(folder / "others.pth")!r}\n')
    folders = {}
    with one_thread(), pytest.MonkeyPatch.context() as patch:
        # A network of four channels is as small as asked by chance.
        patch.setattr(compact_cell, 'SLACK', 0.1)
        for cell in Suite.load(path).cells:
            folders[cell.method.name] = made(cell, folder)
            run(folders[cell.method.name])
    return state, folders


def weights(path):
    return load_values(path)['state_dict']


def test_borrowed_masks_are_scored_from_what_the_training_loads(trained):
    _, folders = trained
    ours, theirs = (
        weights(folders[name] / 'epoch_1.pth') for name in ('same', 'EPSD')
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_masks_of_another_run_leave_the_weights_that_were_loaded(trained):
    origin, folders = trained
    found = weights(folders['same'] / 'lender' / 'init.pth')
    name = 'backbone.conv1.weight'
    assert torch.equal(found[name], origin[name] * (found[name] != 0))
    assert found['head.fc.weight'].shape[0] == 4


def test_channels_that_are_left_have_the_weights_that_were_loaded(trained):
    origin, folders = trained
    found = weights(folders['units'] / 'pruned' / 'init.pth')
    left, loaded = (
        {tuple(row.flatten().tolist()) for row in of['backbone.conv1.weight']}
        for of in (found, origin)
    )
    assert left <= loaded
    assert found['head.fc.weight'].shape[0] == 4


def test_a_student_starts_from_weights_of_its_own(tmp_path):
    methods = dict(
        GMP=dict(variant='prune-only', policy='GMP'),
        student=dict(student_of='GMP'),
    )
    options = dict(load_from='whole.pth')
    found = suite_of(tmp_path, methods, 1, (0.5,), options=options)
    origins = {c.method.name: c.config.load_from for c in found.cells}
    assert origins == dict(GMP='whole.pth', student=None)


def test_a_narrow_run_takes_no_weights_of_another():
    other = Run(CONFIG)
    with pytest.raises(ValueError, match='leave weights_of out'):
        Run(CONFIG, narrow=True, teacher=other, weights_of=other)
