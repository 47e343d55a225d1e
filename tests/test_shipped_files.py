"""Where tools are said to be is where they are."""

import shlex
from pathlib import Path

import pytest

from epsd_mm import shipped_files
from epsd_mm.shipped_files import command_of


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The package as a wheel lays it out, under a folder with a space."""
    package = tmp_path / 'site packages' / 'epsd_mm'
    (package / '.mim' / 'tools').mkdir(parents=True)
    monkeypatch.setattr(shipped_files, '__file__', str(package / 'x.py'))
    return package


def test_in_a_clone_a_command_is_the_one_of_the_documentation(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[1])
    assert command_of('show.py', 'RUN') == 'python tools/show.py RUN'


def test_of_a_wheel_it_has_the_whole_path(installed, tmp_path, monkeypatch):
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    assert shlex.split(command_of('show.py', 'my run')) == [
        'python',
        str(installed / '.mim/tools/show.py'),
        'my run',
    ]


def test_below_the_working_folder_it_is_relative(
    installed, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert shlex.split(command_of('show.py', Path('$RUN'))) == [
        'python',
        'site packages/epsd_mm/.mim/tools/show.py',
        '$RUN',
    ]
