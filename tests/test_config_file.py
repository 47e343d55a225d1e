"""A config that cannot be read is told with its remedy."""

import pytest

from epsd_mm import config_path
from epsd_mm.config_file import read_config
from epsd_mm.config_types import epsd_hook
from epsd_mm.runs import Run

# Those have hooks of their own.
BASES = [
    'mmdet::ssd/ssd300_coco.py',
    'mmdet::yolox/yolox_tiny_8xb8-300e_coco.py',
    'mmpretrain::convnext/convnext-tiny_32xb128_in1k.py',
    'mmpretrain::deit/deit-base_16xb64_in1k.py',
]


@pytest.fixture
def write(tmp_path):
    def written(text):
        path = tmp_path / 'mine.py'
        path.write_text(text)
        return str(path)

    return written


@pytest.mark.parametrize('base', BASES)
def test_hooks_of_two_bases_are_told_with_a_way_that_works(base, write):
    piece = str(config_path('_base_/methods/rigl'))
    path = write(f'_base_ = [{base!r}, {piece!r}]')
    for read in (read_config, lambda path: Run(path).resolve()):
        with pytest.raises(ValueError) as told:
            read(path)
        for part in (path, "'custom_hooks'", '[*_base_.custom_hooks, dict('):
            assert part in str(told.value)
    hook = "dict(type='epsd_mm.engine.EPSDHook', sparsity=0.9)"
    theirs = len(read_config(write(f'_base_ = [{base!r}]')).custom_hooks)
    mine = f'_base_ = [{base!r}]\n'
    mine += f'custom_hooks = [*_base_.custom_hooks, {hook}]'
    cfg = read_config(write(mine))
    assert epsd_hook(cfg).sparsity == 0.9
    assert len(cfg.custom_hooks) == theirs + 1


def test_another_key_of_two_bases_is_told_without_hooks(tmp_path, write):
    for name in 'ab':
        (tmp_path / f'{name}.py').write_text('seeds = [0]')
    with pytest.raises(ValueError, match="has 'seeds', which") as told:
        read_config(write("_base_ = ['a.py', 'b.py']"))
    assert 'hook' not in str(told.value)


def test_a_key_that_is_missing_is_told_as_python_does(write):
    with pytest.raises(KeyError, match='absent'):
        read_config(write("x = {}['absent']"))
