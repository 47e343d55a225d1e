"""How numbers are written."""

from collections.abc import Sequence

from ..statistics import Difference, Summary


def spread(summary: Summary | None, unit: str = '') -> str:
    """Mean ± standard deviation; nothing for no result."""
    if summary is None:
        return ''
    digits = digits_of(unit)
    shown = f'{summary.mean:.{digits}f}'
    if summary.n > 1:
        shown += f' ± {summary.std:.{digits}f}'
    return shown + unit


def interval(difference: Difference | None, unit: str = '') -> str:
    """Mean difference and its interval; nothing without pairs."""
    if difference is None:
        return ''
    values = [difference.mean]
    if difference.n > 1:
        values += [difference.low, difference.high]
    mean, *ends = (signed(value, digits_of(unit)) for value in values)
    shown = f'{mean} [{", ".join(ends)}]' if ends else mean
    return shown + difference_unit(unit)


def signed(value: float, digits: int) -> str:
    """A number with its sign, a true minus."""
    return f'{value:+.{digits}f}'.replace('-', '−')


def difference_unit(unit: str) -> str:
    """Percentages differ by points."""
    return ' points' if unit.strip() == '%' else unit


def digits_of(unit: str) -> int:
    """Decimals: a share has as many significant digits as a percentage."""
    return 2 if unit.strip() == '%' else 3


def span(values: Sequence[float], form: str = '{:.3g}') -> str:
    """Smallest and largest value, or the only one."""
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f'{low} – {high}'
