"""The pictures of README are drawn by what stands beside them."""

import importlib.util
import json
import re
import runpy
import tarfile
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from epsd_mm.benchmark.suite import Suite
from epsd_mm.datasets.drawn_voc import generate_voc

DOCS = Path(__file__).parents[1] / 'docs'
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


@pytest.mark.parametrize('name', ['flow', 'results'])
def test_pictures_are_dark_where_the_screen_of_their_reader_is(name):
    drawing = (DOCS / f'{name}.svg').read_text()
    style = '@media (prefers-color-scheme: dark) { svg { filter: invert'
    assert drawing.count(style) == 1
    # On white, opaque: no letter stands on the page behind.
    assert '#ffffff' in drawing


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


@pytest.fixture(scope='module')
def script():
    return runpy.run_path(str(DOCS / 'draw_results.py'))


def test_results_are_drawn_by_the_command_that_stands_beside_them(script):
    for page in (DOCS.parent / 'README.md', DOCS / 'index.md'):
        assert 'python docs/draw_results.py' in page.read_text()
    drawn = words(script['drawing']())
    assert drawn == words((DOCS / 'results.svg').read_text())
    for said in ('top-1,', 'mAP50', '10 pairs', '3 pairs', '95%', '98%'):
        assert said in ' '.join(drawn)


def exported(study):
    """Values by method, sparsity and seed, of the file itself."""
    suite, results = (DOCS.parent / path for path in study)
    metric = f'metric/{next(iter(Suite.load(suite).setups.values())).metric}'
    values = defaultdict(dict)
    for cell in json.loads(results.read_text())['cells']:
        spec, (value, _) = cell['spec'], cell['metrics'][metric]
        values[spec['method'], spec['sparsity']][spec['seed']] = value
    return values


@pytest.mark.parametrize('name', ['CLASSIFIER', 'DETECTOR'])
def test_every_method_and_sparsity_of_a_study_is_drawn(script, name):
    found = script['reached'](script['comparison_of'](script[name]))
    values = exported(script[name])
    assert {(a.method, a.sparsity) for a in found} == set(values)
    for arm, summary in found.items():
        of = np.array([*values[arm.method, arm.sparsity].values()])
        # Quantiles of Student's t, from a table.
        t = {3: 4.302653, 10: 2.262157}[len(of)]
        half = t * of.std(ddof=1) / len(of) ** 0.5
        assert summary.mean == pytest.approx(of.mean())
        ends = of.mean() - half, of.mean() + half
        assert summary.interval() == pytest.approx(ends, rel=1e-6)


@pytest.mark.parametrize('name', ['CLASSIFIER', 'DETECTOR'])
def test_what_could_not_be_told_and_did_not_help_is_drawn_too(script, name):
    pairs = script['gained'](script['comparison_of'](script[name]))
    values = exported(script[name])
    told = set()
    for (own, other), found in pairs.items():
        one, two = (values[arm.method, arm.sparsity] for arm in (own, other))
        of = np.mean([one[seed] - two[seed] for seed in one])
        assert found.mean == pytest.approx(of)
        told.add((own.method, other.method, own.sparsity))
    sparsities = {sparsity for _, sparsity in values} - {None}
    assert told == {('SD only', 'dense', None)} | {
        ('EPSD', other, sparsity)
        for other in ('Random', 'Simple Combination')
        for sparsity in sparsities
    }
    assert any(found.low < 0 < found.high for found in pairs.values())
    assert any(found.mean < 0 for found in pairs.values())


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """The script for BCCD's page, where there is no data."""
    path = DOCS / 'draw_bccd.py'
    spec = importlib.util.spec_from_file_location('draw_bccd', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, 'DATA', tmp_path / 'bccd')
    monkeypatch.setattr(module, 'ARCHIVE', tmp_path / 'bccd.tar')
    monkeypatch.setattr(module, 'PICTURE', tmp_path / 'made' / 'bccd.jpg')
    monkeypatch.setattr(module, 'FOUND', tmp_path / 'detections')
    return module


