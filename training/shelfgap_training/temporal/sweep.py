"""The trade-off of a monitor's settings: often and now and then wrong, or seldom and right; drawn, and one chosen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
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


def draw_trade_off(path: Path, tried: Sweep, timeline: TimelineParams) -> None:
    """Write the trade-off as a PNG: gaps alerted over false alerts by score, then both over delay by persistence.

    Full lines hold frames back, dashed lines do not. A ring marks the chosen point, grey lines the limits.
    """
    figure = Figure(figsize=(15, 4.4), layout="constrained")
    panels = figure.subplots(1, 3)
    share = f"share of gaps over {timeline.min_gap_minutes:g} min that were alerted"
    false = "false alerts per camera-day"
    for index, low in enumerate(timeline.min_low_scores):
        line = [point for point in tried.scores if point.params.min_low_score == low]
        _draw_line(panels[0], line, "false_alerts_per_day", "alerted_share", f"C{index}", f"low stock from {low:g}")
    for point in tried.scores:
        if point.params.min_low_score == timeline.min_low_scores[-1]:
            at = (point.value("false_alerts_per_day"), point.value("alerted_share"))
            panels[0].annotate(f"{point.params.min_gap_score:g}", at, (-22, 4), textcoords="offset points", fontsize=8)
    panels[0].set(title=f"{share}; numbers: gaps from this score", xlabel=false, ylabel="share of gaps")
    for index, frames in enumerate(timeline.open_frames):
        line = [point for point in tried.persistence if point.params.open_frames == frames]
        label = f"{frames} frame{'s' if frames > 1 else ''}"
        _draw_line(panels[1], line, "delay_p50_minutes", "false_alerts_per_day", f"C{index}", label)
        _draw_line(panels[2], line, "delay_p50_minutes", "alerted_share", f"C{index}", label)
    for axes, title in ((panels[1], false), (panels[2], share)):
        axes.set(title=title, xlabel="median delay from gap to alert, minutes", ylabel=title.split(" that")[0])
    for axes, x, y in (
        (panels[0], "false_alerts_per_day", "alerted_share"),
        (panels[1], "delay_p50_minutes", "false_alerts_per_day"),
        (panels[2], "delay_p50_minutes", "alerted_share"),
    ):
        limit = timeline.min_alerted_share if y == "alerted_share" else timeline.max_false_alerts_per_day
        axes.axhline(limit, color="grey", lw=0.8)
        axes.plot(tried.chosen.value(x), tried.chosen.value(y), "o", ms=14, mfc="none", color="black", label="chosen")
        axes.grid(alpha=0.3)
        axes.title.set_fontsize(9)
    panels[1].set_ylim(bottom=0)
    for axes in panels[:2]:
        axes.legend(title="full: frames held back; dashed: not", fontsize=8, title_fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=100)


def _draw_line(axes: Axes, line: Sequence[Point], x: str, y: str, colour: str, label: str) -> None:
    for holds in (True, False):
        axes.plot(
            [point.value(x, holds=holds) for point in line],
            [point.value(y, holds=holds) for point in line],
            "o-" if holds else "x--",
            color=colour,
            alpha=1.0 if holds else 0.4,
            label=label if holds else None,
        )
