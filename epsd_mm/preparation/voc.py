"""Pascal VOC."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree as ET

from epsd_mm.shipped_files import command_of

from .layout import Archive, Layout, Overlay, Survey

# What of a year is put into place; VOC's own code and results are not.
FOLDERS = (
    'Annotations',
    'ImageSets',
    'JPEGImages',
    'SegmentationClass',
    'SegmentationObject',
)
_SITE = 'http://host.robots.ox.ac.uk/pascal/VOC'


class VOC(Layout):
    """Pascal VOC 2007 and 2012, any number of their lists.

    Every image of a main list needs a JPEG and an annotation that parses.
    """

    name = 'voc'
    title = 'Pascal VOC'
    folder = config_root = 'VOCdevkit'
    types = ('VOCDataset', 'XMLDataset')
    expects = (
        'expected VOC2007 or VOC2012 with Annotations, JPEGImages and '
        'ImageSets/Main/trainval.txt or another main list'
    )
    archives = (
        Archive(
            'VOCtrainval_06-Nov-2007.tar',
            'md5:c52e279531787c972589f7e41ab4ae64',
            f'{_SITE}/voc2007/VOCtrainval_06-Nov-2007.tar',
            ('VOC2007 train', 'VOC2007 val', 'VOC2007 trainval'),
        ),
        Archive(
            'VOCtest_06-Nov-2007.tar',
            'md5:b6e924de25625d8de591ea690078ad9f',
            f'{_SITE}/voc2007/VOCtest_06-Nov-2007.tar',
            ('VOC2007 test',),
        ),
        Archive(
            'VOCtrainval_11-May-2012.tar',
            'md5:6cd6e144f989b92b3379bac3b3de84fd',
            f'{_SITE}/voc2012/VOCtrainval_11-May-2012.tar',
            ('VOC2012 train', 'VOC2012 val', 'VOC2012 trainval'),
        ),
    )
    # Images in each list.
    published = {
        'VOC2007 train': 2501,
        'VOC2007 val': 2510,
        'VOC2007 trainval': 5011,
        'VOC2007 test': 4952,
        'VOC2012 train': 5717,
        'VOC2012 val': 5823,
        'VOC2012 trainval': 11540,
    }

    def place(self, name: PurePosixPath) -> PurePosixPath | None:
        for index, part in enumerate(name.parts[:-2]):
            known = part in ('VOC2007', 'VOC2012')
            if known and name.parts[index + 1] in FOLDERS:
                return PurePosixPath(*name.parts[index:])
        return None

    def inspect(self, tree: Overlay) -> Survey:
        return survey(tree, {part: part.split() for part in self.published})

    def needs(self, leaf: Mapping) -> list[str]:
        return [leaf['ann_file']] if leaf.get('ann_file') else []

    def alternative(self, leaf: Mapping, place: str | Path) -> str:
        # Classes other than VOC's: perhaps those of the drawn set.
        if not leaf.get('metainfo'):
            return ''
        command = command_of('generate_voc.py', place)
        return f', or draw a set with `{command}`'


def survey(tree: Overlay, parts: Mapping[str, Sequence[str]]) -> Survey:
    """Count the images of main lists, and look for each and its annotation.

    Args:
        tree: What is there.
        parts: Folder and list of each part.
    """
    counts, problems, checked = {}, [], set()
    for part, (folder, split) in parts.items():
        place = PurePosixPath(folder)
        rows = tree.rows(place / f'ImageSets/Main/{split}.txt') or []
        counts[part] = len(rows)
        for name, *_ in rows:
            if (folder, name) not in checked:
                checked.add((folder, name))
                problems += _image_problems(tree, place, name)
    return Survey(counts, problems)


def _image_problems(
    tree: Overlay, folder: PurePosixPath, name: str
) -> list[str]:
    image = folder / f'JPEGImages/{name}.jpg'
    problems = [] if tree.has(image) else [f'{image} is missing']
    annotation = folder / f'Annotations/{name}.xml'
    if not tree.has(annotation):
        return [*problems, f'{annotation} is missing']
    try:
        ET.parse(tree.find(annotation))
    except ET.ParseError as error:
        problems.append(f'{annotation}: {error}')
    return problems
