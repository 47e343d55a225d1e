"""Tiny-ImageNet-200."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from .layout import Archive, Layout, Overlay, Survey

_KEPT = re.compile(
    r'wnids\.txt|words\.txt|val/val_annotations\.txt|val/images/[^/]+\.JPEG'
    r'|train/(n\d{8})/(images/[^/]+\.JPEG|\1_boxes\.txt)'
)


class TinyImageNet(Layout):
    """Tiny-ImageNet-200: 64x64 images of 200 classes of ImageNet.

    The test images have no labels and are left out.
    """

    name = 'tiny_imagenet'
    title = 'Tiny-ImageNet'
    folder = config_root = 'tiny-imagenet-200'
    types = ('TinyImageNet',)
    expects = (
        'expected tiny-imagenet-200 with wnids.txt, words.txt, '
        'train/<wnid>/images and val/val_annotations.txt'
    )
    archives = (
        Archive(
            'tiny-imagenet-200.zip',
            'md5:90528d7ca1a48142e341f4ef8d21d0de',
            'http://cs231n.stanford.edu/tiny-imagenet-200.zip',
        ),
    )
    published = {'classes': 200, 'train images': 100000, 'val images': 10000}

    def place(self, name: PurePosixPath) -> PurePosixPath | None:
        for length in (1, 2, 3, 4):
            tail = PurePosixPath(*name.parts[-length:])
            if _KEPT.fullmatch(str(tail)):
                return tail
        return None

    def inspect(self, tree: Overlay) -> Survey:
        wnids = [row[0] for row in tree.rows('wnids.txt') or []]
        words = {row[0] for row in tree.rows('words.txt') or [] if row[1:]}
        problems = [
            f'words.txt has no name for {wnid}'
            for wnid in wnids
            if wnid not in words
        ]
        if not wnids:
            problems.append('wnids.txt is missing or empty')
        problems += _repeated(wnids, 'wnids.txt')
        folders = tree.listing('train')
        for wnid in sorted(folders - set(wnids)):
            problems.append(f'train/{wnid} is no class of wnids.txt')
        train = 0
        for wnid in wnids:
            images = _images(tree, f'train/{wnid}/images')
            train += images
            if not images:
                problems.append(
                    f'class {wnid} of wnids.txt has no train/{wnid}/images'
                )
        annotations = tree.rows('val/val_annotations.txt')
        if annotations is None:
            problems.append('val/val_annotations.txt is missing')
        names = [row[0] for row in annotations or []]
        problems += _repeated(names, 'val_annotations.txt')
        problems += _val_problems(tree, annotations or [], set(wnids))
        counts = {
            'classes': len(wnids),
            'train images': train,
            'val images': len(names),
        }
        return Survey(counts, problems)

    def needs(self, leaf: Mapping) -> list[str]:
        return ['wnids.txt']


def _repeated(names: list[str], where: str) -> list[str]:
    seen: set[str] = set()
    problems = []
    for name in names:
        if name in seen:
            problems.append(f'{where} names {name} twice')
        seen.add(name)
    return problems


def _images(tree: Overlay, folder: str) -> int:
    return sum(name.endswith('.JPEG') for name in tree.listing(folder))


def _val_problems(
    tree: Overlay, annotations: list[list[str]], wnids: set[str]
) -> list[str]:
    problems = []
    for name, *rest in annotations:
        wnid = rest[0] if rest else None
        if wnid not in wnids:
            problems.append(
                f'val_annotations.txt gives {name} the class {wnid}, which '
                'is not in wnids.txt'
            )
        if not tree.has(f'val/images/{name}'):
            problems.append(f'val/images/{name} is missing')
    named = {row[0] for row in annotations}
    for name in sorted(tree.listing('val/images') - named):
        problems.append(f'val/images/{name} has no val_annotations.txt line')
    return problems
