"""ImageNet, the classification set of ILSVRC 2012."""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from .layout import Archive, Layout, Overlay, Survey, is_image
from .staging import settle

_WNID = re.compile(r'n\d{8}')
_FLAT = re.compile(r'ILSVRC2012_val_(\d{8})\.JPEG')
_TRUTH = 'ILSVRC2012_validation_ground_truth.txt'
_NO_CLASSES = (
    'the validation archive does not tell the classes of its images: give '
    'ILSVRC2012_devkit_t12.tar.gz or meta/val.txt (lines `name label`, '
    'labels counting the sorted wnids from 0) as a further --source'
)


class ImageNet(Layout):
    """ImageNet from the official archives, or laid out by class already.

    The official training archive holds a tar archive for each class; the
    validation archive is flat and gets its classes from the devkit or from
    ``meta/val.txt``.
    """

    name = 'imagenet'
    title = 'ImageNet'
    folder = config_root = 'imagenet'
    types = ('ImageNet',)
    expects = (
        'expected ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar, or '
        'imagenet/{train,val}/<wnid>/ with images'
    )
    archives = (
        Archive(
            'ILSVRC2012_img_train.tar', 'md5:1d675b47d978889d74fa0da5fadfb00e'
        ),
        Archive(
            'ILSVRC2012_img_val.tar', 'md5:29b22e2961454d5413ddabcf34fc5622'
        ),
        Archive(
            'ILSVRC2012_devkit_t12.tar.gz',
            'md5:fa75699e90414af021442c21a62c3abf',
        ),
    )
    published = {
        'train classes': 1000,
        'train images': 1281167,
        'val classes': 1000,
        'val images': 50000,
    }
    nested = True
    advice = (
        'ImageNet cannot be downloaded freely: register at '
        'https://image-net.org/download.php, get ILSVRC2012_img_train.tar, '
        'ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz, and name '
        'the three with --source'
    )

    def place(self, name: PurePosixPath) -> PurePosixPath | None:
        parent, top = name.parent.name, name.parent.parent.name
        if is_image(name.name):
            if parent.endswith('.tar') and _WNID.fullmatch(parent[:-4]):
                return PurePosixPath('train', parent[:-4], name.name)
            if _WNID.fullmatch(parent) and top in ('train', 'val'):
                return PurePosixPath(top, parent, name.name)
            if _FLAT.fullmatch(name.name):
                return PurePosixPath('val', name.name)
        if name.name in ('train.txt', 'val.txt') and parent in ('meta', ''):
            return PurePosixPath('meta', name.name)
        if name.name in ('meta.mat', _TRUTH):
            return PurePosixPath('devkit', name.name)
        return None

    def inspect(self, tree: Overlay) -> Survey:
        counts, problems = {}, []
        classes = {split: _images(tree, split) for split in ('train', 'val')}
        for split, images in classes.items():
            counts[f'{split} classes'] = len(images)
            counts[f'{split} images'] = sum(map(len, images.values()))
            problems += [
                f'{split}/{wnid} holds no image'
                for wnid, names in images.items()
                if not names
            ]
        problems += _meta_problems(tree, classes)
        return Survey(counts, problems)

    def arrange(self, staging: Path, target: Path) -> None:
        """Sort a flat validation set into the folders of its classes."""
        flat = [p for p in staging.glob('val/*') if p.is_file()]
        if flat:
            classes = _val_classes(Overlay(staging, target))
            for path in sorted(flat):
                if path.name not in classes:
                    raise ValueError(
                        f'{path.name} has no class: the devkit or val.txt '
                        'that was given does not list it, so remove the '
                        'image or give a complete one'
                    )
                place = PurePosixPath('val', classes[path.name], path.name)
                settle(path, place, staging, target)
            # Its names are those of the flat set.
            (staging / 'meta' / 'val.txt').unlink(missing_ok=True)
        shutil.rmtree(staging / 'devkit', ignore_errors=True)

    def needs(self, leaf: Mapping) -> list[str]:
        split = leaf.get('split')
        if not split or leaf.get('data_prefix'):
            return []
        found = Overlay(os.path.expanduser(leaf.get('data_root') or '.'))
        if 0 < len(found.listing(split)) < self.published['train classes']:
            # Without a list mmpretrain wants the folders of all classes.
            return [split, f'meta/{split}.txt']
        return [split]

    def alternative(self, leaf: Mapping, place: str | Path) -> str:
        split = leaf.get('split')
        return (
            f', or, for a subset, write meta/{split}.txt with a line '
            '`wnid/name label` for each image'
            if split
            else ''
        )


