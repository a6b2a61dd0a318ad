"""The trade-off of a monitor's settings: often and now and then wrong, or seldom and right; one is chosen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from shelfgap_edge.monitor.params import MonitorParams

from shelfgap_training.params import EvaluationParams, TimelineParams
from shelfgap_training.temporal.days import ShelfDay
from shelfgap_training.temporal.figures import temporal_figures
from shelfgap_training.temporal.replay import DayOutcome, replay, without_holds
from shelfgap_training.temporal.seen import Readings

SWEPT = ("min_gap_score", "min_low_score", "open_frames", "open_minutes")
"""The settings that are tried."""


@dataclass(frozen=True)
class Point:
    """Settings of a monitor and what they bring, with and without frames held back; `outcomes` of each day, with."""

    params: MonitorParams
    figures: Mapping[str, Mapping[str, float | None]]
    without_holds: Mapping[str, Mapping[str, float | None]]
    outcomes: tuple[DayOutcome, ...] = ()

    def value(self, name: str, *, holds: bool = True) -> float:
        """Return a figure without its interval; NaN where it is undefined."""
        value = (self.figures if holds else self.without_holds)[name]["value"]
        return float("nan") if value is None else value

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            **{name: getattr(self.params, name) for name in SWEPT},
            "figures": dict(self.figures),
            "without_holds": dict(self.without_holds),
        }


@dataclass(frozen=True)
class Sweep:
    """What was tried.

    Attributes:
        scores: how sure boxes must be, at the persistence that was given.
        persistence: frames and minutes, at the best of these scores.
        chosen: the best of all.
    """

    scores: tuple[Point, ...]
    persistence: tuple[Point, ...]
    chosen: Point


def measure(
    days: Sequence[ShelfDay],
    readings: Readings,
    params: MonitorParams,
    min_gap_minutes: float,
    evaluation: EvaluationParams,
) -> Point:
    """Replay all days with settings, once as they are and once with no frame held back."""

    def outcomes(of: MonitorParams) -> tuple[DayOutcome, ...]:
        return tuple(replay(day, readings[day.name], of, min_gap_minutes) for day in days)

    held, counted = outcomes(params), outcomes(without_holds(params))
    return Point(params, temporal_figures(held, evaluation), temporal_figures(counted, evaluation), held)


def sweep(
    days: Sequence[ShelfDay],
    readings: Readings,
    params: MonitorParams,
    timeline: TimelineParams,
    evaluation: EvaluationParams,
    progress: Callable[[int, int], None] | None = None,
) -> Sweep:
    """Try each pair of scores, then with the best of them each pair of `open_frames` and `open_minutes`."""
    scores = list(product(timeline.min_gap_scores, timeline.min_low_scores))
    persistence = list(product(timeline.open_frames, timeline.open_minutes))
    done = 0

    def measured(settings: MonitorParams) -> Point:
        nonlocal done
        point = measure(days, readings, settings, timeline.min_gap_minutes, evaluation)
        done += 1
        if progress is not None:
            progress(done, len(scores) + len(persistence))
        return point

    by_score = tuple(measured(replace(params, min_gap_score=gap, min_low_score=low)) for gap, low in scores)
    best = choose(by_score, timeline)
    by_persistence = tuple(
        measured(replace(best.params, open_frames=frames, open_minutes=minutes)) for frames, minutes in persistence
    )
    return Sweep(by_score, by_persistence, choose((best, *by_persistence), timeline))


def choose(points: Sequence[Point], timeline: TimelineParams) -> Point:
    """Return the soonest point of those that keep both limits; where none does, the one that costs least.

    A day costs its false alerts, and `missed_gap_cost` and `missed_low_cost` for each gap and each time of low stock of
    which nobody was told.
    """
    kept = [
        point
        for point in points
        if point.value("alerted_share") >= timeline.min_alerted_share
        and point.value("false_alerts_per_day") <= timeline.max_false_alerts_per_day
    ]
    if kept:
        return min(kept, key=_delay)

    def cost(point: Point) -> float:
        missed = timeline.missed_gap_cost * point.value("missed_gaps_per_day")
        untold = timeline.missed_low_cost * point.value("untold_lows_per_day")
        return missed + untold + point.value("false_alerts_per_day")

    return min(points, key=cost)


def _delay(point: Point) -> float:
    """Return the median delay of a point; without end where nothing was alerted."""
    delay = point.value("delay_p50_minutes")
    return math.inf if math.isnan(delay) else delay
