"""What alerts are worth by how wide a facing appears: for those who place cameras and draw zones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfgap_training.figures import Weights
from shelfgap_training.params import EvaluationParams
from shelfgap_training.temporal.days import ShelfDay
from shelfgap_training.temporal.figures import with_intervals
from shelfgap_training.temporal.replay import DayOutcome

WIDTH_TITLES = {
    "alerted_share": "gaps alerted",
    "false_gaps": "false gaps per 100 facings and day",
    "false_alerts": "false alerts per 100 facings and day",
}
"""What the figures are called in tables."""


def by_width(
    days: Sequence[ShelfDay],
    outcomes: Sequence[DayOutcome],
    bounds_percent: Sequence[float],
    min_gap_minutes: float,
    params: EvaluationParams,
) -> list[dict[str, Any]]:
    """Return a row for each range of widths that has facings, the narrowest first.

    Args:
        days: what was true.
        outcomes: what a monitor made of them, in the same order.
        bounds_percent: where one range ends and the next begins, of the width of the frame, ascending.
        min_gap_minutes: gaps that last no longer need no alert.
        params: of the intervals.

    Returns:
        For each, JSON-ready: `from_percent`, `to_percent` (None above the last bound), `facings`, `gaps`, and each of
        `WIDTH_TITLES` with its interval from draws of whole days.
    """
    range_of = [
        {
            zone.name: int(np.searchsorted(bounds_percent, _width_percent(zone.bounds_norm), "right"))
            for zone in day.zones
        }
        for day in days
    ]
    # (ranges, days, 5): facings, gaps, alerted gaps, false gaps, false alerts
    counts = np.zeros((len(bounds_percent) + 1, len(days), 5))
    for number, (day, outcome, ranges) in enumerate(zip(days, outcomes, range_of, strict=True)):
        for index in ranges.values():
            counts[index, number, 0] += 1
        for name, _ in day.gaps(min_gap_minutes):
            counts[ranges[name], number, 1] += 1
        for name, _ in outcome.alerted:
            counts[ranges[name], number, 2] += 1
        for event in outcome.false:
            counts[ranges[str(event.zone)], number, 3] += event.kind == "gap"
            counts[ranges[str(event.zone)], number, 4] += 1
    edges = [0.0, *bounds_percent, None]
    return [
        {
            "from_percent": edges[index],
            "to_percent": edges[index + 1],
            "facings": int(counts[index, :, 0].sum()),
            "gaps": int(counts[index, :, 1].sum()),
            **_figures(counts[index], params),
        }
        for index in range(len(counts))
        if counts[index, :, 0].any()
    ]


def _width_percent(bounds_norm: tuple[float, float, float, float]) -> float:
    return 100 * (bounds_norm[2] - bounds_norm[0])


def _figures(counts: NDArray[np.float64], params: EvaluationParams) -> dict[str, dict[str, float | None]]:
    def figures(weights: Weights) -> NDArray[np.float64]:
        facings, gaps, alerted, false_gaps, false = (weights @ counts).T
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.stack([alerted / gaps, 100 * false_gaps / facings, 100 * false / facings])

    return with_intervals(figures, WIDTH_TITLES, len(counts), params)
