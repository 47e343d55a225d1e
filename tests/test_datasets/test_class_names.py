"""Classes that a config gives as a string."""

import pytest

from epsd_mm.datasets.class_names import check_configured_class_names


def config(loader='train_dataloader', **dataset):
    wrapped = dict(type='RepeatDataset', times=2, dataset=dataset)
    return {'train_dataloader': None, loader: dict(dataset=wrapped)}


@pytest.mark.parametrize('kind', ['CustomDataset', 'VOCDataset'])
@pytest.mark.parametrize('name', ['cat', 'abcd', 'St. Bernard'])
def test_one_class_without_its_comma_is_one_sentence(kind, name):
    cfg = config(type=kind, metainfo=dict(classes=name))
    with pytest.raises(ValueError) as error:
        check_configured_class_names(cfg)
    assert f'{kind} has classes={name!r}, a string' in str(error.value)
    assert f'classes=({name!r},)' in str(error.value)


def test_the_argument_of_a_classification_set_likewise():
    with pytest.raises(ValueError, match="write classes=\\('cat',\\)"):
        check_configured_class_names(config(type='ImageNet', classes='cat'))


@pytest.mark.parametrize('path', ['clases.txt', 'meta/names', './a.csv'])
def test_a_mistyped_path_is_no_such_file(path):
    cfg = config(type='CustomDataset', metainfo=dict(classes=path))
    with pytest.raises(FileNotFoundError, match=f'{path}.*no such file'):
        check_configured_class_names(cfg)


def test_every_loader_that_is_used_is_looked_at():
    cfg = config('val_dataloader', type='VOC', metainfo=dict(classes='cat'))
    check_configured_class_names(cfg)
    with pytest.raises(ValueError, match="'cat'"):
        check_configured_class_names(
            cfg, ['train_dataloader', 'val_dataloader']
        )


def test_files_addresses_and_lists_are_fine(tmp_path):
    (tmp_path / 'names.txt').write_text('cat\ndog\n')
    for classes in (
        str(tmp_path / 'names.txt'),
        's3://bucket/names.txt',
        ('cat',),
        ['cat', 'dog'],
        None,
    ):
        check_configured_class_names(
            config(type='CustomDataset', metainfo=dict(classes=classes))
        )
