"""Configs and checkpoints of earlier versions."""

import json
import logging

import pytest
from mmengine.logging import MMLogger

from epsd_mm.analysis import read_report
from epsd_mm.analysis.report_file import report_json
from epsd_mm.engine.identity import check_identity, identity
from epsd_mm.engine.settings import Settings
from epsd_mm.pruning import NM, Blocks, Rows
from tests.helpers.reports import REPORT


@pytest.fixture
def warnings():
    """What is logged at the level of warnings."""
    told = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: told.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield told
    logger.removeHandler(handler)


@pytest.mark.parametrize(
    'pattern, cls',
    [
        ('2:4', NM),
        ('channels', Rows),
        (dict(type='channels'), Rows),
        (dict(type='blocks', rows=4, columns=1), Blocks),
        (NM(1, 4), NM),
    ],
    ids=['n_of_m', 'name', 'config', 'blocks', 'object'],
)
def test_a_pattern_is_a_structure_and_is_told_once(pattern, cls, warnings):
    settings = Settings.build(sparsity=0.5, pattern=pattern)
    assert type(settings.structure) is cls
    (message,) = warnings
    assert f'pattern={pattern!r} is an old name: say structure=' in message
    present = Settings.build(sparsity=0.5, structure=settings.structure)
    assert identity(present) == identity(settings)
    assert len(warnings) == 1


def test_both_names_contradict():
    with pytest.raises(TypeError, match="structure='2:4'.*pattern='rows'"):
        Settings.build(sparsity=0.5, structure='2:4', pattern='rows')


@pytest.mark.parametrize(
    'structure, before',
    [
        ('rows', dict(type='Channels')),
        ('2:4', dict(type='NM', n=2, m=4)),
        (None, None),
    ],
)
def test_a_checkpoint_of_an_earlier_version_resumes(structure, before):
    settings = Settings.build(sparsity=0.5, structure=structure)
    saved = identity(settings)
    del saved['structure']
    check_identity(settings, dict(saved, pattern=before))
    with pytest.raises(ValueError, match='trained with structure='):
        other = dict(type='Blocks', rows=1, columns=1)
        check_identity(settings, dict(saved, pattern=other))


def test_a_report_of_an_earlier_version_is_read(tmp_path):
    report = json.loads(report_json(REPORT))
    structure = report.pop('structure')
    path = tmp_path / 'report.json'
    path.write_text(json.dumps(dict(report, pattern=structure)))
    assert read_report(path) == dict(REPORT, version=1)
