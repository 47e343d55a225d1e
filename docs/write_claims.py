"""Write the table of docs/benchmark_suite.md that says what reports ask.

    python docs/write_claims.py

The claims, and what each takes, are those of the report itself.
"""

from pathlib import Path

# The package repairs broken environments, so it is imported first.
import epsd_mm  # noqa: F401

# isort: split
from epsd_mm.benchmark.report.claims import CLAIMS
from epsd_mm.files import write_text

PAGE = Path(__file__).with_name('benchmark_suite.md')
BEGIN = '<!-- written by docs/write_claims.py -->'
END = '<!-- up to here -->'


def table() -> str:
    """The table, in Markdown."""
    rows = [f'| {c.name} | {c.says} | {c.needs} |' for c in CLAIMS]
    head = '| claim | what it says | what it takes |', '|---|---|---|'
    return '\n'.join((*head, *rows)) + '\n'


def written(page: str) -> str:
    """The page with the table in its place.

    Raises:
        ValueError: The page has not the two lines that it goes between.
    """
    before, begin, rest = page.partition(f'{BEGIN}\n')
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(
            f'{PAGE.name} has not the lines {BEGIN!r} and, behind it, '
            f'{END!r}: put both where the table is to stand'
        )
    return f'{before}{begin}{table()}{end}{after}'


if __name__ == '__main__':
    write_text(PAGE, written(PAGE.read_text()))
