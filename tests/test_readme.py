"""What README.md shows works as it stands there."""

import re
from pathlib import Path

from mmengine.config import Config

from epsd_mm.engine import EPSDHook
from epsd_mm.registry import CRITERIA, build_criterion

README = (Path(__file__).parents[1] / 'README.md').read_text()


def blocks(language):
    return re.findall(rf'```{language}\n(.*?)```', README, re.S)


def test_first_two_commands_are_demo_and_test():
    assert blocks('bash')[0].split('\n')[:2] == ['make demo', 'make test']


def test_config_lines_turn_a_config_of_mmdet(tmp_path):
    base = 'mmdet::pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py'
    lines = blocks('python')[0]
    assert 5 <= len(lines.splitlines()) <= 10
    path = tmp_path / 'config.py'
    path.write_text(f'_base_ = {base!r}\n{lines}')
    cfg = Config.fromfile(str(path))
    settings = dict(cfg.default_hooks.epsd)
    assert settings.pop('type') == 'EPSDHook'
    assert EPSDHook(**settings).settings.sparsity == 0.9
    sampler = cfg.train_dataloader.batch_sampler
    assert sampler.type == 'ClassPairBatchSampler'
    assert sampler.base.type == 'AspectRatioBatchSampler'


def test_example_criterion_can_be_named_in_a_config():
    try:
        exec(blocks('python')[1], {})
        criterion = build_criterion('GradientMagnitude')
        assert criterion.steps_per_draw == 1
    finally:
        CRITERIA.module_dict.pop('GradientMagnitude', None)
