"""Pack folders of small pictures, one a class, in the form of CIFAR-10.

    python docs/study/pack_images.py FOLDER OUT

``FOLDER/train`` and ``FOLDER/test`` hold a folder for each of the ten
classes. Pictures are stored class by class in turn, in the order of their
names, so that the first N of them are N/10 of each class; what one class has
more than another comes last.
"""

import argparse
import pickle
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = 'airplane automobile bird cat deer dog frog horse ship truck'.split()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('folder', type=Path, help='holds train/ and test/')
    parser.add_argument('out', type=Path, help='data root to write')
    args = parser.parse_args()
    batches = args.out / 'cifar-10-batches-py'
    batches.mkdir(parents=True)
    files = in_turn(args.folder / 'train')
    parts = np.array_split(np.arange(len(files)), 5)
    for number, part in enumerate(parts, start=1):
        write(batches / f'data_batch_{number}', [files[i] for i in part])
    write(batches / 'test_batch', in_turn(args.folder / 'test'))
    meta = dict(label_names=CLASSES)
    (batches / 'batches.meta').write_bytes(pickle.dumps(meta))


def in_turn(folder: Path) -> list[tuple[Path, int]]:
    """Files and labels, a file of each class after the other."""
    by_class = [
        [(path, label) for path in sorted((folder / name).iterdir())]
        for label, name in enumerate(CLASSES)
    ]
    return [x for x in chain(*zip_longest(*by_class)) if x is not None]


def write(path: Path, files: list[tuple[Path, int]]) -> None:
    """One batch: pixels by channel, labels, names."""
    pixels = [np.asarray(Image.open(f).convert('RGB')) for f, _ in files]
    data = np.stack(pixels).transpose(0, 3, 1, 2).reshape(len(files), -1)
    batch = dict(
        data=data,
        labels=[label for _, label in files],
        filenames=[f'{f.parent.name}/{f.name}' for f, _ in files],
    )
    path.write_bytes(pickle.dumps(batch))


if __name__ == '__main__':
    main()
