"""What README.md shows works as it stands there."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config

from epsd_mm.engine import EPSDHook
from epsd_mm.families.observers import build_observer
from epsd_mm.registry import CRITERIA, build_criterion, build_sd_loss
from tests.helpers.families import tiny_rtmdet, tiny_yolox
from tests.helpers.models import (
    tiny_atss,
    tiny_cascade,
    tiny_faster_rcnn,
    tiny_fcos,
    tiny_retinanet,
    tiny_ssd,
)
from tests.helpers.queries import tiny_dino

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


def row(name):
    """What the table of README says of it, without what is in brackets."""
    (cell,) = re.findall(rf'^\| {name} \| (.*) \|$', README, re.M)
    return re.sub(r' \([^)]*\)', '', cell)


def test_fits_two_screens():
    assert len(README.splitlines()) <= 120


def test_table_has_the_criteria_that_there_are():
    named = row('criteria').split(', ')
    own = {
        name
        for name, kind in CRITERIA.module_dict.items()
        if kind.__module__.startswith('epsd_mm.')
    }
    assert sorted(named) == sorted(own)
    assert [type(build_criterion(name)).__name__ for name in named] == named


def test_table_has_losses_that_can_be_built():
    named = row('self-distillation').split(':')[0].split(', ')
    kinds = [name.replace('-', '') + 'Loss' for name in named]
    assert [type(build_sd_loss(kind)).__name__ for kind in kinds] == kinds


DETECTORS = {
    'Faster': tiny_faster_rcnn,
    'Cascade R-CNN': tiny_cascade,
    'RetinaNet': tiny_retinanet,
    'SSD': tiny_ssd,
    'FCOS': tiny_fcos,
    'ATSS': tiny_atss,
    'RTMDet': tiny_rtmdet,
    'YOLOX': tiny_yolox,
    'DINO': tiny_dino,
}


def test_table_has_the_detectors_that_are_tried_here():
    listed = row('self-distillation').split('object by object, ')[1]
    listed = listed.split(';')[0]
    assert re.split(', | and ', listed) == list(DETECTORS)


@pytest.mark.parametrize('build', DETECTORS.values(), ids=DETECTORS)
def test_a_detector_of_the_table_shows_its_objects(build):
    build_observer(build())
