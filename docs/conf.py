"""How the pages of this folder become a site: ``make docs``."""

import sys
from pathlib import Path

import epsd_mm

sys.path.append(str(Path(__file__).parent))

import draw_bccd  # noqa: E402

project = 'epsd_mm'
author = 'The epsd_mm authors'
copyright = '2026, the epsd_mm authors'
version = release = epsd_mm.__version__

extensions = ['myst_nb', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
exclude_patterns = ['_build', '_made']

# Links to sections, such as method.md#channels.
myst_heading_anchors = 3

# The tutorial runs each time the site is built, and must run to its end.
nb_execution_mode = 'force'
nb_execution_raise_on_error = True
nb_execution_timeout = 1200  # seconds a cell, on a busy machine
nb_merge_streams = True

autodoc_member_order = 'bysource'
# Docstrings say what signatures cannot; those without types need none.
autodoc_typehints = 'description'
autodoc_typehints_description_target = 'documented'
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = 'furo'
html_title = f'epsd_mm {release}'
html_show_sphinx = False
html_static_path = ['_static']
html_css_files = ['site.css']


def setup(app) -> None:
    """Draw what cannot be committed, and show it where it belongs."""
    app.connect('builder-inited', lambda app: draw_bccd.draw())
    # The data may have come, or gone, since the page was read.
    app.connect('env-get-outdated', lambda *unused: [draw_bccd.PAGE])
    app.connect('source-read', _with_photographs)


def _with_photographs(app, page: str, source: list[str]) -> None:
    if page == draw_bccd.PAGE:
        source[0] = draw_bccd.shown_in(source[0])
