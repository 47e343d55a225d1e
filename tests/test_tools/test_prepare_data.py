"""tools/prepare_data.py and tools/generate_voc.py from the command line."""

import socket
import time

import pytest

from tests.helpers.archives import cub_files, pack


def test_voc_is_placed_and_reported(run, drawn, tmp_path, capsys):
    args = ('voc', '--source', drawn, '--data-root', tmp_path / 'data')
    run('prepare_data', *args, '--allow-subset')
    first = capsys.readouterr().out
    assert 'VOC2007 trainval        8 of 5011  (a subset)' in first
    assert 'VOC2012 trainval        0 of 11540  (absent)' in first
    assert '28 new files, checked' in first
    run('prepare_data', *args, '--allow-subset')
    assert 'everything was in place' in capsys.readouterr().out


@pytest.mark.parametrize(
    'dataset', ['cifar10', 'cifar100', 'tiny_imagenet', 'cub', 'voc', 'bccd']
)
def test_without_network_it_ends_at_once_with_one_line(
    run, tmp_path, monkeypatch, dataset
):
    def fail(*_, **__):
        raise socket.gaierror(-2, 'Name or service not known')

    monkeypatch.setenv('no_proxy', '*')
    monkeypatch.setattr(socket, 'getaddrinfo', fail)
    start = time.monotonic()
    with pytest.raises(SystemExit) as error:
        run('prepare_data', dataset, '--data-root', tmp_path / 'data')
    assert time.monotonic() - start < 10
    text = str(error.value)
    assert text.startswith('error: ') and 'cannot be downloaded' in text
    assert '--source' in text and '\n' not in text
    assert not (tmp_path / 'data').exists()


def test_imagenet_says_how_to_get_it(run, tmp_path):
    with pytest.raises(SystemExit, match='error: .*image-net.org') as error:
        run('prepare_data', 'imagenet', '--data-root', tmp_path / 'data')
    assert '\n' not in str(error.value)


def test_a_corrupt_image_is_named_if_asked(run, tmp_path):
    files = cub_files()
    name = 'CUB_200_2011/images/002.Laysan_Albatross/0003.jpg'
    source = pack(files | {name: files[name][:-100]}, tmp_path / 'cub.tar')
    args = ('cub', '--source', source, '--data-root', tmp_path / 'data')
    with pytest.raises(SystemExit, match='error: .*0003.jpg is corrupt'):
        run('prepare_data', *args, '--allow-subset', '--verify-images')
    run('prepare_data', *args, '--allow-subset')


def test_an_error_is_one_line(run, tmp_path):
    with pytest.raises(SystemExit) as error:
        run('prepare_data', 'voc', '--source', tmp_path / 'gone.tar')
    assert str(error.value).startswith('error: ')
    assert 'gone.tar does not exist' in str(error.value)
    assert '\n' not in str(error.value)


def test_sources_add_up(tool):
    args = ['voc', '--source', 'a', 'b', '--source', 'c']
    assert tool('prepare_data').parse_args(args).source == ['a', 'b', 'c']


def test_a_drawn_set_from_the_command_line(run, tmp_path, capsys):
    args = (tmp_path, '--train', 3, '--test', 1, '--size', 32)
    run('generate_voc', *args, '--classes', 'cat', 'dog')
    assert 'classes cat, dog' in capsys.readouterr().out
    voc = tmp_path / 'VOCdevkit' / 'VOC2007'
    assert len(list((voc / 'JPEGImages').iterdir())) == 4
    names = {'<name>cat</name>', '<name>dog</name>', '<name>disc</name>'}
    text = ''.join(p.read_text() for p in (voc / 'Annotations').iterdir())
    assert {name for name in names if name in text} <= names - {
        '<name>disc</name>'
    }
    with pytest.raises(SystemExit, match='error: .*another folder'):
        run('generate_voc', *args, '--seed', 1)
