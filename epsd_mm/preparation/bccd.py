"""BCCD."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from .layout import Archive, Layout, Overlay, Survey
from .voc import survey

_COMMIT = 'd272fb14cdff6e473fafeeeba32aba5f560e9e43'
_SPLITS = ('train', 'val', 'trainval', 'test')
_KEPT = re.compile(
    r'Annotations/BloodImage_\d{5}\.xml|JPEGImages/BloodImage_\d{5}\.jpg'
    rf'|ImageSets/Main/({"|".join(_SPLITS)})\.txt'
)


class BCCD(Layout):
    """BCCD: photographs of blood cells, in the layout of VOC without a year.

    It is published as a repository, of which GitHub packs an archive when it
    is asked for one: the bytes of that may change, those of its files do not.
    """

    name = 'bccd'
    title = 'BCCD'
    folder = config_root = 'bccd'
    types = ('VOCDataset', 'XMLDataset')
    classes = ('RBC', 'WBC', 'Platelets')
    expects = (
        'expected Annotations and JPEGImages with BloodImage_….xml and .jpg, '
        'and ImageSets/Main with their lists'
    )
    archives = (
        Archive(
            f'BCCD_Dataset-{_COMMIT}.tar.gz',
            None,
            'https://github.com/Shenggan/BCCD_Dataset/archive/'
            f'{_COMMIT}.tar.gz',
        ),
    )
    published = {
        'train images': 205,
        'val images': 87,
        'trainval images': 292,
        'test images': 72,
    }
    contents = (
        'sha256:'
        'debd2d76b13c300a3999f96a08cbe9ada5f231c3f882f9877a65a01a695872d1'
    )

    def place(self, name: PurePosixPath) -> PurePosixPath | None:
        for length in (2, 3):
            tail = PurePosixPath(*name.parts[-length:])
            if _KEPT.fullmatch(str(tail)):
                return tail
        return None

    def inspect(self, tree: Overlay) -> Survey:
        return survey(tree, {f'{s} images': ('', s) for s in _SPLITS})

    def is_of(self, leaf: Mapping, root: str) -> bool:
        classes = (leaf.get('metainfo') or {}).get('classes') or ()
        return super().is_of(leaf, root) or tuple(classes) == self.classes

    def needs(self, leaf: Mapping) -> list[str]:
        return [leaf['ann_file']] if leaf.get('ann_file') else []
