"""Cells of a suite, run in this process."""

import json
from contextlib import contextmanager

import torch

from epsd_mm.benchmark.suite_folder import SPEC


@contextmanager
def one_thread():
    """Sums of floats depend on their order, and that on the threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def made(cell, folder, **more):
    """The folder of a cell that is to run, in that of its suite."""
    work_dir = folder / cell.key
    work_dir.mkdir()
    spec = dict(cell.spec(), key=cell.key, name=cell.name, **more)
    (work_dir / SPEC).write_text(json.dumps(spec))
    return work_dir
