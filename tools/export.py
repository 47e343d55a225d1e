"""Write a trained network as a file that needs neither torch nor mm.

Pixels of any image go in, and boxes or probabilities come out:
normalisation, network, decoding and suppression are inside. The file is
compared with the network on real images before it is in its place.
"""

import argparse
from itertools import islice
from pathlib import Path

# The package repairs broken environments, so it is imported first.
import with_mm  # noqa: F401

# isort: split
from mmengine.config import Config
from mmengine.logging import MMLogger
from PIL import Image

from common import (
    add_arguments,
    careful_loading,
    one_sentence,
    resolve,
    run_of,
)
from epsd_mm.deploy.exporting import RUNTIMES, export
from epsd_mm.deploy.pictures import of_data_set, of_paths

_COMPARED = 8
_CALIBRATED = 128
_TOLD = (ImportError, OSError, ValueError)


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='path of the config')
    parser.add_argument('checkpoint', help='path of the checkpoint')
    parser.add_argument(
        '--to', choices=RUNTIMES, default='onnx', help='kind of file (onnx)'
    )
    parser.add_argument(
        '--out', required=True, metavar='DIR', help='folder of the file'
    )
    parser.add_argument(
        '--size',
        nargs=2,
        type=int,
        metavar=('W', 'H'),
        help="width and height of images, in place of the config's",
    )
    parser.add_argument(
        '--dynamic',
        action='store_true',
        help='let width and height be others when the file runs',
    )
    parser.add_argument(
        '--images',
        nargs='+',
        metavar='FILE_OR_FOLDER',
        help='compare on these; the first ones of the test set by default',
    )
    parser.add_argument(
        '--num-images',
        type=int,
        default=_COMPARED,
        help=f'compare on so many ({_COMPARED})',
    )
    parser.add_argument(
        '--keep-zeros',
        action='store_true',
        help='export whole channels that are zero, in place of a smaller '
        'network',
    )
    parser.add_argument(
        '--quantize',
        action='store_true',
        help='to int8, calibrated by images of the training data',
    )
    parser.add_argument(
        '--calibration-images',
        type=int,
        help=f'beside --quantize: so many ({_CALIBRATED})',
    )
    add_arguments(parser)
    return parser.parse_args(argv)


def pictures(args: argparse.Namespace, cfg: Config) -> list[Image.Image]:
    """Real images to compare on."""
    if args.num_images < 1:
        raise ValueError(f'--num-images {args.num_images} must be at least 1')
    found = of_paths(args.images) if args.images else of_data_set(cfg)
    return list(islice(found, args.num_images))


def calibration(
    args: argparse.Namespace, cfg: Config
) -> list[Image.Image] | None:
    """Images of the training data, spread over it; None leaves float32."""
    count = args.calibration_images
    if not args.quantize:
        if count is not None:
            raise ValueError(
                f'--calibration-images {count} is for --quantize: add that, '
                'or leave both out'
            )
        return None
    count = _CALIBRATED if count is None else count
    if count < 1:
        raise ValueError(
            f'--calibration-images {count}: the calibration set is empty, '
            'and takes at least 1'
        )
    return list(of_data_set(cfg, 'train_dataloader', spread=count))


def main() -> None:
    args = parse_args()
    args.work_dir = args.out
    with (
        careful_loading(args),
        one_sentence((ImportError, OSError, ValueError)),
    ):
        cfg = resolve(args, run_of(args))
        logger = MMLogger.get_instance('export', log_level='INFO')
        export(
            cfg,
            args.checkpoint,
            Path(args.out),
            args.to,
            tuple(args.size) if args.size else None,
            args.dynamic,
            pictures(args, cfg),
            args.keep_zeros,
            calibration(args, cfg),
        )
        logger.info(f'python {args.out}/run.py IMAGE runs it')


if __name__ == '__main__':
    main()
