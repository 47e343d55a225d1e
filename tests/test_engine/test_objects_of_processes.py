"""Terms of detectors in several processes are those of one with all images."""

import copy

import pytest
import torch
import torch.distributed as dist

from epsd_mm.distillation import KD, CSKDLoss, DLBLoss, PSKDLoss
from tests.helpers.dense import without_batch_statistics
from tests.helpers.detectors import lively, pictures
from tests.helpers.families import tiny_rtmdet, tiny_yolox
from tests.helpers.models import tiny_atss, tiny_fcos, trainable
from tests.helpers.processes import join, together
from tests.helpers.queries import tiny_dino
from tests.helpers.taps import attached
from tests.helpers.teachers import other_weights

# The first to run waits until everything is imported once more.
pytestmark = pytest.mark.slow

#: One of each kind of observer that divides by a mean over processes.
BUILDS = [tiny_fcos, tiny_atss, tiny_rtmdet, tiny_yolox, tiny_dino]
#: A loss, and whether the second process sees no object in the end.
CASES = [(CSKDLoss, False), (PSKDLoss, False), (DLBLoss, False)]
CASES += [(KD, False), (DLBLoss, True)]
#: Which of three images each process has.
SHARES = [slice(0, 2), slice(2, 3)]
EVERYTHING = slice(0, 3)


def images(build, share, seed, empty=False):
    """The same three objects everywhere, at other places for each seed."""
    paths = tuple(f'{image}.jpg' for image in range(3))
    batch = pictures(build, paths, seed=seed, labels=(0, 1, 2))
    if empty:
        (truth,) = (s.gt_instances for s in batch['data_samples'][2:])
        batch['data_samples'][2].gt_instances = truth[:0]
    return {name: value[share] for name, value in batch.items()}


def term_and_slope(build, method, empty, share):
    """Of the second step on a share of the images."""
    model = without_batch_statistics(lively(build))
    # Each process has its own teacher, of the same weights.
    taught = method is KD
    tap = attached(model, KD(other_weights(model)) if taught else method())
    for step in range(2):
        # The same twice: DLB's scale is that of a process, and is 1 where
        # all objects are seen again.
        batch = images(build, share, 1, empty and step == 1)
        if method is CSKDLoss:
            partners = images(build, share, 2)
            batch = {name: batch[name] + partners[name] for name in batch}
        torch.manual_seed(step)
        data = model.data_preprocessor(copy.deepcopy(batch), True)
        term = model(**data, mode='loss')['loss_sd']
        tap.learn()
        if step == 0:
            torch.manual_seed(9)
            for weight in trainable(model).values():
                weight.data *= 1 + 0.1 * torch.randn_like(weight)
    slopes = torch.autograd.grad(
        term, list(trainable(model).values()), allow_unused=True
    )
    slope = torch.cat([s.ravel() for s in slopes if s is not None])
    return term.detach(), slope


def take_part(rank, port, folder):
    """One process of two; the mean over both is what DDP steps along."""
    join(rank, port, 2)
    found = {}
    for build in BUILDS:
        for method, empty in CASES:
            term, slope = term_and_slope(build, method, empty, SHARES[rank])
            if empty and rank == 1:
                assert term == 0 and not slope.any()
            for value in (term, slope):
                dist.all_reduce(value.div_(2))
            found[build.__name__, method.__name__, empty] = term, slope
    if rank == 0:
        torch.save(found, folder / 'found.pth')


def test_a_mean_over_processes_is_the_term_of_all_their_images(tmp_path):
    together(take_part, 2, tmp_path)
    found = torch.load(tmp_path / 'found.pth')
    for build in BUILDS:
        for method, empty in CASES:
            want, slope = term_and_slope(build, method, empty, EVERYTHING)
            case = build.__name__, method.__name__, empty
            term, of_both = found[case]
            assert want > 0, case
            assert float(term) == pytest.approx(float(want), rel=1e-4), case
            error = (of_both - slope).norm() / slope.norm()
            assert error < 1e-4, (case, error)
