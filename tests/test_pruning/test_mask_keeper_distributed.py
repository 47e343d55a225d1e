"""Removed weights take part in nothing of a distributed job either."""

import os
import socket

import pytest
import torch
from torch import multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from epsd_mm.pruning import MaskKeeper, Masks

pytestmark = pytest.mark.slow


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def masks_of(model):
    generator = torch.Generator().manual_seed(1)
    return Masks(
        {
            f'{i}.weight': torch.rand(
                model[i].weight.shape, generator=generator
            )
            < 0.5
            for i in (0, 2)
        }
    )


def inputs(rank, micro):
    generator = torch.Generator().manual_seed(10 * rank + micro)
    return torch.randn(4, 6, dtype=torch.double, generator=generator)


def train(rank, port, folder):
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo', rank=rank, world_size=2)
    left = {}
    for as_view in (False, True):
        model = net()
        wrapped = DistributedDataParallel(
            model, gradient_as_bucket_view=as_view
        )
        optimizer = torch.optim.SGD(wrapped.parameters(), 0.1, momentum=0.9)
        MaskKeeper(model, masks_of(model)).watch(optimizer)
        with wrapped.no_sync():
            wrapped(inputs(rank, 0)).square().mean().backward()
        wrapped(inputs(rank, 1)).square().mean().backward()
        left[as_view] = [p.grad.clone() for p in model.parameters()]
        optimizer.step()
        left[as_view] += [p.detach() for p in model.parameters()]
    torch.save(left, folder / f'{rank}.pth')
    torch.distributed.destroy_process_group()


def expected_gradients():
    """The mean over both processes, removed entries left out."""
    model = net()
    masks = masks_of(model)
    params = dict(model.named_parameters())
    with torch.no_grad():
        for name, mask in masks.items():
            params[name][~mask] = 0
    loss = sum(
        model(inputs(rank, micro)).square().mean() / 2
        for rank in (0, 1)
        for micro in (0, 1)
    )
    gradients = torch.autograd.grad(loss, list(params.values()))
    return [
        g * masks[name] if name in masks else g
        for name, g in zip(params, gradients)
    ]


def test_ranks_share_the_gradients_of_what_is_kept(tmp_path):
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    multiprocessing.start_processes(
        train, args=(port, tmp_path), nprocs=2, start_method='spawn'
    )
    first, second = (torch.load(tmp_path / f'{r}.pth') for r in (0, 1))
    want = expected_gradients()
    for as_view in (False, True):
        for got, other in zip(first[as_view], second[as_view]):
            assert torch.equal(got, other)
        for got, expected in zip(first[as_view], want):
            torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)
