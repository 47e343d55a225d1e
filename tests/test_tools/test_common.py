"""What both tools share: the config that the command line asks for."""

from argparse import ArgumentParser

import pytest


def load(common, config, *argv):
    parser = ArgumentParser()
    parser.add_argument('config')
    parser.add_argument('--work-dir')
    common.add_arguments(parser)
    args = parser.parse_args([str(config), *argv])
    return common.resolve(args, common.run_of(args))


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(
        "default_scope = 'mmdet'\n"
        "default_hooks = dict(epsd=dict(type='EPSDHook', sparsity=0.9))\n"
    )
    return path


def test_options_reach_the_hook(tool, config):
    options = ['--cfg-options', 'default_hooks.epsd.sparsity=0.95']
    cfg = load(tool('common'), config, *options)
    assert cfg.default_hooks.epsd == dict(type='EPSDHook', sparsity=0.95)


def test_work_dir_command_line_then_config_then_name(tool, config):
    common = tool('common')
    assert load(common, config).work_dir == './work_dirs/mine'
    options = ['--cfg-options', 'work_dir=in/config']
    assert load(common, config, *options).work_dir == 'in/config'
    options += ['--work-dir', 'on/line']
    assert load(common, config, *options).work_dir == 'on/line'


def test_configs_of_two_compact_networks_train_into_two_folders(
    tool, config, monkeypatch
):
    common = tool('common')
    for name in ('half', 'quarter'):
        folder = config.parent / name
        folder.mkdir()
        inside = folder / 'config.py'
        inside.write_text(config.read_text())
        assert load(common, inside).work_dir == f'./work_dirs/{name}'
    monkeypatch.chdir(folder)
    assert load(common, 'config.py').work_dir == './work_dirs/quarter'


def test_a_launcher_in_the_options_comes_before_that_of_the_line(tool, config):
    common = tool('common')
    assert load(common, config).launcher == 'none'
    assert load(common, config, '--launcher', 'mpi').launcher == 'mpi'
    options = ['--launcher', 'mpi', '--cfg-options', 'launcher=slurm']
    assert load(common, config, *options).launcher == 'slurm'
