"""Kill runners and cells of a suite: is its table the same in the end?

A small suite runs undisturbed. Then two runners share it in another folder,
and they and their cells are killed (SIGKILL) at random moments, and started
again, so often; then it runs to its end. Both exported tables must be equal,
but for times and memory.

    python tools/analysis_tools/try_suite_kills.py --kills 30
"""

import argparse
import tempfile
from pathlib import Path

from damage.killed_suite import KilledSuite
from damage.tiny_suite import write_tiny_suite


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--kills', type=int, default=30)
    parser.add_argument('--seeds', type=int, default=4, help='of the suite')
    parser.add_argument('--seed', type=int, default=0, help='of the kills')
    parser.add_argument('--keep', type=Path, help='folder to leave it all in')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        suite = write_tiny_suite(folder, args.seeds)
        whole = KilledSuite(suite, folder / 'whole')
        whole.run(kills=0)
        killed = KilledSuite(suite, folder / 'killed', args.seed)
        killed.run(args.kills)
        expected, found = whole.table(), killed.table()
    differing = [row for row in expected if row not in found]
    counts = ', '.join(f'{n} of a {kind}' for kind, n in killed.killed.items())
    print(
        f'{killed.killed.total()} kills ({counts}); {len(expected)} results: '
        f'{len(differing)} differ or are missing, '
        f'{len(found) - len(expected) + len(differing)} are new'
    )
    for row in differing:
        print(', '.join(row))
    if expected != found:
        raise SystemExit('error: the tables are not equal')


if __name__ == '__main__':
    main()
