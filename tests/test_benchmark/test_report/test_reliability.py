"""Risk against coverage, of those cells that have kept predictions."""

import numpy as np
import pytest

from epsd_mm.benchmark.folders import Folders
from epsd_mm.benchmark.report import reliability as module
from epsd_mm.benchmark.report.reliability import reliability
from epsd_mm.evaluation import Predictions
from epsd_mm.pages import Figure, Table
from epsd_mm.run_files import PREDICTIONS
from tests.helpers.suites import METRIC, compared, suite_of

METHODS = {'dense': dict(variant='dense'), 'EPSD': dict()}


@pytest.fixture(scope='module')
def comparison(tmp_path_factory):
    suite = suite_of(tmp_path_factory.mktemp('suite'), METHODS)
    return compared(suite, lambda cell: {METRIC: 50.0})


def lay(comparison, cells, seeds, wrong, of='images'):
    """Ten predictions a cell, of which the least confident are wrong."""
    for cell, _ in comparison.finished:
        if cell.seed not in seeds:
            continue
        count = wrong + cell.seed
        predictions = Predictions(
            np.linspace(0.95, 0.5, 10, dtype=np.float32),
            np.arange(10) < 10 - count,
            sought=10,
            of=of,
        )
        (cells / cell.key).mkdir()
        predictions.save(cells / cell.key / PREDICTIONS)


def section(comparison, cells):
    return reliability(comparison, Folders(comparison, cells), 'a')


def curves_of(comparison, cells, monkeypatch):
    """What is drawn."""
    drawn = {}
    monkeypatch.setattr(
        module.figures,
        'risk_coverage',
        lambda coverage, curves: drawn.update(curves) or '<svg/>',
    )
    section(comparison, cells)
    return drawn


def test_where_nothing_is_known_of_confidence_nothing_is_said(
    comparison, tmp_path
):
    assert section(comparison, tmp_path) is None


def test_curves_are_means_over_seeds_with_their_intervals(
    comparison, tmp_path, monkeypatch
):
    lay(comparison, tmp_path, range(3), wrong=2)
    drawn = curves_of(comparison, tmp_path, monkeypatch)
    assert set(drawn) == {'dense', 'EPSD at 0.9'}
    mean, low, high = drawn['dense']
    # 2, 3 and 4 of ten; t(2) = 4.3027, standard deviation 0.1
    assert mean[-1] == pytest.approx(0.3)
    assert high[-1] - mean[-1] == pytest.approx(4.3027 * 0.1 / 3**0.5, 1e-4)
    assert mean[-1] - low[-1] == pytest.approx(high[-1] - mean[-1])
    assert mean[0] == 0


def test_two_seeds_have_no_interval(comparison, tmp_path, monkeypatch):
    lay(comparison, tmp_path, range(2), wrong=2)
    drawn = curves_of(comparison, tmp_path, monkeypatch)
    assert np.ptp(drawn['dense'], axis=0).max() == 0


def test_cells_without_predictions_are_counted_and_left_out(
    comparison, tmp_path
):
    lay(comparison, tmp_path, [0], wrong=2)
    found = section(comparison, tmp_path)
    assert any(text.startswith('6 finished cells') for text in found.text)
    figure, table = found.blocks
    assert isinstance(figure, Figure) and isinstance(table, Table)
    assert '<svg' in figure.svg
    # of the five most confident none is wrong, of all ten two are
    method, half, _, everything, error, seeds = table.rows[0]
    assert (method, half, everything, seeds) == (
        'dense',
        '0.000',
        '0.200',
        '1',
    )


@pytest.mark.parametrize('of', ['images', 'objects'])
def test_what_coverage_is_depends_on_the_task(of, comparison, tmp_path):
    lay(comparison, tmp_path, range(3), wrong=1, of=of)
    said = ' '.join(section(comparison, tmp_path).text)
    assert ('test images' in said) == (of == 'images')
    assert ('share of the objects' in said) == (of == 'objects')


def test_a_detector_that_finds_too_little_ends_its_curve(comparison, tmp_path):
    for cell, _ in comparison.finished:
        (tmp_path / cell.key).mkdir()
        Predictions(
            np.float32([0.9] * (cell.seed + 1)),
            np.array([True] * (cell.seed + 1)),
            sought=4,
            of='objects',
        ).save(tmp_path / cell.key / PREDICTIONS)
    figure, table = section(comparison, tmp_path).blocks
    assert table.rows[0][1:4] == ['', '', '']
