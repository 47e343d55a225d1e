"""What paired runs say about a difference, and what they cannot say.

Runs of one seed share initialisation and data order, so that methods are
compared seed by seed: the differences vary less than the results do.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count

import numpy as np
from scipy import stats

#: From so many pairs on, intervals are bootstrapped instead of Student's.
BOOTSTRAP_FROM = 8
#: Below so many pairs nothing is claimed.
FEWEST_PAIRS = 3
#: Up to so many pairs all flips of signs are tried; above, a sample.
_EXACT_UP_TO = 18
_SAMPLED_FLIPS = 2**18
# The same for the power of that test, which simulates many of it: so many
# numbers at most, in so many trials.
_POWER_EXACT_UP_TO = 12
_SAMPLED_SUBSETS = 2**12
_POWER_WORK = 2**23
_FEWEST_TRIALS, _MOST_TRIALS = 2_000, 20_000
# Differences that differ by less than this share are equal but for rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Summary:
    """Results of one method over seeds.

    Attributes:
        mean: Their mean.
        std: Their standard deviation (n − 1); NaN for a single one.
        n: Their number.
    """

    mean: float
    std: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> 'Summary':
        """Summarise the results of at least one seed."""
        values = _checked(values)
        std = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
        return cls(float(np.mean(values)), std, len(values))

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Student's interval of the mean; NaN for a single result."""
        if self.n < 2:
            return math.nan, math.nan
        half = _half_width(self.std, self.n, confidence)
        return self.mean - half, self.mean + half


@dataclass(frozen=True)
class Difference:
    """The paired differences of two methods, first minus second.

    Attributes:
        mean: Mean difference.
        std: Standard deviation of the differences (n − 1).
        low: Lower end of the interval of the mean.
        high: Its upper end.
        interval: How the interval was made, ``'t'`` or ``'bootstrap'``;
            ``'none'`` for a single pair.
        p: Of the sign-flip test, two-sided.
        smallest_p: The smallest that so many pairs can reach.
        improvement: Probability that a run of the first method beats one of
            the second, whatever their seeds (Agarwal et al., NeurIPS 2021).
        seen_from: The difference in the mean that the test would have seen
            at the level 0.05 with a probability of 0.8, at this spread;
            infinite where so few pairs can show none, NaN for a single pair
            and where the differences do not vary.
        n: Number of pairs.
    """

    mean: float
    std: float
    low: float
    high: float
    interval: str
    p: float
    smallest_p: float
    improvement: float
    seen_from: float
    n: int


def paired_difference(
    first: Mapping[int, float],
    second: Mapping[int, float],
    confidence: float = 0.95,
) -> Difference:
    """Compare two methods over the seeds that both were run with.

    Args:
        first: Result by seed.
        second: Result by seed.
        confidence: Of the interval.

    Raises:
        ValueError: The two share no seed, or a result is not finite.
    """
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        raise ValueError(
            f'no seed was run with both methods: {sorted(first)} and '
            f'{sorted(second)}'
        )
    a = _checked([first[seed] for seed in seeds])
    b = _checked([second[seed] for seed in seeds])
    differences = a - b
    n = len(seeds)
    std = _spread(differences)
    low, high, how = _interval(differences, confidence)
    return Difference(
        mean=float(differences.mean()),
        std=std,
        low=low,
        high=high,
        interval=how,
        p=sign_flip_test(differences),
        smallest_p=smallest_p(n),
        improvement=probability_of_improvement(a, b),
        seen_from=detectable_difference(std, n),
        n=n,
    )


def sign_flip_test(differences: Sequence[float]) -> float:
    """Two-sided p of the hypothesis that signs of differences are chance.

    Under it each difference is as likely as its negative: p is the share of
    all flips whose mean is at least as far from zero as the observed one
    (Fisher's randomisation test). It assumes no distribution. Above 18 pairs
    a sample of flips is taken, the observed one included.
    """
    values = _checked(differences)
    n = len(values)
    if n <= _EXACT_UP_TO:
        flipped = np.arange(2**n)[:, None] >> np.arange(n) & 1
        signs = 1.0 - 2.0 * flipped
    else:
        generator = np.random.default_rng(0)
        signs = generator.choice((1.0, -1.0), size=(_SAMPLED_FLIPS, n))
        signs[0] = 1.0
    observed = abs(values.sum())
    # Sums of the same numbers in another order differ in the last bits.
    slack = _ROUNDING * np.abs(values).sum()
    return float(np.mean(np.abs(signs @ values) >= observed - slack))


def smallest_p(n: int) -> float:
    """The smallest p that a two-sided sign-flip test of n pairs can give."""
    return min(1.0, 2.0 ** (1 - n))


