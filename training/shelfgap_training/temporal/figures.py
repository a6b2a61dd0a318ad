"""Figures of replayed days, each with an interval from draws of whole camera-days."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from shelfgap_training.bootstrap import bootstrap
from shelfgap_training.figures import Weights
from shelfgap_training.params import EvaluationParams
from shelfgap_training.temporal.replay import DayOutcome

TEMPORAL_TITLES = {
    "alerted_share": "gaps alerted",
    "missed_gaps_per_day": "missed gaps per camera-day",
    "lows_told_share": "times of low stock told",
    "untold_lows_per_day": "untold per camera-day",
    "delay_p50_minutes": "delay, median (min)",
    "delay_p90_minutes": "delay, p90 (min)",
    "false_alerts_per_day": "false alerts per camera-day",
    "false_gaps_per_day": "of them gaps",
    "false_gaps_on_low_per_day": "of these where stock was low",
    "repeats_per_day": "repeated alerts per camera-day",
    "camera_alerts_per_day": "camera alerts per camera-day",
    "availability_error": "availability error",
}
"""What the figures are called in tables."""


def temporal_figures(outcomes: Sequence[DayOutcome], params: EvaluationParams) -> dict[str, dict[str, float | None]]:
    """Return each of `TEMPORAL_TITLES` as `{"value", "low", "high"}`.

    Args:
        outcomes: of the days, at least one.
        params: of the intervals.

    Returns:
        `alerted_share` of the gaps, and how many a day are missed; the same of times of low stock; quantiles of the
        delay of gaps that were alerted; counts per camera-day; `availability_error`, the mean absolute difference to
        the truth of a day. Null where no gap defines one.
    """
    day_of = np.repeat(np.arange(len(outcomes)), [len(day.delays_minutes) for day in outcomes])
    delays = np.array([delay for day in outcomes for delay in day.delays_minutes], np.float64)
    alerted = np.array([len(day.delays_minutes) for day in outcomes], np.float64)
    lows = np.array([[day.lows_told, day.lows] for day in outcomes], np.float64)
    gaps = alerted + [len(day.missed) for day in outcomes]
    counts = np.array(
        [[len(d.false), d.false_gaps, d.false_gaps_on_low, d.repeats, d.camera_alerts] for d in outcomes], np.float64
    )
    errors = np.array([abs(day.availability - day.true_availability) for day in outcomes])

    def figures(weights: Weights) -> NDArray[np.float64]:
        days = weights.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.stack(
                [
                    (weights @ alerted) / (weights @ gaps),
                    (weights @ (gaps - alerted)) / days,
                    (weights @ lows[:, 0]) / (weights @ lows[:, 1]),
                    (weights @ (lows[:, 1] - lows[:, 0])) / days,
                    _quantile(delays, weights[:, day_of], 0.5),
                    _quantile(delays, weights[:, day_of], 0.9),
                    *((weights @ counts) / days[:, None]).T,
                    (weights @ errors) / days,
                ]
            )

    return with_intervals(figures, TEMPORAL_TITLES, len(outcomes), params)


def with_intervals(
    figures: Callable[[Weights], NDArray[np.float64]], names: Iterable[str], days: int, params: EvaluationParams
) -> dict[str, dict[str, float | None]]:
    """Return figures as `{"value", "low", "high"}` by name, their intervals from draws of whole days.

    Args:
        figures: weights (B, D) of the days, how often each counts -> F figures, float64 (F, B).
        names: of the F figures.
        days: how many, D.
        params: of the intervals.
    """
    intervals = bootstrap(
        figures,
        [f"{number}" for number in range(days)],
        resamples=params.resamples,
        confidence=params.confidence,
        seed=params.seed,
    )
    return {name: interval.to_dict() for name, interval in zip(names, intervals, strict=True)}


def _quantile(values: NDArray[np.float64], weights: Weights, share: float) -> NDArray[np.float64]:
    """Return the weighted quantile for each row of weights (B, N): the least value that reaches the share, or NaN."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[:, order], axis=1)
    if not len(values):
        return np.full(len(weights), np.nan)
    first = (reached >= share * reached[:, -1:]).argmax(axis=1)
    return np.where(reached[:, -1] > 0, values[order][first], np.nan)
