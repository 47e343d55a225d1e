"""A small training that saves all the time, killed and resumed."""

import os
import random
import select
import signal
import sys
import time
import traceback
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, MODELS
from mmengine.runner import Runner
from torch import nn

from epsd_mm.pruning import Masks

ITERATIONS = 100_000  # more than any kill waits for


class Kills:
    """Starts the training in processes of their own, and kills them.

    Attributes:
        killed: Number of kills.
        in_save: How many of them while a checkpoint was being saved.
        lost: How many of them lost work: the training that followed did not
            start, or went on from an earlier checkpoint than the last that
            was saved, or with other masks.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.rng = random.Random(seed)
        self.killed = self.in_save = self.lost = 0
        self._saved = 0
        self._masks: str | None = None

    def run(self, count: int) -> None:
        """Kill it so many times, then let it start once more."""
        for number in range(count + 1):
            self._once(last=number == count)

    def summary(self) -> str:
        return (
            f'{self.killed} kills, {self.in_save} of them while a checkpoint '
            f'was being saved: {self.lost} lost work; '
            f'{self._saved} checkpoints were saved'
        )

    def _once(self, last: bool) -> None:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            _train_and_leave(self.folder, writer)
        os.close(writer)
        told = _Told(reader)
        started = told.until('start', seconds=120)
        if started is None or not self._goes_on(started):
            self.lost += 1
        if started is not None and not last:
            # Some die before their first save, some in it, some long after.
            told.listen(self.rng.uniform(0, 0.6))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            raise RuntimeError(
                'the training ended before it was killed:\n'
                + (self.folder / 'output.txt').read_text()[-2000:]
            )
        told.listen(0.0)
        os.close(reader)
        self._saved = max(self._saved, *told.numbers('saved'), 0)
        if not last:
            self.killed += 1
            self.in_save += told.in_save()

    def _goes_on(self, started: list[str]) -> bool:
        """Whether a training started where the one before had come to."""
        iteration, masks = int(started[0]), started[1]
        self._masks = self._masks or masks
        return iteration >= self._saved and masks == self._masks


class _Told:
    """What a training has told through its pipe, a line each."""

    def __init__(self, reader: int) -> None:
        self._reader = reader
        self._text = ''

    def until(self, word: str, seconds: float) -> list[str] | None:
        """Wait for a line; what follows its first word."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for line in self._lines():
                if line[0] == word:
                    return line[1:]
            if not self._read(end - time.monotonic()):
                return None
        return None

    def listen(self, seconds: float) -> None:
        """Take what comes for so long."""
        end = time.monotonic() + seconds
        while self._read(max(0.0, end - time.monotonic())):
            pass

    def numbers(self, word: str) -> list[int]:
        return [int(line[1]) for line in self._lines() if line[0] == word]

    def in_save(self) -> bool:
        """Whether the last that was told is that a save begins."""
        return bool(self._lines()) and self._lines()[-1][0] == 'saving'

    def _lines(self) -> list[list[str]]:
        return [line.split() for line in self._text.split('\n')[:-1]]

    def _read(self, seconds: float) -> bool:
        if not select.select([self._reader], [], [], seconds)[0]:
            return False
        piece = os.read(self._reader, 1 << 16)
        self._text += piece.decode()
        return bool(piece)


def _train_and_leave(folder: Path, writer: int) -> None:
    """Train in this process, which has no other end than a kill."""
    try:
        with open(folder / 'output.txt', 'a') as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            train(folder, writer)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(1)


def train(folder: Path, writer: int) -> None:
    """Train, resuming what is there; tell into a pipe how far it is."""
    for registry, part in (
        (MODELS, Regression),
        (DATASETS, Noise),
        (HOOKS, TellingHook),
    ):
        registry.register_module(module=part, force=True)
    epsd = dict(type='EPSDHook', sparsity=0.9, criterion='Magnitude', seed=0)
    runner = Runner.from_cfg(
        Config(
            dict(
                model=dict(type='Regression'),
                train_dataloader=dict(
                    batch_size=4,
                    dataset=dict(type='Noise'),
                    sampler=dict(type='InfiniteSampler', shuffle=True),
                    collate_fn=dict(type='default_collate'),
                ),
                train_cfg=dict(by_epoch=False, max_iters=ITERATIONS),
                optim_wrapper=dict(
                    optimizer=dict(type='SGD', lr=1e-3, momentum=0.9)
                ),
                default_hooks=dict(
                    epsd=epsd,
                    checkpoint=dict(
                        type='CheckpointHook',
                        by_epoch=False,
                        interval=1,
                        max_keep_ckpts=1,
                    ),
                    logger=dict(type='LoggerHook', interval=1000),
                ),
                custom_hooks=[
                    dict(type='TellingHook', writer=writer, priority='LOWEST')
                ],
                work_dir=str(folder / 'run'),
                randomness=dict(seed=0),
                resume=True,
            )
        )
    )
    runner.train()


class Regression(BaseModel):
    """Large enough that saving it takes as long as training it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1000, 1000), nn.Linear(1000, 1))

    def forward(
        self, inputs: torch.Tensor, target: torch.Tensor, mode: str
    ) -> dict:
        error = self.layers(inputs) - target
        return dict(loss=error.square().mean())


class Noise(torch.utils.data.Dataset):
    """Always the same noise."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> dict:
        generator = torch.Generator().manual_seed(index)
        inputs = torch.randn(1000, generator=generator)
        return dict(inputs=inputs, target=inputs[:1])


class TellingHook(Hook):
    """Tells when the training starts, and when a save begins and ends."""

    def __init__(self, writer: int) -> None:
        self._writer = writer

    def before_train(self, runner: Runner) -> None:
        masks = Masks.load(Path(runner.work_dir, 'epsd', 'masks.pth'))
        self._tell(f'start {runner.iter} {masks.digest}')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._tell('saving')

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        self._tell(f'saved {runner.iter + 1}')

    def _tell(self, text: str) -> None:
        os.write(self._writer, f'{text}\n'.encode())
