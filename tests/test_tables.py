"""Tables show each cell as it is, where its column is."""

import pytest

from epsd_mm.tables import markdown_table, text_table

NAMES = ['a', '[ab].weight', '[/red]', ':star:', '1 < 2', 'x' * 60]


def cells(text):
    return [
        [cell.strip() for cell in line.split('│')[1:-1]]
        for line in text.splitlines()
        if '│' in line
    ]


@pytest.mark.parametrize('name', NAMES)
def test_a_name_is_shown_as_it_is(name):
    assert cells(text_table('t', ['name', 'n'], [[name, '1']])) == [
        [name, '1']
    ]


def test_numbers_stand_at_the_right_and_the_total_below_a_line():
    text = text_table(
        'Title', ['name', 'n'], [['a', '1']], total=['all', '10']
    )
    lines = text.splitlines()
    assert lines[0].strip() == 'Title'
    assert lines[-4:] == [
        '│ a    │  1 │',
        '├──────┼────┤',
        '│ all  │ 10 │',
        '└──────┴────┘',
    ]
    assert text.endswith('\n')


def test_columns_are_aligned_as_told():
    text = text_table('', ['number', 'word'], [['1', 'a']], align='rl')
    assert '│      1 │ a    │' in text.splitlines()


@pytest.mark.parametrize('align', ['l', 'lrr'])
def test_an_alignment_of_other_columns_is_refused(align):
    with pytest.raises(ValueError):
        text_table('', ['a', 'b'], [], align=align)


def test_a_table_is_as_wide_as_told_at_most():
    text = text_table('', ['name'], [['word ' * 40]], width=50)
    assert max(map(len, text.splitlines())) <= 50


def test_markdown_keeps_its_columns_whatever_a_cell_holds():
    text = markdown_table(['a', '|A|'], [['x | y', 'two\nlines'], ['', '1']])
    assert text == (
        '| a | \\|A\\| |\n| --- | --- |\n| x \\| y | two lines |\n|  | 1 |\n'
    )
