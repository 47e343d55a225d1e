"""ImageNet from the official archives, and as others lay it out."""

import os

import numpy as np
import pytest
from mmpretrain.datasets import ImageNet as ImageNetDataset

from epsd_mm.preparation import LAYOUTS, prepare, require_data
from tests.helpers.archives import pack, picture, tar_bytes, tree
from tests.helpers.real_data import FOLDER, needs

IMAGENET = LAYOUTS['imagenet']
WNIDS = ('n01440764', 'n01443537', 'n02123045')
# The class of each validation image, as a place among the sorted wnids ...
LABELS = (2, 0, 1, 2, 2)
# ... and as the devkit numbers the classes, in an order of its own.
NUMBERS = {1: WNIDS[1], 2: WNIDS[2], 3: WNIDS[0]}
TRUTH = (2, 3, 1, 2, 2)
VAL = tuple(f'ILSVRC2012_val_{i:08d}.JPEG' for i in range(1, 6))
LAID_OUT = {
    f'val/{WNIDS[label]}/{name}': picture(10 + label)
    for name, label in zip(VAL, LABELS)
} | {
    f'train/{wnid}/{wnid}_{i}.JPEG': picture(i)
    for wnid in WNIDS
    for i in range(2)
}


def train_tar(tmp_path):
    inner = {
        f'{wnid}.tar': tar_bytes(
            {f'{wnid}_{i}.JPEG': picture(i) for i in range(2)}
        )
        for wnid in WNIDS
    }
    return pack(inner, tmp_path / 'ILSVRC2012_img_train.tar')


def val_tar(tmp_path):
    images = {n: picture(10 + label) for n, label in zip(VAL, LABELS)}
    return pack(images, tmp_path / 'ILSVRC2012_img_val.tar')


def devkit(tmp_path, truth=TRUTH):
    io = pytest.importorskip('scipy.io')
    # A synset that is no leaf has a number too.
    wnids = {**NUMBERS, 4: 'n00001740'}
    kinds = [('ILSVRC2012_ID', object), ('WNID', object), ('words', object)]
    synsets = np.zeros((len(wnids), 1), dtype=kinds)
    for row, (number, wnid) in enumerate(wnids.items()):
        synsets[row, 0] = (float(number), wnid, 'a word')
    io.savemat(tmp_path / 'meta.mat', dict(synsets=synsets))
    data = 'ILSVRC2012_devkit_t12/data'
    text = ''.join(f'{number}\n' for number in truth).encode()
    files = {
        'ILSVRC2012_devkit_t12/readme.txt': b'x',
        f'{data}/meta.mat': (tmp_path / 'meta.mat').read_bytes(),
        f'{data}/ILSVRC2012_validation_ground_truth.txt': text,
    }
    return pack(files, tmp_path / 'ILSVRC2012_devkit_t12.tar.gz')


def val_txt(tmp_path):
    lines = (f'{name} {label}\n' for name, label in zip(VAL, LABELS))
    path = tmp_path / 'val.txt'
    path.write_text(''.join(lines))
    return path


def prepared(tmp_path, *sources):
    return prepare(IMAGENET, sources, tmp_path / 'data', allow_subset=True)


@pytest.mark.parametrize('classes', [devkit, val_txt])
@pytest.mark.parametrize('at_once', [True, False])
def test_the_official_archives_are_laid_out(tmp_path, classes, at_once):
    train = train_tar(tmp_path)
    if not at_once:
        assert prepared(tmp_path, train).new == 6
        train = tmp_path / 'data' / 'imagenet'
    # The training archive last: no order is asked for.
    sources = [val_tar(tmp_path), classes(tmp_path), train]
    counts, new = prepared(tmp_path, *sources)
    assert [c.found for c in counts] == [3, 6, 3, 5]
    assert new == (11 if at_once else 5)
    assert tree(tmp_path / 'data' / 'imagenet') == LAID_OUT
    # A subset can be added to, so its sources are read again.
    assert prepared(tmp_path, *sources).new == 0


def test_the_labels_are_those_of_the_list(tmp_path):
    prepared(
        tmp_path, train_tar(tmp_path), val_tar(tmp_path), devkit(tmp_path)
    )
    root = str(tmp_path / 'data' / 'imagenet')
    dataset = ImageNetDataset(root, 'val', metainfo=dict(classes=WNIDS))
    found = {os.path.basename(d['img_path']): d['gt_label'] for d in dataset}
    assert found == dict(zip(VAL, LABELS))


def test_without_classes_the_flat_archive_is_refused(tmp_path):
    with pytest.raises(ValueError, match='devkit_t12.tar.gz or meta/val.txt'):
        prepared(tmp_path, train_tar(tmp_path), val_tar(tmp_path))
    assert os.listdir(tmp_path / 'data') == []


