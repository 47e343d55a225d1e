"""Real images: of files, or of a config's data set."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from epsd_mm.datasets.leaves import leaf_configs

from .run import open_image

_ENDINGS = {'.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff'}


def of_paths(paths: Iterable[str]) -> Iterator[Image.Image]:
    """The images of files and folders, in the order of their names.

    Raises:
        OSError: There is no such file, or no image in a folder.
        ValueError: A file is no image.
    """
    for path in map(Path, paths):
        if not path.is_dir():
            yield open_image(path)
            continue
        files = [f for f in sorted(path.rglob('*')) if _is_image(f)]
        if not files:
            raise FileNotFoundError(
                f'there is no image in {path}: name a folder that has some, '
                'or files'
            )
        yield from map(open_image, files)


def of_data_set(
    cfg: Config, loader: str = 'test_dataloader', spread: int | None = None
) -> Iterator[Image.Image]:
    """The images of a config's data set, before any transform.

    Args:
        cfg: Complete.
        loader: Whose data set; of wrappers, as those that mix images or
            repeat them, it is what is inside.
        spread: So many, evenly over all, since a set may be sorted by class;
            all of them by default.

    Raises:
        OSError: The data set is not in its place.
        ValueError: The config has none.
    """
    datasets = _build(cfg, loader)
    places = [(d, index) for d in datasets for index in range(len(d))]
    if spread is not None and spread < len(places):
        places = [places[i * len(places) // spread] for i in range(spread)]
    for dataset, index in places:
        yield of_info(dataset.get_data_info(index))


def of_info(info: Mapping) -> Image.Image:
    """The image of what a data set's ``get_data_info`` says of it.

    Raises:
        OSError: There is no such file.
        ValueError: The file is no image.
    """
    if 'img' in info:  # an array, as CIFAR's: RGB
        return Image.fromarray(np.asarray(info['img'], np.uint8))
    return open_image(info['img_path'])


def _build(cfg: Config, loader: str) -> list:
    configs = list(leaf_configs((cfg.get(loader) or {}).get('dataset')))
    if not configs:
        raise ValueError(
            f'{cfg.filename} has no {loader}, of which images are needed'
        )
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return [DATASETS.build({**leaf, 'pipeline': []}) for leaf in configs]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _ENDINGS
