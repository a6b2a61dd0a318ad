"""Percentiles that are given only when there are enough samples to stand behind them."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.99


@cache
def min_samples(percent: float, confidence: float = CONFIDENCE) -> int:
    """Return how many samples a percentile needs.

    With fewer, it is too likely (more than 1 - confidence) that at most one sample lies beyond the true
    percentile, so that the tail was hardly seen. Of n independent samples at most one lies beyond the
    p-quantile with probability p^n + n (1 - p) p^(n-1).

    Source: MLPerf Inference, early stopping for percentiles (loadgen/early_stopping.cc, with one sample over
        and no tolerance): there too 64 for the 90th and 662 for the 99th percentile.

    Args:
        percent: above 0 and below 100.
        confidence: above 0 and below 1.

    >>> [min_samples(percent) for percent in (50, 90, 95, 99)]
    [11, 64, 130, 662]
    """
    p = percent / 100
    samples = 1
    while p**samples + samples * (1 - p) * p ** (samples - 1) > 1 - confidence:
        samples += 1
    return samples


def percentile(values: NDArray[np.float64], percent: float) -> float | None:
    """Return a percentile by nearest rank (a value that was measured), or None with too few samples.

    Args:
        values: float64 (N,), in any order.
        percent: above 0 and below 100.

    >>> percentile(np.arange(1.0, 101.0), 90), percentile(np.arange(1.0, 101.0), 99)
    (90.0, None)
    """
    if len(values) < min_samples(percent):
        return None
    return float(np.percentile(values, percent, method="inverted_cdf"))
