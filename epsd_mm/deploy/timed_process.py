"""One network that answers how long it takes, in a process of its own.

Run as a script, so that a file of ONNX Runtime or OpenVINO is measured in a
process that has neither torch nor mm in its memory. Reads a line of JSON a
request and writes one a reply; the first says what to load.
"""

import json
import os
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np

_RUN = Path(__file__).with_name('run.py')


def open_file(task: dict) -> tuple[dict, Callable[[int], float]]:
    """An exported file; what is known of it, and what times it."""
    run = runpy.run_path(str(_RUN))
    file = Path(task['target'])
    session = run['open_file'](file, task['threads'], task['runtime'])
    known = dict(task['known'])
    width, height = task['size'] or _size(session.shapes, known, file)
    weights = file.with_suffix('.bin') if file.suffix == '.xml' else None
    weights = weights or Path(f'{file}.data')  # of an .onnx above 2 GB
    known['bytes'] = sum(
        f.stat().st_size for f in (file, weights) if f.is_file()
    )
    known.update(width=width, height=height)

    def seconds(batch: int) -> float:
        feed = dict(image=_noise(batch, height, width))
        if 'size' in session.shapes:
            size = np.array([[height, width]] * batch, np.float32)
            feed['size'] = size
        started = time.perf_counter()
        session.run(feed)
        return time.perf_counter() - started

    return known, seconds


def _size(shapes: dict, known: dict, file: Path) -> tuple[int, int]:
    if 'image' not in shapes:
        raise ValueError(
            f'{file} has no input called image, so epsd_mm has not exported '
            'it: export the network with tools/export.py'
        )
    height, width = shapes['image'][2:]
    width, height = width or known.get('width'), height or known.get('height')
    if width is None or height is None:
        raise ValueError(f'{file} takes images of any size: say --size W H')
    return width, height


def open_model(task: dict) -> tuple[dict, Callable[[int], float]]:
    """A config with or without a checkpoint, as mm predicts with it."""
    import torch

    from epsd_mm.deploy.torch_model import TorchModel

    if task['threads'] is not None:
        torch.set_num_threads(task['threads'])
    model = TorchModel(task['target'], task['size'])

    def seconds(batch: int) -> float:
        width, height = model.size
        images = torch.from_numpy(_noise(batch, height, width))
        return model.seconds(images)

    return model.known, seconds


def _noise(batch: int, height: int, width: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    shape = (batch, 3, height, width)
    return generator.integers(0, 256, shape).astype(np.float32)


def peak_memory() -> int | None:
    """The most bytes that the process had, where there is a /proc."""
    try:
        lines = Path('/proc/self/status').read_text().splitlines()
    except OSError:
        return None
    (line,) = [line for line in lines if line.startswith('VmHWM')]
    return int(line.split()[1]) * 1024


def serve(requests: TextIO, reply: Callable[[Any], None]) -> None:
    """Load what the first request names, then time what others ask."""
    task = json.loads(requests.readline())
    opened = open_model if task['runtime'] == 'torch' else open_file
    try:
        known, seconds = opened(task)
    except Exception as error:  # told by the process that started this one
        reply(dict(error=f'{type(error).__name__}: {error}'))
        return
    reply(known)
    for line in requests:
        try:
            took = seconds(json.loads(line))
        except Exception as error:  # likewise
            reply(dict(error=f'{type(error).__name__}: {error}'))
            return
        reply(dict(seconds=took, memory=peak_memory()))


if __name__ == '__main__':
    # Libraries write to the standard output, too.
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)

    def answer(value: Any) -> None:
        answers.write(json.dumps(value) + '\n')
        answers.flush()

    serve(sys.stdin, answer)
