"""CIFAR's batches: counted, checked, never run."""

import hashlib
import os
import pickle

import numpy as np
import pytest

from epsd_mm.preparation import LAYOUTS, prepare
from tests.helpers.archives import pack, tree
from tests.helpers.real_data import FOLDER, needs

CIFAR10, CIFAR100 = LAYOUTS['cifar10'], LAYOUTS['cifar100']


def batch(labels, key, **more):
    """A batch as Python 2 wrote the published ones: protocol 2, bytes."""
    rng = np.random.default_rng(len(labels))
    data = rng.integers(0, 256, (len(labels), 3072), dtype=np.uint8)
    entry = {b'data': data, key: list(labels), **more}
    return pickle.dumps(entry, protocol=2)


def cifar100_files(train=200, test=100):
    files = {
        name: batch(
            [i % 100 for i in range(length)],
            b'fine_labels',
            coarse_labels=[i % 20 for i in range(length)],
        )
        for name, length in dict(train=train, test=test).items()
    }
    names = [f'class_{i}' for i in range(100)]
    files['meta'] = pickle.dumps({b'fine_label_names': names}, protocol=2)
    files['file.txt~'] = b''
    return {f'cifar-100-python/{name}': c for name, c in files.items()}


def prepared(files, tmp_path, **options):
    source = pack(files, tmp_path / 'cifar-100-python.tar.gz')
    return prepare(CIFAR100, [source], tmp_path / 'data', **options)


def test_cifar100_of_the_official_form(tmp_path):
    counts, new = prepared(cifar100_files(), tmp_path, allow_subset=True)
    assert [tuple(c) for c in counts] == [
        ('train images', 200, 50000),
        ('test images', 100, 10000),
    ]
    place = tmp_path / 'data' / 'cifar100' / 'cifar-100-python'
    assert new == 3 and set(tree(place)) == {'train', 'test', 'meta'}
    again = prepare(CIFAR100, [], tmp_path / 'data', allow_subset=True)
    assert again == (counts, 0)


def test_mmpretrain_reads_what_was_prepared(tmp_path):
    from epsd_mm.datasets.classification import CIFAR100Batches

    prepared(cifar100_files(), tmp_path, allow_subset=True)
    root = tmp_path / 'data' / 'cifar100'
    dataset = CIFAR100Batches(data_root=root, split='test')
    assert list(dataset.get_gt_labels()) == list(range(100))


def test_the_published_set_has_the_published_files(tmp_path, monkeypatch):
    files = cifar100_files()
    sums = {
        name: 'md5:' + hashlib.md5(content).hexdigest()
        for place, content in files.items()
        if (name := place.rpartition('/')[2]) in CIFAR100.checksums
    }
    counts = {'train images': 200, 'test images': 100}
    monkeypatch.setattr(CIFAR100, 'published', counts)
    monkeypatch.setattr(CIFAR100, 'archives', ())
    with pytest.raises(ValueError, match='train has md5:.* instead of md5:16'):
        prepared(files, tmp_path)
    assert os.listdir(tmp_path / 'data' / 'cifar100') == []
    monkeypatch.setattr(CIFAR100, 'checksums', sums)
    assert prepared(files, tmp_path).new == 3
    assert prepared(files, tmp_path).new == 0


class _Evil:
    def __reduce__(self):
        return os.mkdir, ('evil',)


@pytest.mark.parametrize(
    'name, content',
    [
        ('train', pickle.dumps(_Evil())),
        ('meta', pickle.dumps({'fine_label_names': _Evil()})),
        ('train', batch([0, 1], b'fine_labels')[:-700]),
        ('train', batch([0, 100], b'fine_labels')),
        ('train', batch([0, 1], b'labels')),
        ('test', b''),
    ],
    ids=['evil', 'evil meta', 'cut', 'label', 'other key', 'empty'],
)
def test_a_bad_file_is_named_and_not_run(tmp_path, monkeypatch, name, content):
    monkeypatch.chdir(tmp_path)
    files = cifar100_files() | {f'cifar-100-python/{name}': content}
    words = f'CIFAR-100: cifar-100-python/{name}[ ,:]'
    with pytest.raises(ValueError, match=words):
        prepared(files, tmp_path, allow_subset=True)
    assert not (tmp_path / 'evil').exists()
    assert os.listdir(tmp_path / 'data' / 'cifar100') == []


def test_an_absent_batch_is_named(tmp_path):
    files = {
        f'cifar-10-batches-py/{name}': batch([0, 9], b'labels')
        for name in CIFAR10.checksums
    }
    del files['cifar-10-batches-py/data_batch_4']
    source = pack(files, tmp_path / 'x.tar')
    with pytest.raises(ValueError, match='data_batch_4 is missing'):
        prepare(CIFAR10, [source], tmp_path / 'data', allow_subset=True)


@pytest.mark.parametrize('layout', [CIFAR10, CIFAR100])
def test_hashes_are_those_that_mmpretrain_knows(layout):
    from mmpretrain import datasets

    known = getattr(datasets, layout.title.replace('-', ''))
    files = dict(known.train_list + known.test_list)
    files[known.meta['filename']] = known.meta['md5']
    assert layout.checksums == {n: f'md5:{md5}' for n, md5 in files.items()}
    (archive,) = layout.archives
    assert archive[:3] == (known.filename, f'md5:{known.tgz_md5}', known.url)
    assert layout.batches == known.base_folder


@needs('cifar10-lossless.tar')
def test_real_cifar10_is_prepared(tmp_path):
    source = FOLDER / 'cifar10-lossless.tar'
    counts, new = prepare(CIFAR10, [source], tmp_path, allow_subset=True)
    assert [c.found for c in counts] == [2500, 500] and new == 7
    with pytest.raises(ValueError, match='2,500 instead of 50,000'):
        prepare(CIFAR10, [source], tmp_path)
