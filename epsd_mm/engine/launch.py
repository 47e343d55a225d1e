"""Distributed jobs on machines without an accelerator."""

import os
import subprocess
from datetime import timedelta

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log

# Where each launcher says which process of how many this one is.
_PLACES = dict(
    pytorch=('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    slurm=('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    mpi=(
        'OMPI_COMM_WORLD_RANK',
        'OMPI_COMM_WORLD_SIZE',
        'OMPI_COMM_WORLD_LOCAL_RANK',
    ),
)


def join_without_accelerator(cfg: Config) -> None:
    """Let the processes of a job meet over gloo where there is no device.

    Of its own, mmengine takes a GPU for each process. What was not started
    by a launcher, or has an accelerator, is left to it.

    Args:
        cfg: Of the runner; its backend and its model wrapper are set.

    Raises:
        ValueError: The launcher has not said which process this is.
    """
    launcher = cfg.get('launcher', 'none')
    if launcher not in _PLACES or get_device() != 'cpu':
        return
    settings = cfg.setdefault('env_cfg', {}).setdefault('dist_cfg', {})
    backend, settings['backend'] = settings.get('backend', 'nccl'), 'gloo'
    wrapper = cfg.get('model_wrapper_cfg') or dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    cfg.model_wrapper_cfg = dict(wrapper, device_ids=None)
    if torch.distributed.is_initialized():
        return
    _set_places(launcher)
    seconds = settings.get('timeout')
    options = {} if seconds is None else dict(timeout=timedelta(0, seconds))
    torch.distributed.init_process_group('gloo', **options)
    if backend != 'gloo':
        print_log(
            f'no accelerator is there for {backend}: the '
            f'{torch.distributed.get_world_size()} processes train on the '
            'CPU and meet over gloo',
            logger='current',
        )


def _set_places(launcher: str) -> None:
    """Say in torch's words which process of how many this one is."""
    for ours, theirs in zip(_PLACES['pytorch'], _PLACES[launcher]):
        if theirs not in os.environ:
            raise ValueError(
                f'--launcher {launcher}, but {theirs} is not set: start the '
                'tool by tools/dist_train.sh, srun or mpirun, or leave '
                '--launcher out'
            )
        os.environ[ours] = os.environ[theirs]
    if launcher == 'slurm' and 'MASTER_ADDR' not in os.environ:
        nodes = ['scontrol', 'show', 'hostname', os.environ['SLURM_NODELIST']]
        found = subprocess.run(nodes, capture_output=True, text=True)
        os.environ['MASTER_ADDR'] = found.stdout.split()[0]
    os.environ.setdefault('MASTER_ADDR', '127.0.0.1')
    os.environ.setdefault('MASTER_PORT', '29500')
