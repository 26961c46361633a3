"""Means of few runs: a 95 % interval, and whether one mean is above another beyond noise.

The interval is Student's: mean plus or minus t(0.975, n - 1) * s / sqrt(n), s with n - 1 in it.
Two means are compared by Welch's t-test, which needs no equal variances: B. L. Welch, "The
generalization of `Student's' problem when several different population variances are involved",
Biometrika 34 (1947) 28-35; the degrees of freedom are his (the Welch-Satterthwaite equation).

Student's distribution comes from the regularised incomplete beta function by its continued
fraction (NIST Digital Library of Mathematical Functions, 8.17.22), summed by the modified method of
Lentz. tests/test_query_compare.py holds figures from tables and from SciPy against it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

#: Share of intervals that hold the true mean, and one minus the p below which a difference counts.
CONFIDENCE = 0.95
_TINY = 1e-300


class Mean(NamedTuple):
    """The mean of n values. `std` and the interval `low`, `high` are None for fewer than two."""

    n: int
    mean: float
    std: float | None
    low: float | None
    high: float | None


class Difference(NamedTuple):
    """What Welch's test says of two means: t, degrees of freedom, and p of both tails."""

    t: float
    df: float
    p: float


def mean_of(values: Sequence[float]) -> Mean:
    """Return the mean of at least one finite value, its spread and its interval."""
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return Mean(n, mean, None, None, None)
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    reach = t_quantile((1 + CONFIDENCE) / 2, n - 1) * std / math.sqrt(n)
    return Mean(n, mean, std, mean - reach, mean + reach)


def welch(one: Mean, other: Mean) -> Difference | None:
    """Return Welch's test of two means, or None where one of them is of a single value."""
    if one.std is None or other.std is None:
        return None
    first, second = one.std**2 / one.n, other.std**2 / other.n
    if first + second == 0:
        # Not a spread in sight: either the same number or certainly another.
        same = one.mean == other.mean
        return Difference(0.0 if same else math.inf, one.n + other.n - 2, 1.0 if same else 0.0)
    t = (one.mean - other.mean) / math.sqrt(first + second)
    df = (first + second) ** 2 / (first**2 / (one.n - 1) + second**2 / (other.n - 1))
    return Difference(t, df, 2 * t_tail(abs(t), df))


def t_tail(t: float, df: float) -> float:
    """Return the probability that Student's t with `df` degrees of freedom is above t >= 0."""
    if math.isinf(t):
        return 0.0
    return 0.5 * _beta_share(df / (df + t * t), df / 2, 0.5)


def t_quantile(share: float, df: float) -> float:
    """Return the t that a `share` (above 0.5) of Student's distribution lies below."""
    low, high = 0.0, 1.0
    while t_tail(high, df) > 1 - share:
        high *= 2
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if t_tail(middle, df) > 1 - share else (low, middle)
    return (low + high) / 2


def _beta_share(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    # The fraction converges quickly only on this side of the mean; 8.17.4 leads to the other.
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_share(1 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
        + a * math.log(x) + b * math.log1p(-x)
    )  # fmt: skip
    return front / a / _fraction(x, a, b)


def _fraction(x: float, a: float, b: float) -> float:
    """Return 1 + d1/(1 + d2/(1 + ...)) of 8.17.22 by the modified method of Lentz."""
    value = c = 1.0
    d = 0.0
    for step in range(1, 1000):
        m = step // 2
        if step % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / ((1 + term * d) or _TINY)
        c = (1 + term / c) or _TINY
        value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value
