"""CUB-200-2011."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from .layout import Archive, Layout, Overlay, Survey

_LISTS = (
    'images.txt',
    'image_class_labels.txt',
    'train_test_split.txt',
    'classes.txt',
)
_KEPT = re.compile(r'images/\d{3}\.[^/]+/[^/]+\.(jpg|jpeg|png)', re.I)


class CUB(Layout):
    """CUB-200-2011: photographs of 200 species of birds.

    Parts, attributes and segmentations are left out.
    """

    name = 'cub'
    title = 'CUB-200-2011'
    folder = config_root = 'CUB_200_2011'
    types = ('CUB',)
    expects = f'expected CUB_200_2011 with images and {", ".join(_LISTS)}'
    archives = (
        Archive(
            'CUB_200_2011.tgz',
            'md5:97eceeb196236b17998738112f37df78',
            'https://data.caltech.edu/records/65de6-vp158/files/'
            'CUB_200_2011.tgz',
        ),
    )
    published = {'classes': 200, 'train images': 5994, 'test images': 5794}

    def place(self, name: PurePosixPath) -> PurePosixPath | None:
        if name.name in (*_LISTS, 'bounding_boxes.txt'):
            return PurePosixPath(name.name)
        tail = PurePosixPath(*name.parts[-3:])
        return tail if _KEPT.fullmatch(str(tail)) else None

    def inspect(self, tree: Overlay) -> Survey:
        problems: list[str] = []
        images, labels, splits, classes = (
            _read(tree, name, problems) for name in _LISTS
        )
        for name, other in zip(_LISTS[1:], (labels, splits)):
            problems += _different_keys(images, name, other)
        for key, image in images.items():
            if not tree.has(f'images/{image}'):
                problems.append(f'images/{image} is missing')
            label, folder = labels.get(key), PurePosixPath(image).parent.name
            if label is not None and classes.get(label) != folder:
                problems.append(
                    f'image_class_labels.txt gives {image} the class '
                    f'{label}, which is not that of its folder in '
                    'classes.txt'
                )
        for key, split in splits.items():
            if split not in ('0', '1'):
                problems.append(
                    f'train_test_split.txt has {split} for image {key}, '
                    'instead of 0 or 1'
                )
        values = list(splits.values())
        counts = {
            'classes': len(classes),
            'train images': values.count('1'),
            'test images': values.count('0'),
        }
        return Survey(counts, problems)

    def needs(self, leaf: Mapping) -> list[str]:
        return list(_LISTS[:3])


def _read(tree: Overlay, name: str, problems: list[str]) -> dict[str, str]:
    """The lines ``number value`` of a list, by number."""
    rows = tree.rows(name)
    if rows is None:
        problems.append(f'{name} is missing')
    values: dict[str, str] = {}
    for row in rows or []:
        if len(row) != 2 or row[0] in values:
            problems.append(
                f'{name} has the line {" ".join(row)!r}, instead of a number '
                'of its own and one value'
            )
        else:
            values[row[0]] = row[1]
    return values


def _different_keys(
    images: dict[str, str], name: str, other: dict[str, str]
) -> list[str]:
    return [
        f'image {key} is in only one of images.txt and {name}'
        for key in sorted(images.keys() ^ other.keys())
    ]
