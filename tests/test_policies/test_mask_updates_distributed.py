"""The processes of a job rank one gradient, and have one set of masks."""

import os

import pytest
import torch
from torch import multiprocessing
from torch.nn.parallel import DistributedDataParallel

from epsd_mm.policies import SET, MaskUpdates, RigL
from epsd_mm.pruning import MaskKeeper, Masks
from tests.helpers.processes import free_port
from tests.test_pruning.test_mask_keeper_distributed import (
    inputs,
    masks_of,
    net,
)

pytestmark = pytest.mark.slow


class Told(RigL):
    """RigL that remembers what it was given."""

    seen = None

    def next(self, masks, weights, gradients, moment, target):
        if self.seen is None:
            self.seen = {n: g.clone() for n, g in gradients.items()}
        return super().next(masks, weights, gradients, moment, target)


def loss_of(model, rank, micro):
    return model(inputs(rank, micro)).square().mean()


def train(rank, port, folder):
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo', rank=rank, world_size=2)
    left = {}
    for name, policy in dict(
        rigl=Told(every=1, fraction=0.9), set=SET(every=1)
    ).items():
        model = net()
        wrapped = DistributedDataParallel(model)
        optimizer = torch.optim.SGD(wrapped.parameters(), 0.1)
        keeper = MaskKeeper(model, masks_of(model))
        keeper.watch(optimizer)
        # What each process would draw by itself differs.
        MaskUpdates(keeper, policy, optimizer, total=4, seed=rank)
        masks = []
        for step in range(3):
            optimizer.zero_grad()
            with wrapped.no_sync():
                loss_of(wrapped, rank, 2 * step).backward()
            loss_of(wrapped, rank, 2 * step + 1).backward()
            optimizer.step()
            masks.append(keeper.masks.pack())
        left[name] = dict(
            masks=masks, weights=[p.detach() for p in model.parameters()]
        )
        if name == 'rigl':
            left['gradients'] = policy.seen
    left['told'] = by_hand(rank)
    torch.save(left, folder / f'{rank}.pth')
    torch.distributed.destroy_process_group()


def by_hand(rank):
    """What a step says of gradients in one process alone, and in none."""
    told = []
    for seeing in (1, 2):  # how many processes put theirs there by hand
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        keeper = MaskKeeper(model, masks_of(model))
        keeper.watch(optimizer)
        MaskUpdates(keeper, RigL(every=1), optimizer, total=4)
        if rank < seeing:
            for parameter in model.parameters():
                parameter.grad = torch.ones_like(parameter)
        else:
            loss_of(model, rank, 0).backward()
        try:
            optimizer.step()
        except RuntimeError as error:
            told.append(str(error))
        else:
            told.append(None)
    return told


def dense_gradients():
    """Of the first step: all processes and batches, nothing left out."""
    model = net()
    masks = masks_of(model)
    params = dict(model.named_parameters())
    with torch.no_grad():
        for name, mask in masks.items():
            params[name][~mask] = 0
    loss = sum(loss_of(model, r, micro) for r in (0, 1) for micro in (0, 1))
    weights = {name: params[name] for name in masks}
    return dict(zip(weights, torch.autograd.grad(loss, [*weights.values()])))


def test_ranks_rank_one_gradient_and_agree(tmp_path):
    multiprocessing.start_processes(
        train, args=(free_port(), tmp_path), nprocs=2, start_method='spawn'
    )
    first, second = (torch.load(tmp_path / f'{r}.pth') for r in (0, 1))
    for name, expected in dense_gradients().items():
        for left in (first, second):
            torch.testing.assert_close(left['gradients'][name], expected)
    for left in (first, second):
        one, none = left['told']
        assert one is None and 'RigL ranks gradients, and none arose' in none
    for name in ('rigl', 'set'):
        for a, b in zip(first[name]['masks'], second[name]['masks']):
            assert Masks.unpack(a) == Masks.unpack(b)
        for a, b in zip(first[name]['weights'], second[name]['weights']):
            assert torch.equal(a, b)
        masks = [Masks.unpack(m) for m in first[name]['masks']]
        assert masks[0] != masks[1] and masks[0].kept == masks_of(net()).kept