def drawn_instead(folder):
    """A set in the layout of BCCD, of images that may be published."""
    kinds = ('RBC', 'WBC', 'Platelets')
    root = generate_voc(folder, train=1, test=4, size=96, classes=kinds)
    return root / 'VOC2007'


def test_without_its_data_the_page_says_what_brings_it(photographs):
    page = (DOCS / f'{photographs.PAGE}.md').read_text()
    assert page.count(photographs.MARK) == 1
    assert not photographs.draw()
    shown = photographs.shown_in(page)
    assert 'python tools/prepare_data.py bccd`, then `make docs`' in shown
    assert '_made' not in shown and photographs.MARK not in shown
    with pytest.raises(SystemExit, match='prepare_data.py bccd'):
        photographs.main()


def printed(photographs, name, *lines):
    """What run.py has said of a test image, as it is committed."""
    photographs.FOUND.mkdir(exist_ok=True)
    said = (*lines, f'{len(lines)} objects with a score of 0.5: {name}.png')
    (photographs.FOUND / f'{name}.txt').write_text('\n'.join(said) + '\n')


def names_of(root):
    return (root / 'ImageSets/Main/test.txt').read_text().split()


@pytest.mark.parametrize('packed', [False, True])
def test_with_its_data_the_page_shows_what_is_annotated_and_found(
    photographs, packed, tmp_path
):
    root = drawn_instead(tmp_path / 'drawn')
    for name in names_of(root)[:3]:
        printed(photographs, name)
    if packed:
        with tarfile.open(photographs.ARCHIVE, 'w') as archive:
            archive.add(root, 'BCCD')
    else:
        root.rename(photographs.DATA)
    assert photographs.draw()
    page = (DOCS / f'{photographs.PAGE}.md').read_text()
    assert '](../_made/bccd.jpg)' in photographs.shown_in(page)
    assert Image.open(photographs.PICTURE).size == (2 * 96, 3 * 96)


def framed(changed, box):
    """Whether something is drawn at the right and at the lower side."""
    left, top, right, bottom = box
    across, down = (left + right) // 2, (top + bottom) // 2
    return all(
        changed[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3].any()
        for x, y in ((right, down), (across, bottom))
    )


def test_boxes_are_where_objects_are_annotated_and_found(
    photographs, tmp_path
):
    root = drawn_instead(tmp_path)
    first, *_ = names_of(root)
    found = (20, 30, 60, 80)
    printed(photographs, first, '0.913    20.0    30.0    60.0    80.0  WBC')
    drawn = photographs.side_by_side(root).astype(int)
    plain = np.array(Image.open(root / f'JPEGImages/{first}.jpg')).astype(int)
    left, right = (
        np.abs(half - plain).max(axis=-1) > 40
        for half in (drawn[:, :96], drawn[:, 96:])
    )
    boxes = [
        [int(side.text) - 1 for side in box]
        for box in ElementTree.parse(root / f'Annotations/{first}.xml').iter(
            'bndbox'
        )
    ]
    assert boxes
    assert all(framed(left, box) for box in boxes)
    assert framed(right, found)


def test_what_was_found_in_other_images_is_not_drawn(photographs, tmp_path):
    root = drawn_instead(tmp_path)
    printed(photographs, 'elsewhere')
    with pytest.raises(FileNotFoundError, match='no test image of'):
        photographs.side_by_side(root)


def test_photographs_are_not_committed():
    ignored = (DOCS.parent / '.gitignore').read_text().splitlines()
    assert 'docs/_made/' in ignored


def test_notebooks_are_committed_without_what_they_print():
    notebooks = [
        path for path in DOCS.rglob('*.ipynb') if '_build' not in path.parts
    ]
    assert [path.name for path in notebooks] == ['tutorial.ipynb']
    for path in notebooks:
        for cell in json.loads(path.read_text())['cells']:
            assert not cell.get('outputs')
            assert cell.get('execution_count') is None
