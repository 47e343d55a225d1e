"""A search that is broken off goes on where it was."""

import copy
import io
import random
from functools import partial

import pytest
import torch

from epsd_mm.pruning import (
    FORCE,
    NTKSAP,
    SNIP,
    Alone,
    GraSP,
    IterSNIP,
    Ledger,
    ProsPr,
    Random,
    SynFlow,
)
from epsd_mm.pruning.objective import seed_everything
from tests.helpers.nets import Net
from tests.test_pruning.test_search import Divided, same, search


def note(seen, draw, loss):
    """An evaluation of a draw."""
    seen.append(draw)


class Disk:
    """What is on it when the search is killed after so many draws."""

    def __init__(self, kills_after):
        self.content = None
        self.left = kills_after

    def keep(self, ledger):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        file = io.BytesIO()
        torch.save(ledger.pack(), file)
        self.content = file.getvalue()

    def read(self):
        if self.content is None:
            return None
        file = io.BytesIO(self.content)
        return Ledger.unpack(torch.load(file, weights_only=True))


@pytest.mark.parametrize(
    'criterion',
    [Random(), SNIP(), GraSP(), ProsPr(steps=1), IterSNIP(3), FORCE(3)],
    ids=lambda criterion: type(criterion).__name__,
)
def test_killed_after_any_draw_it_ends_as_an_uninterrupted_one(criterion):
    """Also where other numbers of processes take their turns."""
    model, draws = Net(), 3
    whole = search(criterion, model, draws=draws)
    for after in range(1, criterion.schedule.rounds * draws):
        disk, seen = Disk(after), []
        with pytest.raises(KeyboardInterrupt):
            search(
                criterion,
                model,
                draws=draws,
                team=Divided(2) if after == 1 else None,
                keep=disk.keep,
            )
        torch.rand(after)  # another process has other random numbers
        found = search(
            criterion,
            model,
            draws=draws,
            team=Divided(3) if after == 2 else None,
            start=disk.read(),
            on_evaluation=partial(note, seen),
        )
        same(found, whole)
        assert found.draws == whole.draws
        assert found.mass == whole.mass
        made = disk.read().draws
        assert made >= after
        assert not {*seen} & {*range(made)}


def test_a_finished_one_is_not_made_again():
    model = Net()
    disk = Disk(100)
    whole = search(IterSNIP(2), model, draws=3, keep=disk.keep)
    again = search(
        IterSNIP(2),
        model,
        batches=lambda draw: pytest.fail('drawn again'),
        draws=3,
        start=disk.read(),
    )
    same(again, whole)
    assert again.draws == whole.draws


@pytest.mark.parametrize('criterion', [SynFlow(20), NTKSAP(20, samples=1)])
def test_a_data_free_one_goes_on_too(criterion):
    disk, model = Disk(7), Net()
    with pytest.raises(KeyboardInterrupt):
        search(criterion, model, keep=disk.keep)
    assert disk.read().round == 7
    torch.rand(3)
    same(
        search(criterion, model, start=disk.read()),
        search(criterion, model),
    )


def test_random_numbers_after_it_are_those_after_a_whole_one():
    disk, model = Disk(1), Net()
    with pytest.raises(KeyboardInterrupt):
        search(SNIP(), model, draws=3, keep=disk.keep)
    seed_everything(5)
    search(SNIP(), model, draws=3)
    want = torch.rand(3), random.random()
    seed_everything(5)
    search(SNIP(), model, draws=3, start=disk.read())
    assert torch.equal(torch.rand(3), want[0])
    assert random.random() == want[1]


class Follower(Alone):
    """A process beside one that has read a ledger."""

    def __init__(self, ledger):
        self.ledger = ledger

    def agree(self, value):
        assert value is None
        return copy.deepcopy(self.ledger)


def test_every_process_goes_on_from_what_the_first_one_has():
    disk, model = Disk(4), Net()
    with pytest.raises(KeyboardInterrupt):
        search(IterSNIP(2), model, draws=3, keep=disk.keep)
    follower = Follower(disk.read())
    found = search(IterSNIP(2), model, draws=3, team=follower)
    same(found, search(IterSNIP(2), model, draws=3))
