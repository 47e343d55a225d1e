"""Tiny-ImageNet in its published layout."""

import shutil

import numpy as np
import pytest
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS
from PIL import Image

import epsd_mm.datasets.transforms  # noqa: F401
from epsd_mm.datasets.classification import TinyImageNet
from tests.helpers.real_data import extracted, first_batch, needs

PIPELINE = [
    dict(type='LoadCheckedImage'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
# As in the published list, not sorted.
WNIDS = ('n02124075', 'n01443537', 'n04067472')
NAMES = ('Egyptian cat', 'goldfish, Carassius auratus', 'reel')


def jpeg(path, seed, grey=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (64, 64) if grey else (64, 64, 3)
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 255, shape, np.uint8)).save(path, 'JPEG')


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    """Two images a class in train, four in val; some are grey."""
    root = tmp_path_factory.mktemp('drawn') / 'tiny-imagenet-200'
    for i, wnid in enumerate(WNIDS):
        for j in (0, 10):
            name = f'train/{wnid}/images/{wnid}_{j}.JPEG'
            jpeg(root / name, 10 * i + j, grey=j == 10)
        boxes = f'{wnid}_0.JPEG\t0\t0\t62\t62\n'
        (root / 'train' / wnid / f'{wnid}_boxes.txt').write_text(boxes)
    lines = []
    for j, i in enumerate((2, 0, 1, 0)):
        jpeg(root / 'val' / 'images' / f'val_{j}.JPEG', 100 + j, grey=j == 1)
        lines.append(f'val_{j}.JPEG\t{WNIDS[i]}\t0\t32\t44\t62\n')
    (root / 'val' / 'val_annotations.txt').write_text(''.join(lines))
    (root / 'wnids.txt').write_text(''.join(f'{w}\n' for w in WNIDS))
    words = [f'{w}\t{n}\n' for w, n in zip(WNIDS, NAMES)]
    (root / 'words.txt').write_text('n00001740\tentity\n' + ''.join(words))
    return root


@pytest.fixture
def broken(drawn, tmp_path):
    """A copy to break."""
    return shutil.copytree(drawn, tmp_path / 'tiny-imagenet-200')


def test_labels_count_the_wnids_in_sorted_order(drawn):
    dataset = TinyImageNet(drawn)
    assert dataset.CLASSES == (
        'goldfish, Carassius auratus',
        'Egyptian cat',
        'reel',
    )
    assert dataset.get_gt_labels().tolist() == [0, 0, 1, 1, 2, 2]
    assert dataset.class_to_idx['Egyptian cat'] == 1
    paths = [dataset.get_data_info(i)['img_path'] for i in range(6)]
    assert paths[2] == str(drawn / 'train/n02124075/images/n02124075_0.JPEG')


def test_labels_are_those_of_a_data_set_of_folders(drawn):
    folders = CustomDataset(
        data_prefix=str(drawn / 'train'), extensions=('.jpeg',)
    )
    theirs = {(i['img_path'], i['gt_label']) for i in folders}
    ours = {(i['img_path'], i['gt_label']) for i in TinyImageNet(drawn)}
    assert ours == theirs


def test_val_has_the_labels_of_its_lines(drawn):
    dataset = TinyImageNet(drawn, split='val')
    assert dataset.get_gt_labels().tolist() == [2, 1, 0, 1]
    path = dataset.get_data_info(3)['img_path']
    assert path == str(drawn / 'val' / 'images' / 'val_3.JPEG')


def test_no_image_of_val_is_replaced_by_another(broken):
    name = 'images/val_1.JPEG'
    (broken / 'val' / name).write_bytes(b'no image')
    pipeline = [dict(type='LoadCheckedImage', skip=True)]
    val = TinyImageNet(broken, split='val', pipeline=pipeline)
    assert val[0]['gt_label'] == 2
    with pytest.raises(Exception, match='should not get `None`'):
        val[1]
    (broken / 'train' / WNIDS[0] / f'images/{WNIDS[0]}_0.JPEG').write_bytes(
        b''
    )
    train = TinyImageNet(broken, pipeline=pipeline)
    assert train[2]['img_path'] != train.get_data_info(2)['img_path']


@pytest.mark.parametrize('name', ['wnids.txt', 'val/val_annotations.txt'])
def test_a_set_without_images_is_refused(broken, name):
    (broken / name).write_text('')
    split = 'val' if name.startswith('val') else 'train'
    words = f"holds no image of split='{split}'.*prepare_data.py tiny_imagenet"
    with pytest.raises(ValueError, match=words):
        TinyImageNet(broken, split=split)


def test_a_class_that_is_listed_twice_is_one_class(broken):
    with (broken / 'wnids.txt').open('a') as file:
        file.write(f'{WNIDS[1]}\n')
    assert TinyImageNet(broken).get_gt_labels().tolist() == [0, 0, 1, 1, 2, 2]


def test_test_is_refused_for_want_of_labels(drawn):
    with pytest.raises(ValueError, match="no published labels.*split='val'"):
        TinyImageNet(drawn, split='test')


def test_an_unknown_split_is_refused(drawn):
    with pytest.raises(ValueError, match="split='dev' .* train, val"):
        TinyImageNet(drawn, split='dev')


def test_an_unknown_class_is_named_with_its_line(broken):
    with (broken / 'val' / 'val_annotations.txt').open('a') as file:
        file.write('val_0.JPEG\tn99999999\t0\t0\t1\t1\n')
    TinyImageNet(broken)
    with pytest.raises(ValueError, match="line 5: class 'n99999999'.*remove"):
        TinyImageNet(broken, split='val')


def test_an_absent_image_is_named_with_its_line(broken):
    (broken / 'val' / 'images' / 'val_2.JPEG').unlink()
    with pytest.raises(
        FileNotFoundError,
        match='line 3: .*val_2.JPEG is absent.*prepare_data.py tiny_imagenet',
    ):
        TinyImageNet(broken, split='val')


def test_a_line_without_a_class_is_named(broken):
    (broken / 'val' / 'val_annotations.txt').write_text('val_0.JPEG\n')
    with pytest.raises(ValueError, match="line 1: class ''"):
        TinyImageNet(broken, split='val')


@pytest.mark.parametrize(
    'name',
    [
        'wnids.txt',
        'words.txt',
        'train/n04067472/images',
        'val/val_annotations.txt',
    ],
)
def test_what_is_absent_is_named_with_the_command(broken, name):
    path = broken / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    split = name.partition('/')[0] if '/' in name else 'train'
    with pytest.raises(
        FileNotFoundError,
        match=f'{name} does not exist: .*prepare_data.py tiny_imagenet',
    ):
        TinyImageNet(broken, split=split)


def test_a_class_without_images_is_named(broken):
    for image in (broken / 'train/n04067472/images').iterdir():
        image.unlink()
    with pytest.raises(FileNotFoundError, match='n04067472 out of wnids.txt'):
        TinyImageNet(broken)


def test_a_class_without_a_name_is_named(broken):
    (broken / 'words.txt').write_text('n02124075\tcat\nn01443537\tfish\n')
    with pytest.raises(ValueError, match='words.txt has no name for n0406'):
        TinyImageNet(broken)


def test_own_names_of_classes_need_no_words(broken):
    (broken / 'words.txt').unlink()
    names = ('fish', 'cat', 'reel')
    dataset = TinyImageNet(broken, metainfo=dict(classes=names))
    assert dataset.CLASSES == names
    with pytest.raises(ValueError, match='names 1 classes, but .* lists 3'):
        TinyImageNet(broken, metainfo=dict(classes=('fish',)))


def test_a_config_builds_it_and_a_batch_comes_out(drawn):
    dataset = DATASETS.build(
        dict(type='TinyImageNet', data_root=str(drawn), pipeline=PIPELINE)
    )
    batch = first_batch(dataset, 6)
    assert batch['inputs'].shape == (6, 3, 64, 64)
    labels = [int(sample.gt_label) for sample in batch['data_samples']]
    assert labels == [0, 0, 1, 1, 2, 2]


@pytest.fixture(scope='module')
def real(tmp_path_factory):
    folder = tmp_path_factory.mktemp('real')
    return extracted('tiny-imagenet.tar', folder) / 'tiny-imagenet-200'


@needs('tiny-imagenet.tar')
def test_real_images_are_counted_labelled_and_batched(real):
    train = TinyImageNet(real, pipeline=PIPELINE)
    val = TinyImageNet(real, split='val', pipeline=PIPELINE, test_mode=True)
    assert np.bincount(train.get_gt_labels()).tolist() == [250] * 40
    assert np.bincount(val.get_gt_labels()).tolist() == [25] * 40
    assert train.CLASSES[2] == 'goose'
    for i in (0, 4321, 9999):
        info = train.get_data_info(i)
        wnid = sorted((real / 'wnids.txt').read_text().split())[
            info['gt_label']
        ]
        assert f'/{wnid}/images/{wnid}_' in info['img_path']
    for dataset in (train, val):
        assert first_batch(dataset)['inputs'].shape == (8, 3, 64, 64)


@needs('tiny-imagenet.tar')
def test_real_grey_images_have_three_channels(real):
    dataset = TinyImageNet(real, split='val', pipeline=PIPELINE)
    paths = [dataset.get_data_info(i)['img_path'] for i in range(1000)]
    grey = [i for i, p in enumerate(paths) if Image.open(p).mode == 'L']
    assert grey
    assert dataset[grey[0]]['inputs'].shape == (3, 64, 64)
