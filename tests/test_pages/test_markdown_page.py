"""A page in Markdown, whose drawings are files."""

from epsd_mm.pages import Figure
from epsd_mm.pages.markdown_page import file_of


def test_no_two_drawings_have_one_file():
    names = ['a b_results', 'a/b_results', 'a_b_results']
    files = [file_of(Figure(name, '<svg/>', '')) for name in names]
    assert len({*files}) == 3
    assert files[-1] == 'a_b_results.svg'
    assert not any('/' in file or ' ' in file for file in files)
