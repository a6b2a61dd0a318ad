"""How sure a ratio of latencies is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from shelfgap_training.bootstrap import Interval

Samples = Mapping[str, NDArray[np.float64]]


def paired_ratio(
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the ratio of two medians, with its percentile interval.

    Args:
        ours: float64 (N,), milliseconds; entry i was measured in the same turn as entry i of `theirs`.
        theirs: float64 (N,).
        resamples: draws.
        confidence: of the interval, 0 to 1.
        seed: of the draws.

    Raises:
        ValueError: the two differ in length, or are empty.

    >>> paired_ratio(np.full(20, 2.0), np.full(20, 8.0))
    Interval(value=0.25, low=0.25, high=0.25)
    """
    pair = {"ours": ours, "theirs": theirs}
    return of_turns(pair, lambda median: median["ours"] / median["theirs"], resamples, confidence, seed)


def of_turns(
    samples: Samples,
    value: Callable[[Samples], NDArray[np.float64]],
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return a function of medians with its percentile interval, from draws of whole turns with replacement.

    Args:
        samples: by name the milliseconds of each turn, all float64 (N,).
        value: takes medians by name, each float64 (B,), and returns B values.
        resamples: draws.
        confidence: of the interval, 0 to 1.
        seed: of the draws.

    Raises:
        ValueError: the samples differ in length, or are empty.

    Source: Efron, Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 8 and 13.
    """
    lengths = {len(values) for values in samples.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"every turn needs one sample of each, got {sorted(lengths)} samples")
    (count,) = lengths
    table = np.stack(list(samples.values()))
    draws = np.random.default_rng(seed).integers(0, count, (resamples, count))
    turns = np.concatenate([np.arange(count)[None], draws])  # the first row is what was measured
    medians = np.median(table[:, turns], axis=2)
    values = value(dict(zip(samples, medians, strict=True)))
    low, high = np.quantile(values[1:], [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(values[0]), float(low), float(high))
