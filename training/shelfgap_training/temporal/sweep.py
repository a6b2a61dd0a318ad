"""The trade-off of persistence: soon and often wrong, or late and right; drawn, and one point chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from shelfgap_edge.monitor.params import MonitorParams

from shelfgap_training.params import EvaluationParams, TimelineParams
from shelfgap_training.temporal.days import ShelfDay
from shelfgap_training.temporal.figures import temporal_figures
from shelfgap_training.temporal.replay import DayOutcome, replay, without_holds
from shelfgap_training.temporal.seen import Readings


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
            "open_frames": self.params.open_frames,
            "open_minutes": self.params.open_minutes,
            "figures": dict(self.figures),
            "without_holds": dict(self.without_holds),
        }


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
) -> list[Point]:
    """Measure every pair of `open_frames` and `open_minutes` of the grid."""
    pairs = [(frames, minutes) for frames in timeline.open_frames for minutes in timeline.open_minutes]
    points = []
    for number, (frames, minutes) in enumerate(pairs, start=1):
        settings = replace(params, open_frames=frames, open_minutes=minutes)
        points.append(measure(days, readings, settings, timeline.min_gap_minutes, evaluation))
        if progress is not None:
            progress(number, len(pairs))
    return points


def choose(points: Sequence[Point], timeline: TimelineParams) -> Point:
    """Return the soonest point among those with few false alerts and few gaps missed; else the least wrong one.

    Gaps that are not alerted above the limit, and false alerts above theirs, are each counted in units of the limit.
    """

    def excess(point: Point) -> float:
        missed = (1 - point.value("alerted_share")) / (1 - timeline.min_alerted_share)
        false = point.value("false_alerts_per_day") / timeline.max_false_alerts_per_day
        return max(0.0, missed - 1) + max(0.0, false - 1)

    return min(points, key=lambda point: (excess(point), point.value("delay_p50_minutes")))


def draw_trade_off(path: Path, points: Sequence[Point], chosen: Point, timeline: TimelineParams) -> None:
    """Write the trade-off as a PNG: false alerts and gaps alerted over delay, a line for each `open_frames`.

    Full lines hold frames back, dashed lines do not. A ring marks the chosen point, grey lines the limits.
    """
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, name, title in (
        (panels[0], "false_alerts_per_day", "false alerts per camera-day"),
        (panels[1], "alerted_share", f"share of gaps over {timeline.min_gap_minutes:g} min that were alerted"),
    ):
        for index, frames in enumerate(timeline.open_frames):
            line = [point for point in points if point.params.open_frames == frames]
            for holds in (True, False):
                axes.plot(
                    [point.value("delay_p50_minutes", holds=holds) for point in line],
                    [point.value(name, holds=holds) for point in line],
                    "o-" if holds else "x--",
                    color=f"C{index}",
                    alpha=1.0 if holds else 0.5,
                    label=f"{frames} frame{'s' if frames > 1 else ''}" if holds else None,
                )
        axes.plot(
            chosen.value("delay_p50_minutes"), chosen.value(name), "o", ms=14, mfc="none", color="black", label="chosen"
        )
        limit = timeline.max_false_alerts_per_day if name.startswith("false") else timeline.min_alerted_share
        axes.axhline(limit, color="grey", lw=0.8)
        axes.set(title=title, xlabel="median delay from gap to alert, minutes", ylabel=title.split(" that")[0])
        axes.grid(alpha=0.3)
    panels[0].set_ylim(bottom=0)
    panels[0].legend(title="full: frames held back; dashed: not", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=100)
