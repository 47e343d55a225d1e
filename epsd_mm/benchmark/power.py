"""What a test could have seen, told for a reader."""

import math

from .statistics import detectable_difference, fewest_pairs
from .wording import pair_count

_MOSTLY = 'four times in five'


def would_have_seen(std: float, n: int, level: float) -> str:
    """What the test of n pairs could see, or how many pairs it takes.

    Args:
        std: Spread of their differences.
        n: Their number.
        level: Of the test.

    Returns:
        A part of a sentence; empty for a single pair and without spread.
    """
    seen = detectable_difference(std, n, level)
    if math.isnan(seen):
        return ''
    if math.isfinite(seen):
        return f'a difference of {seen:.2g} would have been seen {_MOSTLY}'
    more = would_see(std, fewest_pairs(level), level)
    return f'so few can show no difference at {level:.3g}; {more}'


def would_see(std: float, n: int, level: float) -> str:
    """What so many pairs would see, were they spread like this.

    Args:
        std: Spread of differences.
        n: Enough pairs for a p as low as the level.
        level: Of the test.

    Returns:
        A part of a sentence; empty without spread.
    """
    seen = detectable_difference(std, n, level)
    if math.isnan(seen):
        return ''
    return (
        f'{pair_count(n)} of this spread would show a difference of '
        f'{seen:.2g} {_MOSTLY}'
    )
