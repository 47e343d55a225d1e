"""CUB's four lists agree with each other and with the images."""

import pytest
from mmpretrain import datasets

from epsd_mm.preparation import LAYOUTS, prepare
from tests.helpers.archives import cub_files, pack
from tests.helpers.real_data import FOLDER, needs

CUB = LAYOUTS['cub']


def prepared(files, tmp_path):
    source = pack(files, tmp_path / 'x.tar')
    return prepare(CUB, [source], tmp_path / 'data', allow_subset=True)


def changed(name, old, new):
    files = cub_files()
    name = f'CUB_200_2011/{name}'
    assert old in files[name].decode()
    files[name] = files[name].decode().replace(old, new).encode()
    return files


def test_mmpretrain_reads_what_was_prepared(tmp_path):
    counts, _ = prepared(cub_files(train=4, test=2), tmp_path)
    assert [(c.part, c.found, c.published) for c in counts] == [
        ('classes', 2, 200),
        ('train images', 4, 5994),
        ('test images', 2, 5794),
    ]
    root = str(tmp_path / 'data' / 'CUB_200_2011')
    train = datasets.CUB(data_root=root, split='train')
    assert list(train.get_gt_labels()) == [1, 0, 1, 0]
    assert len(datasets.CUB(data_root=root, split='test')) == 2


@pytest.mark.parametrize(
    'files, words',
    [
        (changed('image_class_labels.txt', '3 2\n', ''), 'image 3 is in only'),
        (changed('train_test_split.txt', '6 0\n', ''), 'image 6 is in only'),
        (changed('images.txt', '1 002.', '9 002.'), 'image 1 is in only'),
        (changed('image_class_labels.txt', '3 2', '3 1'), 'class 1, which'),
        (changed('image_class_labels.txt', '3 2', '3 7'), 'class 7, which'),
        (changed('train_test_split.txt', '2 1', '2 x'), 'has x for image 2'),
        (changed('images.txt', '/0004.jpg', '/0009.jpg'), '0009.jpg is miss'),
        (changed('images.txt', '4 001', '3 001'), "has the line '3 001.Bl"),
        (changed('classes.txt', '1 001', '001'), "has the line '001.Black"),
    ],
)
def test_contradictions_are_named(tmp_path, files, words):
    with pytest.raises(ValueError, match=words):
        prepared(files, tmp_path)
    assert not (tmp_path / 'data' / 'CUB_200_2011').exists()


@pytest.mark.parametrize(
    'name',
    [
        'images.txt',
        'image_class_labels.txt',
        'train_test_split.txt',
        'classes.txt',
        'images/002.Laysan_Albatross/0003.jpg',
    ],
)
def test_what_is_missing_is_named(tmp_path, name):
    files = cub_files()
    del files[f'CUB_200_2011/{name}']
    with pytest.raises(ValueError, match=f'{name} is missing'):
        prepared(files, tmp_path)


def test_a_list_that_is_no_text_is_named(tmp_path):
    files = cub_files()
    files['CUB_200_2011/classes.txt'] = b'\xff\xfe\x00'
    with pytest.raises(ValueError, match='classes.txt is no text file'):
        prepared(files, tmp_path)


def test_a_subset_is_refused_unless_allowed(tmp_path):
    source = pack(cub_files(), tmp_path / 'x.tar')
    with pytest.raises(ValueError, match='classes: 2 instead of 200.*--allow'):
        prepare(CUB, [source], tmp_path / 'data')


def test_the_published_counts_are_those_of_the_paper():
    assert sum(CUB.published.values()) == 200 + 11788


@needs('cub.tar')
def test_real_cub_is_prepared_and_read(tmp_path):
    counts, _ = prepare(CUB, [FOLDER / 'cub.tar'], tmp_path, allow_subset=True)
    assert [c.found for c in counts] == [200, 1200, 575]
    root = str(tmp_path / 'CUB_200_2011')
    assert len(datasets.CUB(data_root=root, split='train')) == 1200
