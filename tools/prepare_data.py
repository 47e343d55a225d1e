"""Put a data set into place: fetched, or from this machine; and check it."""

import argparse

import with_mm  # noqa: F401

# isort: split
from epsd_mm.preparation import LAYOUTS, prepare

_NOTES = """\
ImageNet cannot be downloaded freely, and takes --source. Where everything is
in place already, it is only checked.
"""


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, epilog=_NOTES)
    parser.add_argument('dataset', choices=LAYOUTS, help='the data set')
    parser.add_argument(
        '--source',
        nargs='+',
        action='extend',
        default=[],
        metavar='ARCHIVE_OR_FOLDER',
        help='tar or zip archives as published, or folders, instead of a '
        'download; may be given several times',
    )
    parser.add_argument('--data-root', default='data', help='defaults to data')
    parser.add_argument(
        '--allow-subset',
        action='store_true',
        help='report counts and files that are not the published ones '
        'instead of refusing them',
    )
    parser.add_argument(
        '--verify-images',
        action='store_true',
        help='decode every image, and refuse corrupt ones by name',
    )
    return parser.parse_args(argv)


def report(layout, counts, new: int, place: str) -> None:
    """Print what is in place beside what was published."""
    found = {count.part: count.found for count in counts}
    width = max(map(len, layout.published))
    for part, published in layout.published.items():
        number = found.get(part, 0)
        note = {published: '', 0: '  (absent)'}.get(number, '  (a subset)')
        print(f'{part:<{width}} {number:>8} of {published}{note}')
    done = f'{new} new files' if new else 'everything was in place'
    print(f'{place}: {done}, checked')


def main() -> None:
    args = parse_args()
    layout = LAYOUTS[args.dataset]
    try:
        counts, new = prepare(
            layout,
            args.source,
            args.data_root,
            allow_subset=args.allow_subset,
            verify_images=args.verify_images,
        )
    except (OSError, ValueError) as error:
        raise SystemExit(f'error: {error}') from None
    report(layout, counts, new, f'{args.data_root}/{layout.folder}')


if __name__ == '__main__':
    main()