def fewest_pairs(level: float) -> int:
    """How many pairs it takes for a p as low as a level above zero."""
    return next(n for n in count(1) if smallest_p(n) <= level)


def probability_of_improvement(
    first: Sequence[float], second: Sequence[float]
) -> float:
    """Share of all pairs of runs that the first method wins, ties half."""
    a, b = _checked(first)[:, None], _checked(second)[None, :]
    return float(np.mean((a > b) + 0.5 * (a == b)))


def detectable_difference(
    std: float, n: int, level: float = 0.05, power: float = 0.8
) -> float:
    """The mean difference that n pairs of this spread would have shown.

    Of the sign-flip test itself, by simulation: were the differences normal
    with this mean and spread, it would find them at this level, and the
    right way round, with this probability.

    Returns:
        The difference; infinite where no p of so many pairs is as low as the
        level, NaN for a single pair and without spread.
    """
    if n < 2 or not std:
        return math.nan
    return std * _detectable_spreads(n, level, power)


@cache
def _detectable_spreads(n: int, level: float, power: float) -> float:
    """The detectable difference in standard deviations of the differences.

    Let e be the differences without their mean d > 0, and M the pairs whose
    signs a flip turns. Its sum is as far from zero as the observed one where
    ``d ≤ −mean(e[M])``, or where that holds for the other pairs instead. So
    one subset M of all 2^n stands for two flips: p is at most the level
    where fewer than k of those means are d or more, k being half of the
    flips that the level allows, of which two are the observed signs and all
    turned. The test sees what is larger than the k-th largest mean.
    """
    exact = n <= _POWER_EXACT_UP_TO
    flips = 2**n if exact else _SAMPLED_SUBSETS
    k = math.floor(level * flips / 2 + _ROUNDING)
    if k < 1 or level < smallest_p(n):
        return math.inf
    generator = np.random.default_rng(0)
    if exact:
        subsets = np.arange(1, 2**n - 1)[:, None] >> np.arange(n) & 1
    else:
        subsets = generator.integers(0, 2, size=(flips, n))
        subsets = subsets[subsets.any(axis=1)]
    means = subsets / subsets.sum(axis=1, keepdims=True)
    trials = max(_FEWEST_TRIALS, min(_MOST_TRIALS, _POWER_WORK // len(means)))
    noise = generator.standard_normal((trials, n))
    # e and −e are as likely.
    seen = np.partition(noise @ means.T, len(means) - k, axis=1)
    return float(np.quantile(seen[:, len(means) - k], power))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """P values adjusted for their number (Holm, 1979).

    Each may be compared with the level as it is: the chance of any false
    rejection among them stays below it.
    """
    adjusted: dict[str, float] = {}
    highest = 0.0
    ordered = sorted(p_values.items(), key=lambda item: item[1])
    for rank, (name, p) in enumerate(ordered):
        highest = max(highest, min(1.0, (len(ordered) - rank) * p))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}


def _interval(
    differences: np.ndarray, confidence: float
) -> tuple[float, float, str]:
    n, mean = len(differences), float(differences.mean())
    if n < 2:
        return math.nan, math.nan, 'none'
    spread = _spread(differences)
    if n < BOOTSTRAP_FROM or not spread:
        half = _half_width(spread, n, confidence)
        return mean - half, mean + half, 't'
    found = stats.bootstrap(
        (differences,),
        np.mean,
        confidence_level=_expanded(confidence, n),
        n_resamples=9_999,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high), 'bootstrap'


def _expanded(confidence: float, n: int) -> float:
    """What to ask of a bootstrap for an interval that holds what it says.

    Resampling n values spreads their mean by √((n−1)/n) too little, and has
    no tails of Student's: at 10 pairs 95 % would be 90 %. Hesterberg, *What
    Teachers Should Know About the Bootstrap*, The American Statistician
    2015.
    """
    quantile = stats.t.ppf((1 + confidence) / 2, n - 1)
    return float(1 - 2 * stats.norm.sf(math.sqrt(n / (n - 1)) * quantile))


def _spread(values: np.ndarray) -> float:
    """Standard deviation (n − 1), zero where only rounding differs."""
    if len(values) < 2:
        return math.nan
    if np.ptp(values) <= _ROUNDING * np.abs(values).max():
        return 0.0
    return float(values.std(ddof=1))


def _half_width(std: float, n: int, confidence: float) -> float:
    return float(stats.t.ppf((1 + confidence) / 2, n - 1) * std / n**0.5)


def _checked(values: Sequence[float]) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array):
        raise ValueError('there are no results to compare')
    if not np.isfinite(array).all():
        raise ValueError(f'results must be finite numbers, got {list(array)}')
    return array
