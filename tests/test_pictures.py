"""The pictures of README are drawn by what stands beside them."""

import json
import re
import runpy
from pathlib import Path
from xml.etree import ElementTree

import pytest

from epsd_mm.benchmark.comparison import Comparison
from epsd_mm.benchmark.export import read_json
from epsd_mm.benchmark.suite import Suite

DOCS = Path(__file__).parents[1] / 'docs'
STUDY = DOCS / 'study'
#: Of the width that a picture has on a phone, 400 pixels.
SMALLEST = 10 / 400


def words(drawing):
    return ' '.join(ElementTree.fromstring(drawing).itertext()).split()


def letters(drawing):
    """Sizes of letters, as shares of the width of a picture."""
    width = float(re.search(r'viewBox="0 0 (\S+) ', drawing).group(1))
    sizes = re.findall(r'font-size="(\S+?)"|font(?:-size)?: (\S+?)px', drawing)
    return [float(one or other) / width for one, other in sizes]


@pytest.mark.parametrize('name', ['flow', 'results'])
def test_letters_can_be_read_on_a_phone(name):
    sizes = letters((DOCS / f'{name}.svg').read_text())
    assert sizes and min(sizes) >= SMALLEST


def test_the_flow_is_what_its_script_draws():
    script = runpy.run_path(str(DOCS / 'draw_flow.py'))
    assert script['drawing']() == (DOCS / 'flow.svg').read_text()


def test_what_stands_in_a_box_of_the_flow_fits_it():
    script = runpy.run_path(str(DOCS / 'draw_flow.py'))
    width, _ = script['_BOX']
    for _, _, title, lines, tool in script['_STEPS']:
        # A letter is 0.56 of its size wide on the average, a bold one 0.6.
        assert 0.6 * 24 * len(title) < width
        for line in (*lines, f'tools/{tool}'):
            assert 0.56 * 21 * len(line) < width


def test_results_are_those_of_the_study_that_readme_names():
    readme = (DOCS.parent / 'README.md').read_text()
    suite, results = re.search(
        r'python docs/draw_results\.py\s+(\S+)\s+(\S+?)`', readme
    ).groups()
    script = runpy.run_path(str(DOCS / 'draw_results.py'))
    root = DOCS.parent
    comparison = Comparison(
        Suite.load(root / suite), read_json(root / results)
    )
    drawn = script['drawing'](comparison)
    assert words(drawn) == words((DOCS / 'results.svg').read_text())
    pairs = script['compared'](comparison, next(iter(comparison.suite.setups)))
    # What could not be told, and what did not help, is among them.
    assert any(found.low < 0 < found.high for found in pairs.values())
    assert any(found.mean < 0 for found in pairs.values())


def test_notebooks_are_committed_without_what_they_print():
    notebooks = [
        path for path in DOCS.rglob('*.ipynb') if '_build' not in path.parts
    ]
    assert [path.name for path in notebooks] == ['tutorial.ipynb']
    for path in notebooks:
        for cell in json.loads(path.read_text())['cells']:
            assert not cell.get('outputs')
            assert cell.get('execution_count') is None
