"""Several processes of one job, on the CPU."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
from torch import multiprocessing

from .runners import runner_of


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def join(rank, port, world):
    """Become one process of a group."""
    os.environ.update(
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world),
    )
    torch.set_num_threads(1)
    # mmengine's own start of a process group wants a GPU.
    torch.distributed.init_process_group('gloo')


def together(task, world, *args):
    """Run ``task(rank, port, *args)`` in so many processes.

    They are forked from one that has imported everything already.
    """
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['tests.helpers.runners'])
    multiprocessing.start_processes(
        task,
        args=(free_port(), *args),
        nprocs=world,
        start_method='forkserver',
    )


def distributed(cfg):
    """The runner of a config in a process of a group."""
    cfg.launcher = 'pytorch'
    # mmengine's own wrapper wants a GPU.
    cfg.model_wrapper_cfg = dict(
        type='MMDistributedDataParallel', device_ids=None
    )
    return runner_of(cfg)


def training_in(folder):
    """A process that holds the lock of a training in a folder."""
    code = (
        'import sys, time\n'
        f'sys.path.insert(0, {os.getcwd()!r})\n'
        'from epsd_mm.locks import FileLock\n'
        f'lock = FileLock({str(folder / ".training.lock")!r})\n'
        "print('held', flush=True)\n"
        'time.sleep(60)\n'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', code], stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b'held\n'
    return process


def gone(pid):
    """Whether a process of this number has ended."""
    status = Path('/proc', str(pid), 'stat')
    return not status.exists() or status.read_text().split()[2] == 'Z'
