"""Means, ratios and slopes with the interval that the true value lies in with 95 % confidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
MIN_VALUES = 4
"""Values that an interval needs, at least."""

_TRIM = 0.2  # share left out at either end
_TAIL = (1 + CONFIDENCE) / 2


@dataclass(frozen=True)
class Interval:
    """A value and its bounds."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Return it for JSON, to four digits."""
        return {name: float(f"{number:.4g}") for name, number in vars(self).items()}


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Interval | None:
    """Return a ratio of values that were measured in turns, each with its neighbour.

    Slow drifts cancel within a pair, and a trimmed mean of the logs forgets pairs that something fell upon.

    Args:
        ours: above 0.
        theirs: as many, above 0.

    Returns:
        ours / theirs; None with fewer than `MIN_VALUES` pairs.

    Source: trimmed mean with its t interval, Tukey, McLaughlin 1963: standard error from the winsorized values.
    """
    count = len(ours)
    if count < MIN_VALUES:
        return None
    logs = np.sort(np.log(np.asarray(ours) / np.asarray(theirs)))
    cut = int(_TRIM * count)
    kept = logs[cut : count - cut]
    winsorized = np.clip(logs, kept[0], kept[-1])
    error = float(winsorized.std(ddof=1)) / ((1 - 2 * _TRIM) * math.sqrt(count))
    return _exponential(float(kept.mean()), error * t_quantile(_TAIL, count - 2 * cut - 1))


def separate_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Interval | None:
    """Return a ratio of values that were measured apart: of geometric means, with the spread of both sides.

    Args:
        ours: above 0.
        theirs: above 0.

    Returns:
        ours / theirs; None with fewer than `MIN_VALUES` on either side.

    Source: Welch 1947, doi:10.1093/biomet/34.1-2.28, on logs.
    """
    if min(len(ours), len(theirs)) < MIN_VALUES:
        return None
    logs = [np.log(np.asarray(values)) for values in (ours, theirs)]
    squares = [float(values.var(ddof=1)) / len(values) for values in logs]
    error = math.sqrt(sum(squares))
    parts = sum(square**2 / (len(values) - 1) for square, values in zip(squares, logs, strict=True))
    freedom = error**4 / parts if parts else len(ours) + len(theirs) - 2
    return _exponential(float(logs[0].mean() - logs[1].mean()), error * t_quantile(_TAIL, freedom))


def slope(x: NDArray[np.float64], y: NDArray[np.float64]) -> Interval | None:
    """Return by how much y grows for each one of x: least squares.

    Args:
        x: float64 (N,), not all the same.
        y: float64 (N,), whose deviations from the line are independent of each other.

    Returns:
        None with fewer than `MIN_VALUES` points.
    """
    if len(x) < MIN_VALUES:
        return None
    spread = x - x.mean()
    square = float(spread @ spread)
    value = float(spread @ y) / square
    rest = y - y.mean() - value * spread
    freedom = len(x) - 2
    reach = math.sqrt(float(rest @ rest) / freedom / square) * t_quantile(_TAIL, freedom)
    return Interval(value, value - reach, value + reach)


def t_quantile(probability: float, freedom: float) -> float:
    """Return a quantile of Student's t distribution, to 0.1 % or better.

    Source: Hill 1970, "Algorithm 396: Student's t-quantiles", doi:10.1145/355598.355600; exact formula for 2.

    Args:
        probability: above 0.5 and below 1.
        freedom: degrees of freedom, 2 or more.
    """
    if freedom < 2:
        raise ValueError(f"expected 2 degrees of freedom or more, got {freedom}")
    both = 2 * (1 - probability)  # what lies outside of both tails
    if freedom == 2:
        return math.sqrt(2 / (both * (2 - both)) - 2)
    a = 1 / (freedom - 0.5)
    b = 48 / a**2
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * math.sqrt(a * math.pi / 2) * freedom
    y = (d * both) ** (2 / freedom)
    if y > 0.05 + a:
        x = NormalDist().inv_cdf(both / 2)
        y = x**2
        if freedom < 5:
            c += 0.3 * (freedom - 4.5) * (x + 0.6)
        c += (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b
        y = (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / c - y - 3) / b + 1) * x
        y = math.expm1(a * y**2)
    else:
        e = freedom + 2
        y = ((1 / (((freedom + 6) / (freedom * y) - 0.089 * d - 0.822) * e * 3) + 0.5 / (freedom + 4)) * y - 1) * (
            freedom + 1
        ) / e + 1 / y
    return math.sqrt(freedom * y)


def _exponential(mean: float, reach: float) -> Interval:
    return Interval(math.exp(mean), math.exp(mean - reach), math.exp(mean + reach))
