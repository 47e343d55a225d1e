"""The GPUs of this machine, as a job is told of one."""

import os
import subprocess
import sys
from collections.abc import Sequence

import torch

#: By it a process is told which GPUs it sees.
VISIBLE = 'CUDA_VISIBLE_DEVICES'
_UUIDS = ('GPU-', 'MIG-')
_COUNT = 'import torch; print(torch.cuda.device_count())'


def told_by(gpus: Sequence[int | str]) -> list[str]:
    """What each of some GPUs is told to a job by.

    Indices count what this process sees, which :data:`VISIBLE` may have
    limited already: a job is told the GPU itself.

    Args:
        gpus: Indices, or UUIDs as of ``nvidia-smi -L``.

    Raises:
        ValueError: There is no such GPU; without this, a job would train
            on the CPU.
    """
    for gpu in gpus:
        whole = isinstance(gpu, int) and not isinstance(gpu, bool)
        if not whole and not str(gpu).startswith(_UUIDS):
            raise ValueError(
                f'gpus={list(gpus)}: {gpu!r} is neither the index of a GPU, '
                'such as 0, nor its UUID, GPU-…, as of `nvidia-smi -L`'
            )
    count = torch.cuda.device_count()
    for gpu in gpus:
        if not _is_there(gpu, count):
            raise ValueError(
                f'gpus={list(gpus)}: there is no GPU {gpu}: {_seen(count)}'
            )
    limited = os.environ.get(VISIBLE)
    names = limited.split(',') if limited else [str(i) for i in range(count)]
    return [names[gpu] if isinstance(gpu, int) else gpu for gpu in gpus]


def _seen(count: int) -> str:
    if not count:
        return 'torch sees none here; leave gpus out to train on the CPU'
    last = f' to {count - 1}' if count > 1 else ''
    return f'torch sees {count} here, with the index 0{last}'


def _is_there(gpu: int | str, count: int) -> bool:
    if isinstance(gpu, int) or not count:
        return gpu in range(count)
    # torch counts once in a process: another one is told of the UUID.
    found = subprocess.run(
        [sys.executable, '-c', _COUNT],
        env={**os.environ, VISIBLE: gpu},
        capture_output=True,
        text=True,
    )
    return found.stdout.strip() not in ('', '0')
