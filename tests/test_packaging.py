"""Installing: the folders that travel along, and the pins."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

import epsd_mm

ROOT = Path(__file__).parent.parent
REQUIREMENTS = ROOT / 'requirements'
CONFIG = 'tiny/some_config'


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """A copy of what an install reads, with a config of its own."""
    copy = tmp_path_factory.mktemp('source')
    leave_out = shutil.ignore_patterns('__pycache__', '.mim', '*.egg-info')
    for folder in ('epsd_mm', 'configs', 'tools', 'requirements'):
        shutil.copytree(ROOT / folder, copy / folder, ignore=leave_out)
    for file in ('setup.py', 'README.md', 'CHANGELOG.md', 'LICENSE'):
        shutil.copy(ROOT / file, copy)
    (copy / 'configs' / 'tiny').mkdir()
    (copy / 'configs' / f'{CONFIG}.py').write_text('value = 1\n')
    (copy / 'tools' / 'some_tool.sh').write_text('true\n')
    return copy


def pip(*arguments):
    result = subprocess.run(
        [
            *(sys.executable, '-m', 'pip', '--disable-pip-version-check'),
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def install(source, target, *options):
    offline = ('--no-deps', '--no-index', '--no-build-isolation')
    pip('install', *offline, '--target', target, *options, source)


def found_config(target, name, folder):
    """What config_path answers for a package installed in target."""
    # Skips the registration, which takes seconds and is not in question.
    code = (
        'import sys; sys.orig_argv.append("epsd_mm.check_env");'
        'sys.modules["torch"] = None; import epsd_mm;'
        f'print(epsd_mm.__file__, epsd_mm.config_path({name!r}))'
    )
    result = subprocess.run(
        [sys.executable, '-c', code],
        cwd=folder,
        env={**os.environ, 'PYTHONPATH': str(target)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    package, config = map(Path, result.stdout.split())
    assert package.is_relative_to(target)
    return config


def carried(folder):
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }


@pytest.mark.slow
def test_a_wheel_carries_configs_and_tools(source, tmp_path):
    # What an earlier build left must not get into the wheel.
    stale = source / 'build' / 'lib' / 'epsd_mm' / '.mim' / 'configs'
    stale.mkdir(parents=True)
    (stale / 'deleted_since.py').write_text('value = 2\n')

    pip(
        *('wheel', '--no-deps', '--no-index', '--no-build-isolation'),
        *('--wheel-dir', tmp_path, source),
    )
    (wheel,) = tmp_path.glob('epsd_mm-*.whl')
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ('configs', 'tools', 'requirements'):
        expected = {
            f'epsd_mm/.mim/{folder}/{name}'
            for name in carried(source / folder)
        }
        inside = {
            name
            for name in names
            if name.startswith(f'epsd_mm/.mim/{folder}/')
        }
        assert inside == expected
    assert not any(
        name.startswith(('configs', 'tests', 'tools')) for name in names
    )

    (license,) = [name for name in names if name.endswith('/LICENSE')]
    text = zipfile.ZipFile(wheel).read(license).decode()
    assert 'Apache License' in text and 'END OF TERMS AND CONDITIONS' in text

    target = tmp_path / 'target'
    install(wheel, target)
    config = found_config(target, CONFIG, tmp_path)
    assert config == target / 'epsd_mm' / '.mim' / 'configs' / f'{CONFIG}.py'
    assert config.read_text() == 'value = 1\n'


@pytest.mark.slow
def test_a_plain_install_carries_configs_and_tools(source, tmp_path):
    target = tmp_path / 'target'
    install(source, target)
    mim = target / 'epsd_mm' / '.mim'
    for folder in ('configs', 'tools', 'requirements'):
        assert carried(mim / folder) == carried(source / folder)
    config = found_config(target, f'{CONFIG}.py', tmp_path)
    assert config == mim / 'configs' / f'{CONFIG}.py'


@pytest.mark.slow
def test_an_editable_install_uses_the_folders_of_the_repository(
    source, tmp_path
):
    install(source, tmp_path / 'target', '--editable')
    mim = source / 'epsd_mm' / '.mim'
    for folder in ('configs', 'tools', 'requirements'):
        assert (mim / folder).resolve() == source / folder
    config = found_config(source, CONFIG, tmp_path)
    assert config == source / 'configs' / f'{CONFIG}.py'


@pytest.mark.slow
def test_a_source_archive_is_enough_to_install_from(source, tmp_path):
    subprocess.run(
        [sys.executable, 'setup.py', '-q', 'sdist', '-d', str(tmp_path)],
        cwd=source,
        check=True,
    )
    (archive,) = tmp_path.glob('*.tar.gz')
    with tarfile.open(archive) as file:
        names = {name.partition('/')[2] for name in file.getnames()}
    assert {'README.md', 'CHANGELOG.md', 'LICENSE'} <= names
    for folder in ('configs', 'tools', 'requirements'):
        assert carried(source / folder) <= {
            name.removeprefix(f'{folder}/') for name in names
        }
    install(archive, tmp_path / 'target')
    carried_along = tmp_path / 'target' / 'epsd_mm' / '.mim' / 'configs'
    assert (carried_along / f'{CONFIG}.py').is_file()


def test_a_config_of_the_repository_is_found_from_anywhere(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    expected = ROOT / 'configs' / 'voc_faster_rcnn_epsd.py'
    for name in ('voc_faster_rcnn_epsd', 'voc_faster_rcnn_epsd.py'):
        assert epsd_mm.config_path(name) == str(expected.resolve())


def test_an_unknown_config_is_answered_with_similar_names():
    with pytest.raises(FileNotFoundError) as caught:
        epsd_mm.config_path('voc_fast_rcnn_epsd')
    assert "'voc_fast_rcnn_epsd'" in str(caught.value)
    assert 'voc_faster_rcnn_epsd' in str(caught.value)


def pins(*files):
    lines = []
    for file in files:
        lines += (REQUIREMENTS / f'{file}.txt').read_text().splitlines()
    return [line for line in lines if line and not line.startswith('#')]


def test_every_requirement_is_pinned_and_no_two_pins_differ():
    versions = {}
    for file in sorted(REQUIREMENTS.glob('*.txt')):
        for line in pins(file.stem):
            name, version = re.fullmatch(r'([\w.-]+)==([\w.]+)', line).groups()
            assert versions.setdefault(name, version) == version, file.name


def test_pages_repeat_no_pin_and_take_those_of_torch_from_their_file():
    pages = [ROOT / 'README.md', *(ROOT / 'docs').rglob('*.md')]
    for page in pages:
        for line in page.read_text().splitlines():
            assert not re.search(r'pip install .*==\s*\d', line), page.name
    page = (ROOT / 'docs' / 'installation.md').read_text()
    (command,) = re.findall(r'^pip install \$\((.*)\)$', page, re.MULTILINE)
    found = subprocess.check_output(command, shell=True, cwd=ROOT, text=True)
    names = [line.partition('==')[0] for line in found.split()]
    assert names == ['torch', 'torchvision']
    assert {*found.split()} <= {*pins('runtime')}


def test_packages_installed_without_dependencies_have_all_of_them():
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pinned = {
        canonicalize_name(line.partition('==')[0])
        for line in pins('build', 'runtime', 'mminstall')
    }
    for line in pins('mminstall'):
        requires = distribution(line.partition('==')[0]).requires or ()
        for requirement in map(Requirement, requires):
            marker = requirement.marker
            if marker is None or marker.evaluate({'extra': ''}):
                name = canonicalize_name(requirement.name)
                if name == 'opencv-python':
                    name = 'opencv-python-headless'
                assert name in pinned, f'{line} needs {requirement}'


def test_library_requirements_are_ranges_and_leave_the_mm_family_open(
    source,
):
    subprocess.run(
        [sys.executable, 'setup.py', '-q', 'egg_info'], cwd=source, check=True
    )
    requires = (source / 'epsd_mm.egg-info' / 'requires.txt').read_text()
    assert '==' not in requires
    always, *sections = requires.split('[')
    assert {re.split('[<>=!]', line)[0] for line in always.split()} == {
        *('matplotlib', 'numpy', 'rich', 'scipy', 'torch')
    }
    extras = dict(section.split(']', 1) for section in sections)
    files = {'tests', 'optional', 'structure', 'deploy'}
    files |= {'docs', 'ray', 'slurm', 'cluster', 'mm'}
    assert {'all', *files} <= set(extras)
    assert 'ray' in extras['cluster'] and 'submitit' in extras['cluster']
    # pip cannot be told how to compile what detection takes.
    assert 'onedl-mmpretrain' in extras['mm']
    assert 'onedl-mmdetection' not in extras['mm']
    # `all` beside upstream packages must not bring the other family.
    assert 'onedl' not in extras['all']


#: A Python that gives another answer to one of the questions it is asked.
PYTHON = """#!/bin/sh
case "$*" in *{question}*) {answer};; *) exec {python} "$@";; esac
"""


@pytest.mark.parametrize(
    ('question', 'answer', 'remedy'),
    [
        ('version_info', 'echo 3.9', 'PYTHON='),
        ('version_info', 'echo 3.13', 'PYTHON='),
        ('ensurepip', 'exit 1', 'apt install python3.*-venv'),
        ('sysconfig', 'echo /nowhere', 'apt install python3.*-dev'),
        ('nothing', '', r'apt install g\+\+'),
    ],
    ids=['old', 'new', 'no venv', 'no headers', 'no compiler'],
)
def test_an_install_that_cannot_work_says_so_in_one_line(
    source, tmp_path, question, answer, remedy
):
    python = tmp_path / 'python'
    python.write_text(
        PYTHON.format(question=question, answer=answer, python=sys.executable)
    )
    python.chmod(0o755)
    result = subprocess.run(
        ['bash', str(source / 'requirements' / 'install.sh')],
        env={**os.environ, 'PYTHON': str(python), 'CXX': 'no-such-compiler'},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert re.search(remedy, line)
    # Before anything was made or downloaded.
    assert result.stdout == ''
    assert not (source / '.venv').exists()


@pytest.mark.parametrize(
    ('settings', 'told'),
    [
        ({}, ''),
        (dict(TORCH_ARGS='--index-url here'), ''),
        (dict(TORCH_ARGS='--index-url there'), "TORCH_ARGS='--index-url ther"),
        (dict(PYTHON='{other}'), 'PYTHON=/'),
        (dict(PYTHON='{same}'), ''),
        (dict(PYTHON='no-such-python'), 'PYTHON=no-such-python is not what'),
    ],
)
def test_a_filled_venv_says_which_settings_change_nothing(
    source, tmp_path, settings, told
):
    def python(path, question, answer):
        text = PYTHON.format(
            question=question, answer=answer, python=sys.executable
        )
        path.write_text(text)
        path.chmod(0o755)
        return path

    files = 'build runtime mminstall optional structure deploy tests'.split()
    read = 'setup.py requirements/install.sh'.split()
    read += [f'requirements/{file}.txt' for file in files]
    key = subprocess.check_output(
        ['bash', '-c', f'{{ pwd; cat {" ".join(read)}; }} | cksum'],
        cwd=source,
        text=True,
    )
    pythons = dict(
        other=python(tmp_path / 'other', 'version_info', 'echo 3.9'),
        same=python(tmp_path / 'same', 'nothing', ''),
    )
    venv = source / '.venv'
    (venv / 'bin').mkdir(parents=True)
    try:
        python(venv / 'bin' / 'python', 'find_spec', 'exit 0')
        stamp = f'{key}TORCH_ARGS=--index-url here\n'
        (venv / 'epsd_mm.stamp').write_text(stamp)
        given = {n: v.format(**pythons) for n, v in settings.items()}
        result = subprocess.run(
            ['bash', 'requirements/install.sh'],
            cwd=source,
            env={**os.environ, 'PYTHON': 'python3', 'TORCH_ARGS': '', **given},
            capture_output=True,
            text=True,
        )
    finally:
        shutil.rmtree(venv)
    assert (result.returncode, result.stderr) == (0, '')
    lines = result.stdout.splitlines()
    assert len(lines) == bool(told)
    for line in lines:
        assert line.startswith(f'== {told}') and "'rm -rf .venv' first" in line
