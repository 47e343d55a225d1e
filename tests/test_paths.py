"""Every path that the project names to its readers is there."""

import re

import pytest
import yaml

from tests.helpers.pages import PAGES, ROOT, name

LINK = re.compile(r'\]\((?!\w+:)([^)#]+)')
OWN = re.compile(
    r'(?<![\w/.\-{])((?:configs|docs|epsd_mm|requirements|tests|tools)/'
    r'[\w./\-]*\w)'
)
PLACEHOLDER = re.compile(r'(^|[/_])([A-Z]+|X)([/_.]|$)')


def paths_of(content):
    """What a metafile or an index names."""
    yield from content.get('Import', [])
    for model in content.get('Models', []):
        yield model['Config']
    for collection in content.get('Collections', []):
        yield collection['README']


def there(path):
    """Also without its ending, as a link to a page may be called."""
    return (ROOT / path).exists() or (ROOT / f'{path}.md').exists()


@pytest.mark.parametrize('page', PAGES, ids=name)
def test_pages_name_what_is_there(page):
    text = page.read_text()
    missing = [
        link
        for link in LINK.findall(text)
        if not (page.parent / link).exists()
    ]
    missing += [
        path
        for path in OWN.findall(text)
        if not PLACEHOLDER.search(path) and not there(path)
    ]
    assert missing == []


METAFILES = sorted(
    path
    for folder in ('configs', 'docs')
    for path in ROOT.glob(f'{folder}/**/*.yml')
)


@pytest.mark.parametrize('path', METAFILES, ids=name)
def test_metafiles_name_what_is_there(path):
    named = list(paths_of(yaml.safe_load(path.read_text())))
    assert named and [n for n in named if not (ROOT / n).exists()] == []


def test_a_path_that_is_gone_is_noticed():
    text = '`tools/gone.py` [page](gone.md) `configs/X.py` work/configs/a.py'
    assert LINK.findall(text) == ['gone.md']
    own = [p for p in OWN.findall(text) if not PLACEHOLDER.search(p)]
    assert own == ['tools/gone.py']


def ordered(page):
    """The pages that a page puts into the order of the site."""
    for tree in re.findall(r'```{toctree}\n(.*?)```', page.read_text(), re.S):
        for line in tree.splitlines():
            if line and not line.startswith(':'):
                # Alone, or behind its short name: `Bad boxes <bad_boxes>`.
                target = re.search(r'([^\s<>]+)>?$', line)[1]
                path = page.parent / f'{target}.md'
                # A notebook is a page as it is.
                if not path.with_suffix('.ipynb').exists():
                    yield path


def test_each_page_has_its_place_in_the_order_of_the_site():
    docs = [page for page in PAGES if page.is_relative_to(ROOT / 'docs')]
    order = [ROOT / 'docs/index.md']
    for page in order:
        order += ordered(page)
    assert sorted(order) == docs
