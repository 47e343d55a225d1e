"""Draw a small detection set in VOC's layout, for demos and smoke tests."""

import argparse

from epsd_mm.datasets.drawn_voc import SHAPES, generate_voc


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('root', help='folder that will hold VOCdevkit/VOC2007')
    parser.add_argument(
        '--train', type=int, default=320, help='images in trainval.txt'
    )
    parser.add_argument(
        '--test', type=int, default=80, help='images in test.txt'
    )
    parser.add_argument(
        '--size', type=int, default=128, help='width and height in pixels'
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        default=['disc', 'square', 'triangle', 'star'],
        metavar='NAME',
        help=f'names for the figures {", ".join(SHAPES)}, in this order',
    )
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args()


def main():
    args = parse_args()
    try:
        devkit = generate_voc(**vars(args))
    except (FileExistsError, ValueError) as error:
        raise SystemExit(f'error: {error}') from None
    print(
        f'{devkit}: {args.train} images to train on, {args.test} to test '
        f'on, classes {", ".join(args.classes)}'
    )


if __name__ == '__main__':
    main()
