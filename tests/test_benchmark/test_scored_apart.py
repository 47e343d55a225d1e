"""A cell under the masks of another run has just those, and its own seed."""

import sys
from pathlib import Path

import pytest
import torch

from epsd_mm.benchmark.cell import run
from epsd_mm.benchmark.result_file import read_result_file
from epsd_mm.benchmark.scored_apart import LENDER
from epsd_mm.benchmark.suite import Suite
from epsd_mm.engine.safe_loading import load_values
from epsd_mm.pruning import Masks
from tests.helpers.cells import made, one_thread

TOOLS = Path(__file__).parents[2] / 'tools' / 'analysis_tools'
sys.path.insert(0, str(TOOLS))

from damage.tiny_suite import write_tiny_suite  # noqa: E402


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """Folders of cells that have run, by method."""
    folder = tmp_path_factory.mktemp('lent')
    path = write_tiny_suite(folder, 1, 2, ['EPSD'])
    with open(path, 'a') as text:
        text.write(
            "\nmethods['same'] = dict(masks_of='EPSD')"
            "\nmethods['shuffled'] = dict(masks_of='EPSD', shuffled=True)"
        )
    folders = {}
    with one_thread():
        for cell in Suite.load(path).cells:
            folders[cell.method.name] = made(cell, folder)
            run(folders[cell.method.name])
    return folders


def weights(folder):
    return load_values(folder / 'epoch_2.pth')['state_dict']


def masks(folder):
    return Masks.load(folder / 'epsd' / 'masks.pth')


def test_a_run_under_the_masks_it_would_have_is_the_same_run(finished):
    ours, theirs = (weights(finished[name]) for name in ('same', 'EPSD'))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_shuffled_masks_keep_as_much_of_each_layer_elsewhere(finished):
    shuffled, own = (masks(finished[name]) for name in ('shuffled', 'EPSD'))
    assert shuffled.layers() == own.layers()
    assert shuffled.overlap(own) < 0.8
    state = weights(finished['shuffled'])
    assert all(not state[name][~mask].any() for name, mask in shuffled.items())


def test_scoring_is_part_of_what_such_a_cell_has_cost(finished):
    same, own = (
        read_result_file(finished[name])[0] for name in ('same', 'EPSD')
    )
    assert same.keys() == own.keys()
    for name in ('saved/sparsity', 'scoring/kept', 'scoring/evaluations'):
        assert same[name] == own[name]


def test_a_cell_that_goes_on_does_not_score_again(finished, caplog):
    folder = finished['shuffled']
    scored = folder / LENDER / 'init.pth'
    before, result = scored.stat().st_mtime_ns, weights(folder)
    (folder / 'epoch_2.pth').unlink()
    (folder / 'last_checkpoint').unlink()
    with one_thread():
        run(folder)
    assert scored.stat().st_mtime_ns == before
    again = weights(folder)
    assert all(torch.equal(again[name], result[name]) for name in result)
