"""A page in HTML: what is text stays text, what is a number stands so."""

import re

import pytest

from epsd_mm.pages import Figure, Section, Table, html_page
from tests.helpers.tags import Tags


def page_of(*blocks, **options):
    return html_page('T', 'lead', [Section('S', ['text'], blocks)], **options)


def cells(page):
    return re.findall(r'<td class="(.*?)">(.*?)</td>', page)


def test_every_tag_is_closed_and_every_link_has_its_place():
    parts = [Section(f'part {i}', [], []) for i in range(3)]
    tags = Tags()
    tags.feed(html_page('a', 'b', parts))
    assert tags.open == []
    assert {'s0', 's1', 's2'} <= tags.ids
    assert [link for link in tags.links if link] == ['#s0', '#s1', '#s2']


def test_in_the_dark_drawings_are_dark_and_photographs_as_they_are():
    style = re.search('<style>(.*)</style>', page_of(), re.S).group(1)
    inverted = re.findall(r'([^{}]*) \{ filter: invert', style)
    assert inverted == [' figure svg:not(:has(image))']
    assert style.count('{') == style.count('}')


@pytest.mark.parametrize('text', ['<b>', 'a & b', '"x"'])
def test_text_is_no_markup_wherever_it_stands(text):
    table = Table([text, ''], [[text, text]], folded=text)
    drawing = Figure('f', '<svg></svg>', text)
    page = html_page(text, text, [Section(text, [text], [table, drawing])])
    assert '<b>' not in re.sub(r'<body>|<table .*?>', '', page)
    tags = Tags()
    tags.feed(page)
    assert tags.open == []


@pytest.mark.parametrize(
    'number', ['3', '1,234', '−0.5', '+1.2e-3', '12 %', '12.5%', '4 GiB']
)
def test_numbers_are_told_from_text(number):
    page = page_of(Table(['name', 'value'], [['three', number]]))
    assert cells(page) == [('', 'three'), ('number', number)]


def test_what_a_verdict_is_has_a_tone():
    def tone(text):
        return 'for' if text == 'yes' else ''

    page = page_of(Table(['claim', ''], [['a', 'yes']]), tone=tone)
    assert ('verdict for', 'yes') in cells(page)


def test_names_and_what_they_are_have_no_heading():
    page = page_of(Table(['', ''], [['seed', '3']]))
    assert '<thead>' not in page and 'class="named"' in page
