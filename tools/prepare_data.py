"""Put a data set that is on this machine into place, and check it."""

import argparse

from epsd_mm.datasets.voc_layout import PUBLISHED, prepare_voc


def add_voc(subparsers) -> None:
    parser = subparsers.add_parser(
        'voc',
        help='Pascal VOC 2007 and 2012',
        description='Put Pascal VOC into DATA_ROOT/VOCdevkit. Where '
        'everything is in place already, it is only checked.',
    )
    parser.add_argument(
        '--source',
        nargs='+',
        action='extend',
        required=True,
        metavar='ARCHIVE_OR_FOLDER',
        help='tar or zip archives as published, or folders with VOC2007 or '
        'VOC2012; may be given several times',
    )
    parser.add_argument('--data-root', default='data', help='defaults to data')
    parser.add_argument(
        '--allow-subset',
        action='store_true',
        help='report lists that are not as long as the published ones '
        'instead of refusing them',
    )
    parser.set_defaults(prepare=prepare_voc_from)


def prepare_voc_from(args) -> None:
    counts, new = prepare_voc(
        args.source, args.data_root, allow_subset=args.allow_subset
    )
    found = {(count.year, count.split): count.images for count in counts}
    for year, splits in PUBLISHED.items():
        for split, published in splits.items():
            images = found.get((year, split), 0)
            note = {published: '', 0: '  (absent)'}.get(images, '  (a subset)')
            print(f'{year} {split:<8} {images:>6} images of {published}{note}')
    done = f'{new} new files' if new else 'everything was in place'
    print(f'{args.data_root}/VOCdevkit: {done}, checked')


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    subparsers = parser.add_subparsers(
        dest='dataset', required=True, metavar='DATASET'
    )
    add_voc(subparsers)
    return parser.parse_args()


def main():
    args = parse_args()
    try:
        args.prepare(args)
    except (OSError, ValueError) as error:
        raise SystemExit(f'error: {error}') from None


if __name__ == '__main__':
    main()
