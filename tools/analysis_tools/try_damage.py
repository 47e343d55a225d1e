"""Damage what is on the disk, and kill trainings: is anything lost?

Three trials, each counted:

- ``masks.pth``, as bytes and in its content, is damaged in so many ways, and
  read again;
- ``checkpoint['epsd']``, with a teacher that learns, likewise;
- a small training that saves all the time, keeping one checkpoint only, is
  killed (SIGKILL) at random moments and resumed.

A reader may say what is wrong, or find what was saved. A *raw error* (of
another kind than the ones it documents) or *other content* that nobody notices
are failures, and so is a kill after which a training goes on from an earlier
checkpoint than the last one that was saved.

    python tools/analysis_tools/try_damage.py --mutations 2000 --kills 200
"""

import argparse  # noqa: I001  (epsd_mm repairs broken environments)
import os
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import epsd_mm  # noqa: F401

import torch

from epsd_mm.tables import text_table
from epsd_mm.digest import digest
from epsd_mm.distillation import Observation
from epsd_mm.distillation.teachers import History, Previous, Teacher
from epsd_mm.engine.safe_loading import load_values
from epsd_mm.engine.saved_state import SavedState
from epsd_mm.pruning import Masks
from epsd_mm.pruning.objective import RandomState, seed_everything
from damage.killed_training import Kills
from damage.mutations import changed, damaged_bytes

OUTCOMES = ('refused', 'as saved', 'raw error', 'other content')
FAILURES = OUTCOMES[2:]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--mutations', type=int, default=2000)
    parser.add_argument('--kills', type=int, default=200)
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # All generators: their states are among what is saved.
    seed_everything(args.seed)
    failures = 0
    rows = []
    for name, trial in TRIALS.items():
        counts = trial(args.mutations, random.Random(args.seed))
        rows.append([name, *(str(counts[o]) for o in OUTCOMES)])
        failures += sum(counts[outcome] for outcome in FAILURES)
    if args.mutations:
        title = f'{args.mutations} ways to damage a file'
        headings = ['what was damaged', *OUTCOMES]
        print(text_table(title, headings, rows), end='')
    if args.kills:
        with tempfile.TemporaryDirectory() as folder:
            kills = Kills(Path(folder), args.seed)
            kills.run(args.kills)
        print(kills.summary())
        failures += kills.lost
    if failures:
        raise SystemExit(f'error: {failures} failures')


def try_masks(count: int, rng: random.Random) -> Counter:
    """Read damaged files of masks."""
    masks = some_masks()

    def read(path: Path) -> str:
        return Masks.load(path).digest

    return try_reader(masks.pack(), read, masks.digest, count, rng)


def try_state(count: int, rng: random.Random) -> Counter:
    """Read damaged ``checkpoint['epsd']``, half of them with each teacher."""
    counts = Counter()
    for teacher in (some_history(), some_previous()):
        counts += _try_state_of(teacher, count // 2, rng)
    return counts


def _try_state_of(teacher: Teacher, count: int, rng: random.Random) -> Counter:
    state = SavedState(
        random_state=RandomState.capture(),
        identity=dict(sparsity=0.9, exclude=['head.*'], lr=[0.1, None]),
        masks=some_masks(),
        teacher=teacher.state_dict(),
        training_set='4f1c',
    )

    def read(path: Path) -> str:
        found = SavedState.unpack(load_values(path))
        # The hook refuses a state without masks or a teacher by itself.
        if found.masks is None or found.teacher is None:
            raise ValueError('a part is missing')
        teacher.check_state(found.teacher)
        return digest(found.pack())

    packed = state.pack()
    return try_reader(packed, read, digest(packed), count, rng)


TRIALS = {'masks.pth': try_masks, "checkpoint['epsd']": try_state}


def try_reader(
    content: Any,
    read: Callable[[Path], str],
    right: str,
    count: int,
    rng: random.Random,
) -> Counter:
    """Count what a reader makes of damaged files.

    Args:
        content: What is saved; every other time it is changed before, else
            the bytes of the file are.
        read: Reads a file and returns a digest of what it found.
        right: The digest of what was saved.
        count: Number of files.
        rng: Where chance comes from.
    """
    counts = Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'file.pth')
        torch.save(content, path)
        whole = path.read_bytes()
        if read(path) != right:
            raise AssertionError('an undamaged file is not read right')
        for number in range(count):
            if number % 2:
                path.write_bytes(damaged_bytes(whole, rng))
            else:
                torch.save(changed(content, rng), path)
            try:
                found = read(path)
            except ValueError:
                counts['refused'] += 1
            except Exception as error:
                counts['raw error'] += 1
                print(f'{type(error).__name__}: {error}')
            else:
                same = found == right
                counts['as saved' if same else 'other content'] += 1
    return counts


def some_masks() -> Masks:
    shapes = {'stem.weight': (8, 3, 3, 3), 'head.weight': (5, 16), 'v': (7,)}
    return Masks({n: torch.rand(s) < 0.3 for n, s in shapes.items()})


def some_history() -> History:
    history = History(top_k=3)
    history.remember(_observation())
    return history


def some_previous() -> Previous:
    previous = Previous()
    previous.remember(_observation())
    return previous


def _observation() -> Observation:
    return Observation(
        logits=torch.randn(6, 5),
        labels=torch.arange(6) % 5,
        weights=torch.full((6,), 1 / 6),
        images=torch.arange(6),
        keys=[f'image{index}.jpg' for index in range(6)],
    )


if __name__ == '__main__':
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    main()
