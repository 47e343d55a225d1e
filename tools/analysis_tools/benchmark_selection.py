"""Time and memory of selecting from many scores, in one run.

The masks of a global ranking, as epsd_mm makes them, against what sorting all
scores costs. Memory is the peak of the process above the scores themselves,
each way in a process of its own.
"""

import argparse
import json
import subprocess
import sys
import time

import resident_memory
import torch

LAYERS = 60


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--weights', type=float, default=41e6, help='number of scores'
    )
    parser.add_argument('--sparsity', type=float, default=0.9)
    parser.add_argument('--measure', choices=WAYS, help=argparse.SUPPRESS)
    return parser.parse_args()


def by_selection(scores: dict, sparsity: float) -> int:
    from epsd_mm.pruning import select

    return select(scores, sparsity).kept


def by_sorting(scores: dict, sparsity: float) -> int:
    flat = torch.cat([s.flatten() for s in scores.values()])
    keep = round((1 - sparsity) * flat.numel())
    mask = torch.zeros_like(flat, dtype=torch.bool)
    mask[flat.argsort(descending=True)[:keep]] = True
    return int(mask.sum())


WAYS = dict(select=by_selection, sort=by_sorting)


def main() -> None:
    args = parse_args()
    if args.measure:
        print(json.dumps(measure(args)))
        return
    size = int(args.weights) * 4
    print(f'{args.weights:.3g} scores in {LAYERS} layers, {size >> 20} MiB')
    for way in WAYS:
        done = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], '--measure', way],
            capture_output=True,
            text=True,
            check=True,
        )
        row = json.loads(done.stdout.splitlines()[-1])
        print(
            f'{way:>7}: {row["seconds"]:6.2f} s, '
            f'{row["peak"] / 2**20:7.0f} MiB above the scores '
            f'({row["peak"] / size:.2f} x), {row["kept"]:,} kept'
        )


def measure(args: argparse.Namespace) -> dict:
    import epsd_mm.pruning  # noqa: F401  (not to be counted)

    torch.manual_seed(0)
    size = int(args.weights) // LAYERS
    scores = {f'layer{i}': torch.rand(size).pow_(8) for i in range(LAYERS)}
    WAYS[args.measure]({'warm': torch.rand(1000)}, args.sparsity)
    before = resident_memory.reset_peak()
    started = time.perf_counter()
    kept = WAYS[args.measure](scores, args.sparsity)
    return dict(
        seconds=time.perf_counter() - started,
        peak=resident_memory.peak() - before,
        kept=kept,
    )


if __name__ == '__main__':
    main()
