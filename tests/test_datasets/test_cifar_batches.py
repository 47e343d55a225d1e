"""CIFAR's pickles: read exactly, or refused by name, and never run."""

import builtins
import os
import pickle
import struct
import tracemalloc

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from mmpretrain.datasets import CIFAR10, CIFAR100
from mmpretrain.registry import DATASETS

from epsd_mm.datasets.cifar_batches import read_batch, read_samples
from epsd_mm.datasets.classification import CIFAR10Batches, CIFAR100Batches
from tests.helpers.real_data import extracted, first_batch, needs

TRAIN = [
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]


def python2_pickle(batch):
    """The opcodes that Python 2 and numpy 1 wrote into the published files."""

    def string(text):
        return b'T' + struct.pack('<i', len(text)) + text

    def integer(number):
        return b'J' + struct.pack('<i', number)

    def value(x):
        if isinstance(x, np.ndarray):
            return (
                b'cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n'
                b'(K\x00tU\x01btR(K\x01('
                + b''.join(map(integer, x.shape))
                + b'tcnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNN'
                + integer(-1) * 2
                + b'K\x00tb\x89'
                + string(x.tobytes())
                + b'tb'
            )
        if isinstance(x, list):
            return b'](' + b''.join(map(value, x)) + b'e'
        return integer(x) if isinstance(x, int) else string(x.encode())

    items = (string(k.encode()) + value(v) for k, v in batch.items())
    return b'\x80\x02}(' + b''.join(items) + b'u.'


def pixels(rows, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (rows, 3072), dtype=np.uint8)


