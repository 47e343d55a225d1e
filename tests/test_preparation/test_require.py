"""Absent data is missed before anything is built, with the remedy."""

import os
import shutil

import pytest
from mmengine.config import Config

from epsd_mm.datasets.drawn_voc import generate_voc
from epsd_mm.preparation import LAYOUTS, require_data


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    return generate_voc(
        tmp_path_factory.mktemp('drawn'), train=2, test=1, size=32
    )


def config(root, **more):
    leaf = dict(
        type='VOCDataset',
        data_root=str(root),
        ann_file='VOC2007/ImageSets/Main/trainval.txt',
        **more,
    )
    both = dict(type='ConcatDataset', datasets=[leaf, dict(leaf)])
    return Config(
        dict(
            train_dataloader=dict(
                dataset=dict(type='RepeatDataset', times=3, dataset=both)
            ),
            val_dataloader=None,
            test_dataloader=dict(
                dataset=dict(leaf, ann_file='VOC2007/ImageSets/Main/test.txt')
            ),
        )
    )


def test_accepts_what_is_there(drawn):
    require_data(config(drawn))


def test_names_the_path_and_the_command(tmp_path):
    root = tmp_path / 'there' / 'VOCdevkit'
    with pytest.raises(FileNotFoundError) as error:
        require_data(config(f'{root}/'))
    assert str(root) in str(error.value)
    assert (
        'python tools/prepare_data.py voc --source ARCHIVE_OR_FOLDER '
        f'--data-root {root.parent}`'
    ) in str(error.value)
    assert 'without --source it is downloaded' in str(error.value)


def test_offers_to_draw_for_own_classes_only(tmp_path):
    root = tmp_path / 'VOCdevkit'
    with pytest.raises(FileNotFoundError) as error:
        require_data(config(root))
    assert 'generate_voc' not in str(error.value)
    with pytest.raises(FileNotFoundError) as error:
        require_data(config(root, metainfo=dict(classes=('disc',))))
    assert f'tools/generate_voc.py {tmp_path}' in str(error.value)


def test_sees_an_absent_list(tmp_path, drawn):
    devkit = tmp_path / 'VOCdevkit'
    shutil.copytree(drawn, devkit)
    (devkit / 'VOC2007' / 'ImageSets' / 'Main' / 'test.txt').unlink()
    cfg = config(devkit)
    require_data(cfg, ['train_dataloader', 'val_dataloader'])
    with pytest.raises(FileNotFoundError, match='test.txt .*test_dataloader'):
        require_data(cfg, ['test_dataloader'])


@pytest.mark.parametrize(
    'type_', ['mmdet.XMLDataset', type('VOCDataset', (), {})]
)
def test_knows_scoped_names_and_classes(tmp_path, type_):
    cfg = dict(
        train_dataloader=dict(
            dataset=dict(type=type_, data_root=str(tmp_path / 'VOCdevkit'))
        )
    )
    with pytest.raises(FileNotFoundError, match='VOCdevkit does not exist'):
        require_data(cfg)


def test_what_is_elsewhere_or_unknown_is_left_alone(tmp_path):
    require_data(config(tmp_path / 'no', backend_args=dict(backend='petrel')))
    for leaf in (
        dict(type='CUB', data_root='s3://bucket/CUB_200_2011'),
        dict(type='StanfordCars', data_root=str(tmp_path / 'no')),
    ):
        require_data(dict(train_dataloader=dict(dataset=leaf)))


def needing(type_, root, **more):
    leaf = dict(type=type_, data_root=str(root), **more)
    return dict(train_dataloader=dict(dataset=leaf))


CASES = [
    ('CIFAR10', 'cifar10', 'cifar10', ['cifar-10-batches-py/']),
    ('CIFAR10Batches', 'cifar10', 'cifar10', ['cifar-10-batches-py/']),
    ('CIFAR100', 'cifar100', 'cifar100', ['cifar-100-python/']),
    ('CIFAR100Batches', 'cifar100', 'cifar100', ['cifar-100-python/']),
    ('TinyImageNet', 'tiny_imagenet', 'tiny-imagenet-200', ['wnids.txt']),
    (
        'mmpretrain.CUB',
        'cub',
        'CUB_200_2011',
        ['images.txt', 'image_class_labels.txt', 'train_test_split.txt'],
    ),
    ('ImageNet', 'imagenet', 'imagenet', ['train/']),
]


@pytest.mark.parametrize('type_, command, folder, read', CASES)
def test_each_kind_names_its_command(tmp_path, type_, command, folder, read):
    root = tmp_path / folder
    more = dict(split='train') if type_ == 'ImageNet' else {}
    cfg = needing(type_, root, **more)
    with pytest.raises(FileNotFoundError, match=f'{root} does not') as error:
        require_data(cfg)
    text = str(error.value)
    assert f'prepare_data.py {command} ' in text
    assert f'--data-root {tmp_path}`' in text and '--source' in text
    assert 'train_dataloader' in text
    # What is read must be there as well, not its folder alone.
    root.mkdir()
    for name in read:
        with pytest.raises(FileNotFoundError, match=name.rstrip('/')):
            require_data(cfg)
        path = root / name
        path.mkdir() if name.endswith('/') else path.write_text('')
    require_data(cfg)


def test_another_root_is_told_what_to_set(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        require_data(needing('CUB', tmp_path / 'birds'))
    assert 'data_root is then DATA_ROOT/CUB_200_2011' in str(error.value)


def test_data_sets_of_one_type_are_told_apart(tmp_path):
    bccd = dict(metainfo=dict(classes=['RBC', 'WBC', 'Platelets']))
    for folder, more, command in (
        ('bccd', {}, 'bccd'),
        ('bccd', bccd, 'bccd'),
        ('blood', bccd, 'bccd'),
        ('VOCdevkit', {}, 'voc'),
        ('blood', {}, 'voc'),
        ('blood', dict(metainfo=dict(classes='RBC')), 'voc'),
    ):
        root = f'{tmp_path}/{folder}/'
        with pytest.raises(FileNotFoundError) as error:
            require_data(needing('VOCDataset', root, **more))
        assert f'prepare_data.py {command} ' in str(error.value)
        assert 'generate_voc' not in str(error.value) or command == 'voc'


def test_imagenet_is_offered_no_download(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        require_data(needing('ImageNet', tmp_path / 'imagenet'))
    assert 'prepare_data.py imagenet --source' in str(error.value)
    assert 'download' not in str(error.value)


def test_shipped_bases_of_mmpretrain_look_where_data_is_put():
    for name, layout in LAYOUTS.items():
        assert layout.folder.startswith(layout.config_root), name
    for base, name in dict(
        imagenet_bs32='imagenet', cifar10_bs16='cifar10', cub_bs8_448='cub'
    ).items():
        cfg = Config.fromfile(_mmpretrain_base(base))
        root = cfg.train_dataloader.dataset.data_root
        assert root == f'data/{LAYOUTS[name].config_root}'


def _mmpretrain_base(name):
    import mmpretrain

    folder = os.path.dirname(mmpretrain.__file__)
    return f'{folder}/.mim/configs/_base_/datasets/{name}.py'
