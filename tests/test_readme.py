"""What README.md shows works as it stands there."""

import importlib.util
import re
from pathlib import Path

import pytest
from mmengine.config import Config

from epsd_mm.distillation.losses import SelfDistillationLoss
from epsd_mm.engine import EPSDHook
from epsd_mm.families.observers import build_observer
from epsd_mm.registry import (
    ALLOCATIONS,
    CRITERIA,
    POLICIES,
    SD_LOSSES,
    STRUCTURES,
    build_criterion,
    build_sd_loss,
)
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

ROOT = Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()


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


def test_fits_two_screens():
    assert len(README.splitlines()) <= 120


@pytest.fixture
def supported():
    """The script that writes the table, as a module."""
    path = ROOT / 'docs/write_supported.py'
    spec = importlib.util.spec_from_file_location('write_supported', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table_is_what_its_script_writes(supported):
    assert supported.written(README) == README


def rows(table):
    return dict(re.findall(r'^\| (.+?) \| (.*) \|$', table, re.M))


def test_table_names_what_can_be_built_by_that_name():
    row = re.sub(r' \([^)]*\)', '', rows(README)['criteria'])
    named = row.split(', ')
    assert [type(build_criterion(name)).__name__ for name in named] == named
    losses = rows(README)['distillation'].split(', [')[0].split(', ')
    kinds = [name.replace('-', '') + 'Loss' for name in losses]
    assert [type(build_sd_loss(kind)).__name__ for kind in kinds] == kinds


@pytest.mark.parametrize(
    ('registry', 'row'),
    [
        (CRITERIA, 'criteria'),
        (SD_LOSSES, 'distillation'),
        (POLICIES, 'while training'),
        (STRUCTURES, 'what goes'),
        (ALLOCATIONS, 'what goes'),
    ],
)
def test_what_is_registered_comes_into_the_table(
    supported, monkeypatch, registry, row
):
    base = SelfDistillationLoss if registry is SD_LOSSES else object
    new = type('Quite_new', (base,), dict(__module__='epsd_mm.quite.new'))
    monkeypatch.setitem(registry.module_dict, 'Quite_new', new)
    assert 'Quite_new' in rows(supported.table())[row]
    # What a user or a test has registered does not.
    monkeypatch.setattr(new, '__module__', 'of.a.user')
    assert 'Quite_new' not in supported.table()


def test_table_names_nothing_that_is_gone(supported, monkeypatch):
    monkeypatch.delitem(CRITERIA.module_dict, 'SNIP')
    with pytest.raises(ValueError, match='to name SNIP, but there are FORCE'):
        supported.table()


def test_table_names_no_detector_that_is_not_exact(supported, monkeypatch):
    monkeypatch.setattr(supported, '_DETECTORS', ('SSD', 'PISA R-CNN'))
    with pytest.raises(ValueError, match='to name PISA R-CNN, but'):
        supported.table()


def test_table_needs_its_place(supported):
    with pytest.raises(ValueError, match='has not the lines'):
        supported.written(README.replace(supported.END, ''))


def test_table_has_the_number_of_detectors_that_were_tried():
    page = 'docs/detector_coverage.md'
    (text,) = re.findall(rf'in all \[([^]]*)\]\({page}\)', README)
    table = (ROOT / page).read_text()
    # The summary below, not the rows, which the script counts.
    (tried,) = re.findall(r'^Of (\d+) detectors:$', table, re.M)
    (exact,) = re.findall(r'^- all four: (\d+) exact$', table, re.M)
    assert text == f'{exact} of {tried} detectors tried'


DETECTORS = {
    'Faster R-CNN': tiny_faster_rcnn,
    'Cascade R-CNN': tiny_cascade,
    'RetinaNet': tiny_retinanet,
    'SSD': tiny_ssd,
    'FCOS': tiny_fcos,
    'ATSS': tiny_atss,
    'RTMDet': tiny_rtmdet,
    'YOLOX': tiny_yolox,
    'DINO': tiny_dino,
}


def test_table_has_the_detectors_that_are_tried_here(supported):
    assert [*DETECTORS] == [*supported._DETECTORS]


@pytest.mark.parametrize('build', DETECTORS.values(), ids=DETECTORS)
def test_a_detector_of_the_table_shows_its_objects(build):
    build_observer(build())
