"""A page that stands alone, says what there is, and is the same each time."""

import re
from xml.etree import ElementTree

import pytest

from epsd_mm.benchmark.report import write_report
from tests.helpers.suites import (
    METRIC,
    compared,
    lay_log,
    lay_masks,
    suite_of,
)
from tests.helpers.tags import Tags

METHODS = {
    'dense': dict(variant='dense'),
    'SD': dict(variant='sd-only'),
    'combination & more': dict(variant='simple-combination'),
    'EPSD <ours>': dict(),
}
CLAIM = dict(
    name='C1',
    setup='a',
    first='EPSD <ours>',
    second='combination & more',
    sparsity=0.9,
)
FLOORS = {'scoring/stability': 0.75, 'scoring/noise_floor': 0.875}


def metrics(cell):
    own = 0.5 * list(METHODS).index(cell.method.name)
    return {
        METRIC: 50.0 + 3 * cell.seed + own + 0.1 * (-1) ** cell.seed,
        'metric/calibration/ece': 0.125,
        'training/iterations': 400.0,
        'training/iteration_time': 0.25 + 0.125 * own,
        **(FLOORS if cell.method.prunes else {}),
    }


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """A comparison whose cells have left masks and logs."""
    folder = tmp_path_factory.mktemp('suite')
    suite = suite_of(folder, METHODS, seeds=6, claims=[CLAIM])
    comparison = compared(suite, metrics)
    for cell in suite.cells:
        if cell.method.name != 'dense':
            lay_log(folder, cell, {10: 0.25, 20: 0.5 + cell.seed})
        if cell.method.prunes:
            start = 5 if 'EPSD' in cell.method.name else 0
            kept = dict(conv=range(start, start + 10), fc=[cell.seed])
            lay_masks(folder, cell, kept)
    return comparison, folder


@pytest.fixture(scope='module')
def pages(made, tmp_path_factory):
    out = tmp_path_factory.mktemp('report')
    write_report(*made, out)
    return {path.name: path.read_text() for path in out.iterdir()}


def test_the_page_stands_alone_and_is_whole(pages):
    tags = Tags()
    tags.feed(pages['report.html'])
    assert tags.open == []
    links = [link for link in tags.links if link]
    assert links and all(link.startswith('#') for link in links)
    anchors = [link for link in links if link.startswith('#s')]
    assert {link[1:] for link in anchors} <= tags.ids
    assert 'url(http' not in pages['report.html']


def test_names_are_not_taken_for_tags(pages):
    page = pages['report.html']
    assert '<ours>' not in page and 'EPSD &lt;ours&gt;' in page
    assert 'A suite &lt;of&gt; tests' in page


def test_the_verdict_comes_first(pages):
    for page in ('report.html', 'report.md'):
        text = pages[page]
        assert text.index('supported') < text.index('Claims, one by one')
        assert text.index('can test EPSD') < text.index('Claims, one by one')


def test_drawings_are_whole_and_their_text_is_text(pages):
    drawings = {n: t for n, t in pages.items() if n.endswith('.svg')}
    assert set(drawings) == {
        f'a_{name}.svg'
        for name in (
            *('results', '0.9_differences', 'first_steps', 'costs'),
            *('0.9_overlap', '0.9_density'),
        )
    }
    for name, drawing in drawings.items():
        root = ElementTree.fromstring(drawing)
        assert root.tag.endswith('svg')
        words = ' '.join(root.itertext())
        assert 'combination & more' in words, name
        assert f'({name})' in pages['report.md']


def test_a_report_of_the_same_results_is_the_same(made, pages, tmp_path):
    write_report(*made, tmp_path)
    for name, text in pages.items():
        assert (tmp_path / name).read_text() == text


def test_rows_of_markdown_have_a_cell_for_each_heading(pages):
    tables = re.findall(r'(?:^\|.*\n)+', pages['report.md'] + '\n', re.M)
    assert len(tables) > 8
    for table in tables:
        widths = {
            len(re.split(r'(?<!\\)\|', row)) for row in table.splitlines()
        }
        assert len(widths) == 1, table


def test_overlaps_stand_beside_what_halves_seeds_and_chance_share(pages):
    text = pages['report.md']
    row = next(
        x for x in text.splitlines() if x.startswith('| EPSD <ours> | 0.7')
    )
    # 10 of 100 and 1 of 100 are kept: chance shares (10²/100 + 1²/100) / 11;
    # two seeds share the 10, and not the one.
    seeds, chance = f'{10 / 11:.3f}', f'{1.01 / 11:.3f}'
    assert row == f'| EPSD <ours> | 0.750 | 0.875 | {seeds} | {chance} |'
    drawing = ' '.join(
        ElementTree.fromstring(pages['a_0.9_overlap.svg']).itertext()
    )
    # 5 of the 10 and the one of the other layer; halves on the diagonal
    assert f'{6 / 11:.2f}' in drawing and '0.75' in drawing


def test_costs_are_relative_to_dense(pages):
    row = next(x for x in pages['report.md'].splitlines() if '| 175 s |' in x)
    # 400 iterations in 200 epochs; a partner doubles the images
    cells = [cell.strip() for cell in row.strip('|').split('|')]
    assert cells[0] == 'EPSD <ours> at 0.9'
    assert cells[2:5] == ['0.875 s', '175 s', '1.75']
    assert cells[6:8] == ['102,400', '2.00']


def test_what_is_gone_is_left_out(made, tmp_path):
    comparison, _ = made
    write_report(comparison, tmp_path / 'nowhere', tmp_path / 'out')
    text = (tmp_path / 'out' / 'report.md').read_text()
    assert 'Masks at' not in text and 'first steps' not in text
    assert 'All 24 cells are finished.' in text


def test_names_of_setups_make_no_folders(tmp_path):
    suite = suite_of(tmp_path, {'EPSD': dict()}, seeds=1)
    content = suite.path.read_text().replace("{'a':", "{'../a b':")
    suite.path.write_text(content)
    comparison = compared(
        type(suite).load(suite.path), metrics=lambda c: {METRIC: 1.0}
    )
    out = tmp_path / 'out'
    write_report(comparison, tmp_path, out)
    (drawing,) = out.rglob('*.svg')
    assert drawing.parent == out
    assert drawing.name.startswith('.._a_b_results_')
