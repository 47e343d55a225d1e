"""tools/prepare_data.py and tools/generate_voc.py from the command line."""

import pytest


def test_voc_is_placed_and_reported(run, drawn, tmp_path, capsys):
    args = ('voc', '--source', drawn, '--data-root', tmp_path / 'data')
    run('prepare_data', *args, '--allow-subset')
    first = capsys.readouterr().out
    assert 'VOC2007 trainval      8 images of 5011  (a subset)' in first
    assert 'VOC2012 trainval      0 images of 11540  (absent)' in first
    assert '29 new files, checked' not in first and 'new files' in first
    run('prepare_data', *args, '--allow-subset')
    assert 'everything was in place' in capsys.readouterr().out


def test_an_error_is_one_line(run, tmp_path):
    with pytest.raises(SystemExit) as error:
        run('prepare_data', 'voc', '--source', tmp_path / 'gone.tar')
    assert str(error.value).startswith('error: ')
    assert 'gone.tar does not exist' in str(error.value)
    assert '\n' not in str(error.value)


def test_sources_add_up(tool, monkeypatch):
    prepare_data = tool('prepare_data')
    monkeypatch.setattr(
        'sys.argv',
        ['x', 'voc', '--source', 'a', 'b', '--source', 'c'],
    )
    assert prepare_data.parse_args().source == ['a', 'b', 'c']


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
