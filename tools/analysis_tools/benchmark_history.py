"""Memory and time of PS-KD's history on a large data set, in one run.

Every object, or image, is remembered once, as in a first epoch, and then, as
in the second one, recalled and remembered again, a batch at a time. Memory is
resident, beside what arithmetic says: 2 bytes a class, or 4 a kept one, and
16 for each row. By default the objects are those of LVIS (v1, training set).
"""

import argparse
import time

import resident_memory
import torch

from epsd_mm.distillation import History, Observation
from epsd_mm.tables import text_table


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--samples', type=int, default=1_270_141)
    parser.add_argument('--classes', type=int, default=1203)
    parser.add_argument(
        '--top-k',
        nargs='+',
        type=int,
        default=[50, 0],
        help='kept classes of a softmax, with the background as one more; 0 '
        'for all of a sigmoid',
    )
    parser.add_argument('--batch-size', type=int, default=200)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    rows = [row_of(args, top_k) for top_k in args.top_k]
    headings = ['history', 'MB', 'by arithmetic', 'ms a step', 'in the 2nd']
    title = f'{args.samples:,} samples of {args.classes:,} classes'
    print(text_table(title, headings, rows), end='')


def row_of(args: argparse.Namespace, top_k: int) -> list[str]:
    before = resident_memory.reset_peak()
    history = History(top_k or None)
    first = epoch(args, history, top_k)
    second = epoch(args, history, top_k)
    assert len(history) == args.samples
    bytes_a_row = 4 * top_k + 16 if top_k else 2 * args.classes + 16
    return [
        f'softmax, top {top_k}' if top_k else 'sigmoid, all',
        f'{(resident_memory.peak() - before) / 1e6:,.0f}',
        f'{bytes_a_row * args.samples / 1e6:,.0f}',
        f'{1e3 * first:.2f}',
        f'{1e3 * second:.2f}',
    ]


def epoch(args: argparse.Namespace, history: History, top_k: int) -> float:
    """Mean seconds of a step."""
    columns = args.classes + bool(top_k)
    logits = torch.randn(args.batch_size, columns)
    taken, steps = 0.0, 0
    for start in range(0, args.samples, args.batch_size):
        count = min(args.batch_size, args.samples - start)
        numbers = range(start, start + count)
        observation = Observation(
            logits=logits[:count],
            labels=torch.zeros(count, dtype=torch.long),
            weights=torch.full((count,), 1 / count),
            images=torch.zeros(count, dtype=torch.long),
            keys=[(f'{n // 12:012}.jpg', n % 12, 0) for n in numbers],
            use_sigmoid=not top_k,
        )
        begun = time.perf_counter()
        history.recall(observation)
        history.remember(observation)
        taken, steps = taken + time.perf_counter() - begun, steps + 1
    return taken / steps


if __name__ == '__main__':
    main()
