"""Draw photographs of BCCD for its page, where they are at hand.

    python docs/draw_bccd.py

Beside what is annotated stands what the small file has found: its page has
the commands that write ``bccd/detections``. The photographs belong to
those who took them: what is drawn stays in ``docs/_made``, which is not
committed. ``make docs`` calls this; nothing is downloaded.
"""

import tarfile
from collections.abc import Iterator, Sequence
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
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, DefaultScope
from mmengine.structures import InstanceData

_ROOT = Path(__file__).parents[1]
#: What tools/prepare_data.py makes, and an archive beside the clone.
DATA = _ROOT / 'data' / 'bccd'
ARCHIVE = _ROOT.parent / 'shared' / 'data' / 'bccd.tar'
PICTURE = Path(__file__).with_name('_made') / 'bccd.jpg'
#: What ``run.py`` prints of some photographs, by their names.
FOUND = Path(__file__).with_name('bccd') / 'detections'
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
            mmcv.imwrite(side_by_side(root)[..., ::-1], str(PICTURE))
    return PICTURE.is_file()


def shown_in(text: str) -> str:
    """The text of the page, with the picture or with what brings it."""
    shown = (
        'Some of them stand here where the data is when the site is built: '
        '`python tools/prepare_data.py bccd`, then `make docs`.'
    )
    if PICTURE.is_file():
        shown = (
            '![Test images with their annotated cells, and with those that '
            f'the small network has found](../_made/{PICTURE.name})\n\n'
            'The first test images: left, as they are annotated; right, what '
            'the file in int8 has found (scores from .5). '
            'Red cells in blue, white ones in red, platelets in green.'
        )
    return text.replace(MARK, shown)


def side_by_side(root: Path) -> np.ndarray:
    """A row a photograph: what is annotated, and what has been found."""
    dataset = _test_images(root)
    painter = DetLocalVisualizer()
    painter.dataset_meta = dict(dataset.metainfo, palette=_COLOURS)
    rows = []
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        printed = FOUND / f'{Path(info["img_path"]).stem}.txt'
        if not printed.is_file():
            continue
        image = mmcv.imread(info['img_path'], channel_order='rgb')
        found = detections(printed.read_text(), dataset.metainfo['classes'])
        row = []
        for objects in (_annotated(info), found):
            sample = DetDataSample(gt_instances=objects)
            painter.add_datasample('', image, sample, draw_pred=False)
            row.append(painter.get_image())
        rows.append(np.hstack(row))
    if not rows:
        raise FileNotFoundError(
            f'no test image of {root} has a file of its name in {FOUND}'
        )
    return np.vstack(rows)


def detections(printed: str, classes: Sequence[str]) -> InstanceData:
    """The objects in what ``run.py`` prints: score, four corners, class."""
    lines = (line.split() for line in printed.splitlines())
    found = [words for words in lines if words[-1] in classes]
    return _objects(
        [[float(word) for word in words[1:5]] for words in found],
        [classes.index(words[-1]) for words in found],
    )


def _test_images(root: Path) -> BaseDataset:
    cfg = Config.fromfile(epsd_mm.config_path('benchmarks/bccd_faster_rcnn'))
    test = cfg.test_dataloader.dataset
    test.data_root = f'{root}/'
    with DefaultScope.overwrite_default_scope('mmdet'):
        return DATASETS.build(test)


def _annotated(info: dict) -> InstanceData:
    instances = info['instances']
    return _objects(
        [each['bbox'] for each in instances],
        [each['bbox_label'] for each in instances],
    )


def _objects(boxes: list[list[float]], labels: list[int]) -> InstanceData:
    return InstanceData(
        bboxes=torch.tensor(boxes).reshape(-1, 4), labels=torch.tensor(labels)
    )


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
