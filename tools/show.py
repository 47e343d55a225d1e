"""Make one HTML page of a run, wherever it is: trained, stopped or pruned.

Curves, masks by layer, what is left of the network, costs, config in short,
and, where its test images are at hand, what it says of some of them.
"""

import argparse
from pathlib import Path

# The package repairs broken environments, so it is imported first.
import with_mm  # noqa: F401

# isort: split
from mmengine.config import DictAction
from mmengine.logging import MMLogger

from common import careful_loading, one_sentence
from epsd_mm.engine.runner import complete
from epsd_mm.engine.safe_loading import CheckpointError, add_trust_argument
from epsd_mm.files import write_text
from epsd_mm.run_page import RunFolder, SeenImages, run_page

_NOT_THERE = (CheckpointError, ImportError, KeyError, OSError, ValueError)


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('run', type=Path, help='work dir of the run')
    parser.add_argument(
        '--out', type=Path, help='the page, by default RUN/run.html'
    )
    parser.add_argument(
        '--num-images',
        type=int,
        default=10,
        help='show so many test images (10); 0 for none',
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        help='show detections with at least this score (0.3)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        help="settings that replace those of the run's config, such as "
        'test_dataloader.dataset.data_root=DIR where images have moved',
    )
    add_trust_argument(parser)
    return parser.parse_args(argv)


def main() -> None:
    args = parse_args()
    logger = MMLogger.get_instance('show')
    with one_sentence(), careful_loading(args):
        if args.num_images < 0:
            raise ValueError(f'--num-images {args.num_images} is below 0')
        run = RunFolder.of(args.run)
        run.cfg.merge_from_dict(args.cfg_options)
        page = run_page(
            run, predictions_of(run, args.num_images), args.score_thr
        )
        out = args.out or args.run / 'run.html'
        write_text(out, page)
    logger.info(f'{out}: open it in a browser')


def predictions_of(run: RunFolder, number: int) -> SeenImages | str:
    """Of the last checkpoint, or why there are none."""
    if not number:
        return 'None were asked for.'
    if run.checkpoint is None:
        return 'The run has no checkpoint that could look at test images.'
    try:
        cfg = complete(run.cfg)
        return SeenImages.of(cfg, str(run.checkpoint), number)
    except _NOT_THERE as error:
        return f'None can be shown: {error}'


if __name__ == '__main__':
    main()
