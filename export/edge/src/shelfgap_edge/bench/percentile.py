"""Percentiles that are given only when there are enough samples to stand behind them."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.99


@cache
def min_samples(percent: float) -> int:
    """Return how many samples the estimate of a percentile needs, at least.

    With fewer, not even one sample may lie beyond it (see `allowed_beyond`): the tail was hardly seen.

    Args:
        percent: above 0 and below 100.

    >>> [min_samples(percent) for percent in (50, 90, 95, 99)]
    [11, 64, 130, 662]
    """
    p = percent / 100
    samples = 1
    while p**samples + samples * (1 - p) * p ** (samples - 1) > 1 - CONFIDENCE:
        samples += 1
    return samples


def allowed_beyond(count: int, percent: float) -> int:
    """Return how many of some samples may lie beyond a value for it to be no lower than the percentile.

    Of n independent samples at most t lie beyond the true p-quantile with probability

        F(t; n, 1 - p) = sum over k = 0..t of C(n, k) (1 - p)^k p^(n - k) = I(p; n - t, t + 1),

    I being the regularized incomplete beta function. The answer is the largest t for which that is at most
    1 - 0.99: who sees so few beyond a value is wrong in one of a hundred cases to take it for the percentile or more.

    Source: MLPerf Inference rules, appendix on early stopping, with tolerance d = 0 and confidence c = 0.99
        (https://github.com/mlcommons/inference_policies/blob/master/inference_rules.adoc), as in its LoadGen,
        loadgen/early_stopping.cc.

    Args:
        count: number of samples, 0 or more.
        percent: above 0 and below 100.

    Returns:
        0 or more; -1 where even no sample at all beyond says nothing.

    >>> allowed_beyond(64, 90), allowed_beyond(100, 90), allowed_beyond(63, 90)
    (1, 3, 0)
    """
    p = percent / 100
    most = math.floor(count * (1 - p))  # near the mean the sum is a half: what is asked for lies below
    k = np.arange(1, most + 1)
    log_terms = np.concatenate([[count * math.log(p)], np.log((count - k + 1) / k) + math.log((1 - p) / p)]).cumsum()
    log_sums = np.logaddexp.accumulate(log_terms)
    return int(np.searchsorted(log_sums, math.log(1 - CONFIDENCE), side="right")) - 1


def tail_estimate(values: NDArray[np.float64], percent: float) -> float | None:
    """Return the early-stopping estimate of a percentile: a measured value that it does not exceed, with confidence.

    Of n values the t - 1 highest are set aside, t as in `allowed_beyond`, and the highest of the rest is the answer.
    With more samples it comes down to the percentile. It assumes that samples are independent.

    Source: MLPerf Inference rules, appendix on early stopping, for the single-stream scenario (see `allowed_beyond`).

    Args:
        values: float64 (N,), in any order.
        percent: above 0 and below 100.

    Returns:
        None with fewer than `min_samples`.

    >>> tail_estimate(np.arange(1.0, 101.0), 90), tail_estimate(np.arange(1.0, 101.0), 99)
    (98.0, None)
    """
    if len(values) < min_samples(percent):
        return None
    beyond = allowed_beyond(len(values), percent)
    return float(np.partition(values, len(values) - beyond)[len(values) - beyond])


def percentile(values: NDArray[np.float64], percent: float) -> float | None:
    """Return a percentile by nearest rank (a value that was measured), or None with fewer than `min_samples`.

    What is compared with its like; a promise about a tail is `tail_estimate`.

    Args:
        values: float64 (N,), in any order.
        percent: above 0 and below 100.

    >>> percentile(np.arange(1.0, 101.0), 90), percentile(np.arange(1.0, 101.0), 99)
    (90.0, None)
    """
    if len(values) < min_samples(percent):
        return None
    return float(np.percentile(values, percent, method="inverted_cdf"))