def _images(tree: Overlay, split: str) -> dict[str, set[str]]:
    """Names of the images of each class."""
    return {
        wnid: set(filter(is_image, tree.listing(f'{split}/{wnid}')))
        for wnid in sorted(filter(_WNID.fullmatch, tree.listing(split)))
    }


def _is_labelled(row: list[str]) -> bool:
    return len(row) == 2 and row[1].isdigit()


def _meta_problems(
    tree: Overlay, classes: dict[str, dict[str, set[str]]]
) -> list[str]:
    """What is wrong with meta/*.txt, or with the labels without them."""
    problems = []
    labels: dict[str, str] = {}
    lists = {split: tree.rows(f'meta/{split}.txt') for split in classes}
    for split, rows in lists.items():
        for row in rows or []:
            where = f'meta/{split}.txt, {" ".join(row)!r}'
            if not _is_labelled(row):
                problems.append(f'{where} is not a name and a label')
                continue
            image = PurePosixPath(row[0])
            wnid = image.parent.name
            if image.name not in classes[split].get(wnid, ()):
                problems.append(f'{where}: {split}/{image} is missing')
            elif labels.setdefault(wnid, row[1]) != row[1]:
                problems.append(
                    f'{where}: other lines give {wnid} the label '
                    f'{labels[wnid]}'
                )
    if len(set(labels.values())) < len(labels):
        problems.append('meta/*.txt gives several classes the same label')
    # Without lists a label is the place of the folder among the others.
    other = sorted(classes['train'].keys() ^ classes['val'].keys())
    both = classes['train'] and classes['val']
    if other and both and None in lists.values():
        problems.append(
            f'{len(other)} classes such as {other[0]} are in only one of '
            'train and val, so labels would count differently: complete '
            'them or add meta/train.txt and meta/val.txt'
        )
    return problems


def _val_classes(tree: Overlay) -> dict[str, str]:
    """The wnid of each validation image."""
    truth = tree.rows(f'devkit/{_TRUTH}')
    meta = tree.find('devkit/meta.mat')
    if truth is not None and meta is not None:
        wnids = _devkit_wnids(meta)
        for number, row in enumerate(truth, 1):
            if row[0] not in wnids:
                raise ValueError(
                    f'line {number} of {_TRUTH} has the class {row[0]}, '
                    'which meta.mat does not know: give both of one '
                    'ILSVRC2012_devkit_t12.tar.gz'
                )
        return {
            f'ILSVRC2012_val_{number:08d}.JPEG': wnids[row[0]]
            for number, row in enumerate(truth, 1)
        }
    rows = tree.rows('meta/val.txt')
    if not rows:
        raise ValueError(_NO_CLASSES)
    for row in rows:
        if not _is_labelled(row):
            raise ValueError(
                f'meta/val.txt has the line {" ".join(row)!r}, instead of a '
                'name and a label: correct it'
            )
    sorted_wnids = sorted(filter(_WNID.fullmatch, tree.listing('train')))
    labels = {PurePosixPath(name).name: int(label) for name, label in rows}
    count = max(labels.values()) + 1
    if len(sorted_wnids) != count:
        raise ValueError(
            f'meta/val.txt has labels of {count} classes, and train has '
            f'{len(sorted_wnids)}: give all of train first or with it, or '
            'ILSVRC2012_devkit_t12.tar.gz instead'
        )
    return {name: sorted_wnids[label] for name, label in labels.items()}


def _devkit_wnids(path: Path) -> dict[str, str]:
    """Wnids by the devkit's numbers, which are not the usual labels."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ValueError(
            f'{path.name} of the devkit takes scipy to read: install it, or '
            'give meta/val.txt instead'
        ) from error
    try:
        synsets = loadmat(path, squeeze_me=True)['synsets']
        numbers, wnids = synsets['ILSVRC2012_ID'], synsets['WNID']
        return {str(int(n)): str(wnid) for n, wnid in zip(numbers, wnids)}
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'{path.name} of the devkit is damaged ({error}): give '
            'ILSVRC2012_devkit_t12.tar.gz again'
        ) from error
