"""Tiny-ImageNet's classes, folders and annotations agree."""

import pytest

from epsd_mm.preparation import LAYOUTS, prepare
from tests.helpers.archives import pack, picture, tree
from tests.helpers.real_data import FOLDER, needs

TINY = LAYOUTS['tiny_imagenet']
FIRST, SECOND = 'n02124075', 'n04067472'
BOX = '\t0\t0\t63\t63\n'


def tiny_files(train=3):
    files = {
        'wnids.txt': f'{SECOND}\n{FIRST}\n'.encode(),
        'words.txt': f'{FIRST}\tcat\n{SECOND}\treel\nn00001740\tentity\n'
        ''.encode(),
        'val/val_annotations.txt': (
            f'val_0.JPEG\t{FIRST}{BOX}val_1.JPEG\t{SECOND}{BOX}'
        ).encode(),
        'val/images/val_0.JPEG': picture(0),
        'val/images/val_1.JPEG': picture(1),
        'test/images/test_0.JPEG': picture(2),
    }
    for wnid in (FIRST, SECOND):
        for number in range(train):
            name = f'train/{wnid}/images/{wnid}_{number}.JPEG'
            files[name] = picture(number)
        files[f'train/{wnid}/{wnid}_boxes.txt'] = b'x'
    return {f'tiny-imagenet-200/{name}': c for name, c in files.items()}


def prepared(files, tmp_path):
    source = pack(files, tmp_path / 'tiny.zip')
    return prepare(TINY, [source], tmp_path / 'data', allow_subset=True)


def test_all_but_the_unlabelled_images_is_put_into_place(tmp_path):
    files = tiny_files()
    counts, new = prepared(files, tmp_path)
    assert [tuple(c) for c in counts] == [
        ('classes', 2, 200),
        ('train images', 6, 100000),
        ('val images', 2, 10000),
    ]
    del files['tiny-imagenet-200/test/images/test_0.JPEG']
    assert tree(tmp_path / 'data') == files and new == len(files)


def without(*names):
    files = tiny_files()
    return {n: c for n, c in files.items() if not n.endswith(names)}


def changed(name, old, new):
    files = tiny_files()
    name = f'tiny-imagenet-200/{name}'
    files[name] = files[name].replace(old.encode(), new.encode())
    return files


@pytest.mark.parametrize(
    'files, words',
    [
        (without('wnids.txt'), 'wnids.txt is missing'),
        (without('words.txt'), f'words.txt has no name for {SECOND}'),
        (without('val_annotations.txt'), 'val_annotations.txt is missing'),
        (without('val_1.JPEG'), 'val/images/val_1.JPEG is missing'),
        (
            {n: c for n, c in tiny_files().items() if f'/{FIRST}/' not in n},
            f'{FIRST} of wnids.txt has no train/{FIRST}/images',
        ),
        (changed('wnids.txt', FIRST, ''), f'train/{FIRST} is no class'),
        (changed('wnids.txt', FIRST, SECOND), f'names {SECOND} twice'),
        (
            changed('val/val_annotations.txt', FIRST, 'n00000000'),
            'val_0.JPEG the class n00000000',
        ),
        (
            changed('val/val_annotations.txt', f'val_0.JPEG\t{FIRST}', ''),
            'val_0.JPEG has no val_annotations.txt line',
        ),
        (
            changed('val/val_annotations.txt', 'val_1', 'val_0'),
            'names val_0.JPEG twice',
        ),
    ],
)
def test_contradictions_are_named(tmp_path, files, words):
    with pytest.raises(ValueError, match=words):
        prepared(files, tmp_path)
    assert not (tmp_path / 'data' / 'tiny-imagenet-200').exists()


def test_the_published_counts_are_500_and_50_a_class():
    classes, train, val = TINY.published.values()
    assert (train, val) == (500 * classes, 50 * classes)


@pytest.mark.slow
@needs('tiny-imagenet.tar')
def test_real_tiny_imagenet_is_prepared_and_read(tmp_path):
    from epsd_mm.datasets.classification import TinyImageNet

    source = FOLDER / 'tiny-imagenet.tar'
    counts, _ = prepare(TINY, [source], tmp_path, allow_subset=True)
    assert [c.found for c in counts] == [40, 10000, 1000]
    root = tmp_path / 'tiny-imagenet-200'
    assert len(TinyImageNet(data_root=root, split='val')) == 1000
