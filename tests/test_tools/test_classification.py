"""From an archive to a tested checkpoint, with the configs as shipped."""

import io
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

import epsd_mm
from tests.helpers.archives import pack

pytestmark = pytest.mark.slow


def picture(label, number, size):
    """A JPEG in the colour of its class, with noise."""
    rng = np.random.default_rng([label, number])
    colour = np.array([40 * (label % 4), 40 * (label // 4 % 4), 90])
    pixels = colour + rng.integers(0, 90, (size, size, 3))
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, 'JPEG')
    return stream.getvalue()


def cifar(folder, key, names, classes):
    """Pickles as published, in protocol 2 with keys of bytes."""
    files = {}
    for name in names:
        rng = np.random.default_rng(0)
        labels = [i % classes for i in range(2 * classes)]
        data = rng.integers(0, 256, (len(labels), 3072), dtype=np.uint8)
        entry = {b'data': data, key: labels}
        files[f'{folder}/{name}'] = pickle.dumps(entry, protocol=2)
    return files


def cifar10():
    names = [f'data_batch_{i}' for i in range(1, 6)] + ['test_batch']
    files = cifar('cifar-10-batches-py', b'labels', names, 10)
    label_names = {b'label_names': [f'class_{i}' for i in range(10)]}
    meta = pickle.dumps(label_names, protocol=2)
    return files | {'cifar-10-batches-py/batches.meta': meta}


def cifar100():
    names = ['train', 'test']
    files = cifar('cifar-100-python', b'fine_labels', names, 100)
    label_names = {b'fine_label_names': [f'class_{i}' for i in range(100)]}
    meta = pickle.dumps(label_names, protocol=2)
    return files | {'cifar-100-python/meta': meta}


WNIDS = [f'n0000000{i}' for i in range(4)]


def tiny_imagenet():
    root, files, lines = 'tiny-imagenet-200', {}, []
    for label, wnid in enumerate(WNIDS):
        boxes = []
        for i in range(6):
            name = f'{wnid}_{i}.JPEG'
            files[f'{root}/train/{wnid}/images/{name}'] = picture(label, i, 64)
            boxes.append(f'{name}\t0\t0\t9\t9\n')
        files[f'{root}/train/{wnid}/{wnid}_boxes.txt'] = ''.join(
            boxes
        ).encode()
        files[f'{root}/val/images/val_{label}.JPEG'] = picture(label, 9, 64)
        lines.append(f'val_{label}.JPEG\t{wnid}\t0\t0\t9\t9\n')
    files[f'{root}/val/val_annotations.txt'] = ''.join(lines).encode()
    files[f'{root}/wnids.txt'] = '\n'.join(WNIDS).encode()
    words = ''.join(f'{wnid}\tthing {wnid}\n' for wnid in WNIDS)
    return files | {f'{root}/words.txt': words.encode()}


def cub():
    root, files, lists = 'CUB_200_2011', {}, ([], [], [])
    for number in range(1, 31):
        label = number % 3
        image = f'{label + 1:03}.Bird_{label}/{number:04}.jpg'
        files[f'{root}/images/{image}'] = picture(label, number, 260)
        lists[0].append(f'{number} {image}')
        lists[1].append(f'{number} {label + 1}')
        lists[2].append(f'{number} {int(number <= 24)}')
    names = ('images', 'image_class_labels', 'train_test_split')
    for name, lines in zip(names, lists):
        files[f'{root}/{name}.txt'] = '\n'.join(lines).encode()
    classes = '\n'.join(f'{i + 1} {i + 1:03}.Bird_{i}' for i in range(3))
    return files | {f'{root}/classes.txt': classes.encode()}


def imagenet():
    files, lists = {}, dict(train=[], val=[])
    for label, wnid in enumerate(WNIDS):
        for split, count in (('train', 6), ('val', 1)):
            for i in range(count):
                name = f'{wnid}/{wnid}_{i}.JPEG'
                image = picture(label, i + (split == 'val') * 9, 260)
                files[f'imagenet/{split}/{name}'] = image
                lists[split].append(f'{name} {label}\n')
    for split, lines in lists.items():
        files[f'imagenet/meta/{split}.txt'] = ''.join(lines).encode()
    return files


SMALL = ['model.backbone.base_channels=4', 'model.backbone.stem_channels=4']
# Archive, its name, the config, where its data set looks, what makes it small.
CASES = dict(
    cifar10=(cifar10, 'cifar10', 'cifar10_resnet18_epsd', 32),
    cifar100=(cifar100, 'cifar100', 'cifar100_resnet18_epsd', 32),
    ps_kd=(cifar100, 'cifar100', 'cifar100_resnet18_epsd_ps_kd', 32),
    dlb=(cifar100, 'cifar100', 'cifar100_resnet18_epsd_dlb', 32),
    tiny_imagenet=(
        tiny_imagenet,
        'tiny-imagenet-200',
        'tiny_imagenet_resnet18_epsd',
        32,
    ),
    cub=(cub, 'CUB_200_2011', 'cub_resnet50_epsd', 128),
    imagenet=(imagenet, 'imagenet', 'imagenet_resnet50_epsd', 128),
)


@pytest.mark.parametrize('name', CASES)
def test_an_archive_becomes_a_tested_sparse_checkpoint(
    name, run, tmp_path, capsys
):
    files, folder, config, channels = CASES[name]
    dataset = files.__name__
    archive = pack(files(), tmp_path / f'{dataset}.tar')
    root = tmp_path / 'data'
    options = ('--source', archive, '--data-root', root, '--allow-subset')
    run('prepare_data', dataset, *options)
    loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    changes = [
        '--cfg-options',
        f'experiment_name={tmp_path.name}',
        *(f'{x}.dataset.data_root={root / folder}' for x in loaders),
        *(f'{x}.num_workers=0' for x in loaders),
        *(f'{x}.batch_size=8' for x in loaders),
        *SMALL,
        f'model.head.in_channels={channels}',
        'train_cfg.max_epochs=2',
        'train_cfg.val_interval=2',
        'default_hooks.epsd.sparsity=0.5',
        'default_hooks.epsd.criterion.steps=1',
        'default_hooks.epsd.criterion.lr=0.01',
        'default_hooks.epsd.draws=1',
        'default_hooks.epsd.allow_empty_layers=True',
    ]
    path = epsd_mm.config_path(config)
    run('train', path, '--work-dir', tmp_path / 'run', *changes)
    checkpoint = tmp_path / 'run' / 'epoch_2.pth'
    weights = torch.load(checkpoint, weights_only=False)['state_dict']
    kernels = torch.cat(
        [w.flatten() for n, w in weights.items() if w.dim() in (2, 4)]
    )
    assert (kernels == 0).float().mean() == pytest.approx(0.5, abs=0.01)
    capsys.readouterr()
    run('test', path, checkpoint, '--work-dir', tmp_path / 'test', *changes)
    printed = capsys.readouterr().out
    for metric in ('accuracy/top1', 'accuracy/top5', 'calibration/ece'):
        assert metric in printed