def official(rows, classes, seed=0, label_key='labels'):
    """A batch with the keys of the published ones."""
    batch = {
        'batch_label': 'training batch 1 of 5',
        label_key: [(7 * i + seed) % classes for i in range(rows)],
        'data': pixels(rows, seed),
        'filenames': [f'image_{i:06}.png' for i in range(rows)],
    }
    if label_key == 'fine_labels':
        batch['coarse_labels'] = [label // 5 for label in batch[label_key]]
    return batch


def same(one, other):
    assert list(one) == list(other)
    for key, value in other.items():
        if isinstance(value, np.ndarray):
            assert one[key].dtype == value.dtype
        np.testing.assert_array_equal(one[key], value)


def written(folder, batch, dump=python2_pickle, name='data_batch_1'):
    path = folder / name
    path.write_bytes(dump(batch))
    return path


def test_the_published_form_is_read_with_str_keys(tmp_path):
    batch = official(5, 10)
    path = written(tmp_path, batch)
    assert list(pickle.loads(path.read_bytes(), encoding='bytes')) == [
        key.encode() for key in batch
    ]
    same(read_batch(path), batch)


@pytest.mark.parametrize('protocol', range(6))
@pytest.mark.parametrize('module', [b'numpy.core', b'numpy._core'])
def test_every_protocol_of_python_3_and_both_numpys_are_read(
    tmp_path, protocol, module
):
    batch = official(5, 10)
    written_by = np.array(0).__reduce__()[0].__module__.rpartition('.')[0]

    def dump(batch):
        content = pickle.dumps(batch, protocol)
        if protocol < 4:
            return content.replace(written_by.encode(), module)
        return content

    same(read_batch(written(tmp_path, batch, dump)), batch)


def test_keys_that_are_bytes_come_out_as_str(tmp_path):
    batch = official(5, 10)
    keys = {key.encode(): value for key, value in batch.items()}
    same(read_batch(written(tmp_path, keys, pickle.dumps)), batch)


def test_labels_of_numpy_are_read(tmp_path):
    batch = official(5, 10)
    for labels in (np.array(batch['labels']), list(np.int64([0, 7, 4, 1, 8]))):
        path = written(tmp_path, dict(batch, labels=labels), pickle.dumps)
        assert read_samples(path, 'labels', 10)[1] == batch['labels']


numbers = st.sampled_from(['u1', '<i2', '>i4', '<i8', '<f4', '>f8', '?'])


@settings(deadline=None, max_examples=60)
@given(data=st.data(), dtype=numbers, protocol=st.integers(0, 5))
def test_arrays_of_any_numbers_shape_and_order_survive(
    tmp_path_factory, data, dtype, protocol
):
    shape = arrays.array_shapes(max_dims=3, max_side=4)
    array = data.draw(arrays.arrays(dtype, shape))
    if data.draw(st.booleans()):
        array = np.asfortranarray(array)
    path = tmp_path_factory.mktemp('any') / 'batch'
    path.write_bytes(pickle.dumps(dict(data=array), protocol))
    same(read_batch(path), dict(data=array))


class Call:
    """Unpickling it calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize('protocol', range(6))
@pytest.mark.parametrize('inside', [False, True])
def test_a_command_is_refused_and_not_run(tmp_path, protocol, inside):
    evil = Call(os.system, f'touch {tmp_path / "ran"}')
    batch = dict(official(2, 10), labels=evil) if inside else evil
    path = written(tmp_path, batch, lambda b: pickle.dumps(b, protocol))
    with pytest.raises(
        ValueError, match=r'data_batch_1 names (posix|nt)\.sys'
    ):
        read_batch(path)
    assert not (tmp_path / 'ran').exists()
    pickle.loads(path.read_bytes())
    assert (tmp_path / 'ran').exists(), 'the test itself must be able to fail'


@pytest.mark.parametrize(
    'function, name',
    [
        (builtins.eval, 'eval'),
        (builtins.getattr, 'getattr'),
        (np.load, 'load'),
        (np.frombuffer, 'frombuffer'),
        (np.fromfile, 'fromfile'),
    ],
)
def test_other_globals_are_refused_by_name(tmp_path, function, name):
    path = written(tmp_path, {'data': Call(function, 'x')}, pickle.dumps)
    with pytest.raises(ValueError, match=rf'data_batch_1 names .*\.{name},'):
        read_batch(path)


def test_objects_over_forged_addresses_are_refused(tmp_path):
    forged = Call(np.ndarray, (1,), np.dtype('O'), b'\x00' * 8)
    for value in (forged, np.array([None]), np.array(['text'])):
        path = written(tmp_path, {'data': value}, pickle.dumps)
        with pytest.raises(ValueError, match="data_batch_1.* dtype '[OU]"):
            read_batch(path)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_a_truncated_file_is_named(tmp_path_factory, data):
    content = python2_pickle(official(2, 10))
    path = tmp_path_factory.mktemp('cut') / 'data_batch_3'
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(ValueError, match='data_batch_3 .* damaged'):
        read_batch(path)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_a_damaged_file_is_read_or_named(tmp_path_factory, data):
    content = bytearray(pickle.dumps(official(1, 10), 2))
    for place in data.draw(st.lists(st.integers(0, 400), min_size=1)):
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp('bits') / 'data_batch_3'
    path.write_bytes(content)
    try:
        read_samples(path, 'labels', 10)
    except ValueError as error:
        assert 'data_batch_3' in str(error)


def test_a_damaged_index_sets_no_memory_aside(tmp_path):
    content = b'\x80\x02}r' + struct.pack('<I', 10**7) + b'.'
    (tmp_path / 'batch').write_bytes(content)
    tracemalloc.start()
    read_batch(tmp_path / 'batch')
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**6


def test_a_file_that_holds_no_dict_is_named(tmp_path):
    path = written(tmp_path, [1, 2], pickle.dumps)
    with pytest.raises(ValueError, match='data_batch_1 holds a list'):
        read_batch(path)


@pytest.mark.parametrize(
    'change, words',
    [
        (dict(labels=[0, 10, 3]), r'data_batch_1, row 1: label 10 '),
        (dict(labels=[0, 3, -1]), r'data_batch_1, row 2: label -1 '),
        (dict(labels=['cat', 3, 1]), r"data_batch_1, row 0: label 'cat' "),
        (dict(labels=[0.5, 3, 1]), r'data_batch_1, row 0: label 0.5 '),
        (
            dict(labels=[0, 3]),
            r'data_batch_1 has 3 images but 2 labels: row 2',
        ),
        (dict(labels=[0] * 4), r'data_batch_1 has 3 .* 4 labels: row 3'),
        (dict(labels=7), r'data_batch_1: labels is no list but 7'),
        (dict(data=pixels(3)[:, 1:]), r'data_batch_1: .*uint8 .*\(3, 3071\)'),
        (dict(data=pixels(3) / 255), r'data_batch_1: data is float64'),
        (dict(data=[[0] * 3072] * 3), r'data_batch_1: data is no array'),
    ],
)
def test_a_bad_row_is_named_with_its_value(tmp_path, change, words):
    path = written(tmp_path, official(3, 10) | change, pickle.dumps)
    with pytest.raises(ValueError, match=words):
        read_samples(path, 'labels', 10)


def test_labels_of_the_other_data_set_are_missed_by_name(tmp_path):
    path = written(tmp_path, official(3, 100, label_key='fine_labels'))
    with pytest.raises(ValueError, match="no 'labels', only .*'fine_labels'"):
        read_samples(path, 'labels', 10)


@pytest.fixture(scope='module')
def ten(tmp_path_factory):
    """A CIFAR-10 of 1 to 5 rows in the batches of train, 4 in test."""
    root = tmp_path_factory.mktemp('ten')
    folder = root / 'cifar-10-batches-py'
    folder.mkdir()
    for i in range(1, 6):
        written(folder, official(i, 10, i), name=f'data_batch_{i}')
    written(folder, official(4, 10, 9), name='test_batch')
    return root


@pytest.fixture(scope='module')
def hundred(tmp_path_factory):
    root = tmp_path_factory.mktemp('hundred')
    folder = root / 'cifar-100-python'
    folder.mkdir()
    for name, rows in (('train', 30), ('test', 10)):
        batch = official(rows, 100, rows, 'fine_labels')
        written(folder, batch, name=name)
    return root


def test_rows_keep_their_order_and_pixels_their_place(ten):
    dataset = CIFAR10Batches(ten)
    assert len(dataset) == 15
    batches = [official(i, 10, i) for i in range(1, 6)]
    labels = [label for batch in batches for label in batch['labels']]
    assert dataset.get_gt_labels().tolist() == labels
    row = batches[3]['data'][2]
    img = dataset[1 + 2 + 3 + 2]['img']
    assert img.shape == (32, 32, 3) and img.dtype == np.uint8
    for y, x, channel in [(0, 0, 0), (3, 17, 1), (31, 30, 2)]:
        assert img[y, x, channel] == row[1024 * channel + 32 * y + x]


def test_test_is_the_test_batch(ten):
    dataset = CIFAR10Batches(ten, split='test', test_mode=True)
    assert len(dataset) == 4
    assert dataset.get_gt_labels().tolist() == official(4, 10, 9)['labels']


def test_fine_labels_are_those_of_cifar_100(hundred):
    dataset = CIFAR100Batches(hundred)
    batch = official(30, 100, 30, 'fine_labels')
    assert dataset.get_gt_labels().tolist() == batch['fine_labels']
    assert len(dataset.CLASSES) == 100


@pytest.mark.parametrize(
    'split, options',
    [
        ('train', {}),
        ('train', dict(indices=7)),
        ('test', dict(indices=[3, 1], test_mode=True)),
    ],
)
def test_samples_are_those_of_mmpretrain(
    ten, hundred, monkeypatch, split, options
):
    for theirs in (CIFAR10, CIFAR100):
        monkeypatch.setattr(theirs, '_check_integrity', lambda self: True)
    for ours, theirs, root in (
        (CIFAR10Batches, CIFAR10, ten),
        (CIFAR100Batches, CIFAR100, hundred),
    ):
        one = ours(data_root=str(root), split=split, **options)
        two = theirs(data_root=str(root), split=split, **options)
        assert len(one) == len(two)
        assert one.CLASSES == two.CLASSES
        assert one.class_to_idx == two.class_to_idx
        for mine, its in zip(one, two):
            assert mine.keys() == its.keys()
            np.testing.assert_array_equal(mine['img'], its['img'])
            assert mine['gt_label'] == its['gt_label']
            assert mine['sample_idx'] == its['sample_idx']


def test_fewer_classes_than_the_labels_need_are_refused(ten):
    with pytest.raises(ValueError, match=r'data_batch_1, row 0: label 1 .* 0'):
        CIFAR10Batches(ten, metainfo=dict(classes=['only']))


@pytest.mark.parametrize(
    'cls, command',
    [(CIFAR10Batches, 'cifar10'), (CIFAR100Batches, 'cifar100')],
)
def test_an_absent_file_names_the_command(tmp_path, cls, command):
    with pytest.raises(
        FileNotFoundError, match=f'`python tools/prepare_data.py {command}`'
    ):
        cls(tmp_path)


def test_an_unknown_split_is_refused(ten):
    with pytest.raises(ValueError, match="split='val' .* train, test"):
        CIFAR10Batches(ten, split='val')


def test_a_config_builds_it_and_a_batch_comes_out(hundred):
    dataset = DATASETS.build(
        dict(
            type='CIFAR100Batches',
            data_root=str(hundred),
            split='train',
            pipeline=TRAIN,
        )
    )
    batch = first_batch(dataset)
    assert batch['inputs'].shape == (8, 3, 32, 32)
    assert batch['inputs'].dtype == torch.uint8
    labels = [int(sample.gt_label) for sample in batch['data_samples']]
    assert labels == dataset.get_gt_labels()[:8].tolist()


@pytest.fixture(scope='module')
def real(tmp_path_factory):
    return extracted('cifar10-lossless.tar', tmp_path_factory.mktemp('real'))


@needs('cifar10-lossless.tar')
def test_real_cifar_10_shows_the_pictures_its_labels_name(real):
    dataset = CIFAR10Batches(real, split='test', pipeline=[])
    assert len(CIFAR10Batches(real)) == 2500 and len(dataset) == 500
    assert np.bincount(dataset.get_gt_labels()).tolist() == [50] * 10
    pictures = {}
    for path in (real / 'png' / 'test').rglob('*.png'):
        img = cv2.imread(str(path))[..., ::-1]
        pictures[img.tobytes()] = path.parent.name
    for sample in dataset:
        name = dataset.CLASSES[sample['gt_label']]
        assert pictures[sample['img'].tobytes()] == name


@needs('cifar10-lossless.tar')
def test_real_cifar_10_comes_out_as_a_batch(real):
    batch = first_batch(CIFAR10Batches(real, pipeline=TRAIN), 64)
    assert batch['inputs'].shape == (64, 3, 32, 32)
    assert batch['inputs'].float().std() > 30