def test_a_list_needs_all_classes(tmp_path):
    with pytest.raises(ValueError, match='labels of 3 classes, and train has'):
        prepared(tmp_path, val_tar(tmp_path), val_txt(tmp_path))


@pytest.mark.parametrize(
    'truth, words',
    [
        (TRUTH[:4], '00000005.JPEG has no class'),
        ((*TRUTH[:4], 9), 'line 5 .* the class 9'),
    ],
)
def test_a_devkit_that_does_not_fit_is_refused(tmp_path, truth, words):
    sources = train_tar(tmp_path), val_tar(tmp_path), devkit(tmp_path, truth)
    with pytest.raises(ValueError, match=words):
        prepared(tmp_path, *sources)


def test_a_line_without_label_is_named(tmp_path):
    path = val_txt(tmp_path)
    path.write_text(path.read_text().replace(' 0\n', '\n'))
    with pytest.raises(ValueError, match='val_00000002.JPEG.*name and a lab'):
        prepared(tmp_path, train_tar(tmp_path), val_tar(tmp_path), path)


@pytest.mark.parametrize('form', ['x.tar', 'x', 'x/imagenet'])
def test_what_is_laid_out_already_is_taken_so(tmp_path, form):
    files = {f'imagenet/{name}': c for name, c in LAID_OUT.items()}
    pack(files, tmp_path / form.partition('/')[0])
    assert prepared(tmp_path, tmp_path / form).new == len(LAID_OUT)
    assert tree(tmp_path / 'data' / 'imagenet') == LAID_OUT


def with_meta(**lists):
    files = {f'imagenet/{name}': c for name, c in LAID_OUT.items()}
    for split, text in lists.items():
        files[f'imagenet/meta/{split}.txt'] = text.encode()
    return files


@pytest.mark.parametrize(
    'files, words',
    [
        (with_meta(val=f'{WNIDS[0]}/x.JPEG 0\n'), 'x.JPEG is missing'),
        (with_meta(val=f'{WNIDS[2]}/{VAL[0]}\n'), 'is not a name and a label'),
        (
            with_meta(
                val=f'{WNIDS[2]}/{VAL[0]} 2\n',
                train=f'{WNIDS[2]}/{WNIDS[2]}_0.JPEG 1\n',
            ),
            f'other lines give {WNIDS[2]} the label 1',
        ),
        (
            with_meta(
                val=f'{WNIDS[2]}/{VAL[0]} 1\n{WNIDS[0]}/{VAL[1]} 1\n',
            ),
            'several classes the same label',
        ),
        (
            {
                name: content
                for name, content in with_meta().items()
                if f'val/{WNIDS[0]}' not in name
            },
            'labels would count differently',
        ),
    ],
)
def test_contradictions_are_named(tmp_path, files, words):
    with pytest.raises(ValueError, match=words):
        prepared(tmp_path, pack(files, tmp_path / 'x.tar'))
    assert os.listdir(tmp_path / 'data') == []


def test_without_a_source_one_sentence_says_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        prepare(IMAGENET, data_root=tmp_path / 'data')
    text = str(error.value)
    assert 'cannot be downloaded freely' in text and '--source' in text
    assert all(archive.name in text for archive in IMAGENET.archives)
    assert '\n' not in text and not (tmp_path / 'data').exists()


def test_an_official_name_with_another_hash_is_refused(tmp_path):
    with pytest.raises(ValueError, match='md5:29b22e2961454d5413ddabcf34fc'):
        prepare(IMAGENET, [val_tar(tmp_path)], tmp_path / 'data')


@needs('imagenet-sample.tar')
def test_real_images_are_prepared_and_read(tmp_path):
    source = FOLDER / 'imagenet-sample.tar'
    counts, _ = prepare(IMAGENET, [source], tmp_path, allow_subset=True)
    assert [c.found for c in counts] == [160, 160, 60, 60]
    dataset = ImageNetDataset(str(tmp_path / 'imagenet'), 'val')
    assert dataset[0]['gt_label'] == 1


def test_a_subset_needs_lists_to_be_loaded(tmp_path):
    pack({f'imagenet/{n}': c for n, c in LAID_OUT.items()}, tmp_path)
    dataset = dict(
        type='ImageNet', data_root=f'{tmp_path}/imagenet', split='train'
    )
    cfg = dict(train_dataloader=dict(dataset=dataset))
    with pytest.raises(FileNotFoundError) as error:
        require_data(cfg, ['train_dataloader'])
    assert 'meta/train.txt does not exist' in str(error.value)
    assert '`wnid/name label` for each image' in str(error.value)
