"""Draw annotated photographs of BCCD for its page, where they are at hand.

    python docs/draw_bccd.py

They belong to those who took them: what is drawn stays in ``docs/_made``,
which is not committed. ``make docs`` calls this; nothing is downloaded.
"""

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

# The package repairs broken environments, so it is imported first.
import epsd_mm

# isort: split
import mmcv
import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from mmengine.structures import InstanceData

_ROOT = Path(__file__).parents[1]
#: What tools/prepare_data.py makes, and an archive beside the clone.
DATA = _ROOT / 'data' / 'bccd'
ARCHIVE = _ROOT.parent / 'shared' / 'data' / 'bccd.tar'
PICTURE = Path(__file__).with_name('_made') / 'bccd.jpg'
#: Where it is shown, and what stands there for readers of the source.
PAGE = 'bccd/README'
MARK = '<!-- python docs/draw_bccd.py -->'
_COLOURS = [(59, 110, 165), (192, 80, 77), (40, 130, 40)]


def main() -> None:
    if not draw():
        raise SystemExit(
            f'error: no {DATA}: `python tools/prepare_data.py bccd` makes it'
        )


def draw() -> bool:
    """Draw the picture if the data is there; says whether there is one."""
    with _data() as root:
        if root is not None:
            PICTURE.parent.mkdir(exist_ok=True)
            mmcv.imwrite(annotated(root)[..., ::-1], str(PICTURE))
    return PICTURE.is_file()


def shown_in(text: str) -> str:
    """The text of the page, with the picture or with what brings it."""
    shown = (
        'Four of them stand here where the data is when the site is built: '
        '`python tools/prepare_data.py bccd`, then `make docs`.'
    )
    if PICTURE.is_file():
        shown = (
            '![Four test images with their annotated cells]'
            f'(../_made/{PICTURE.name})\n\nThe first four test images, as '
            'they are annotated: red cells in blue, white ones in red, '
            'platelets in green. Nothing is detected here.'
        )
    return text.replace(MARK, shown)


def annotated(root: Path) -> np.ndarray:
    """The first four test images and their objects, two in a row."""
    cfg = Config.fromfile(epsd_mm.config_path('benchmarks/bccd_faster_rcnn'))
    test = cfg.test_dataloader.dataset
    test.data_root = f'{root}/'
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(test)
    painter = DetLocalVisualizer()
    painter.dataset_meta = dict(dataset.metainfo, palette=_COLOURS)
    pictures = []
    for index in range(4):
        info = dataset.get_data_info(index)
        objects = InstanceData(
            bboxes=torch.tensor([each['bbox'] for each in info['instances']]),
            labels=torch.tensor(
                [each['bbox_label'] for each in info['instances']]
            ),
        )
        image = mmcv.imread(info['img_path'], channel_order='rgb')
        sample = DetDataSample(gt_instances=objects)
        painter.add_datasample('truth', image, sample, draw_pred=False)
        pictures.append(painter.get_image())
    return np.vstack([np.hstack(pictures[:2]), np.hstack(pictures[2:])])


@contextmanager
def _data() -> Iterator[Path | None]:
    if DATA.is_dir():
        yield DATA
    elif ARCHIVE.is_file():
        with TemporaryDirectory() as folder, tarfile.open(ARCHIVE) as archive:
            archive.extractall(folder, filter='data')
            yield Path(folder) / 'BCCD'
    else:
        yield None


if __name__ == '__main__':
    main()
