"""A shelf-day as a chart: what was true of each facing, and when somebody was told."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from shelfgap_edge.alerts.event import AlertEvent

from shelfgap_training.temporal.days import ShelfDay, Span
from shelfgap_training.temporal.replay import DayOutcome

_TRUE_COLOURS = {"low": "#f5c97a", "gap": "#d9705f"}
_MOST_ROWS = 60
_DAY_S = 86400


def draw_day(path: Path, day: ShelfDay, outcome: DayOutcome) -> None:
    """Write a row for each facing at which something happened, as a PNG; the first 60 of them.

    Wide bands are the truth: low stock, then a gap. Black lines are alerts of gaps while they were open. A cross is
    where a false one began, of low stock too; a ring where a gap of which nobody was told began.
    """
    false: dict[str, list[AlertEvent]] = {}
    for event in outcome.false:
        false.setdefault(str(event.zone), []).append(event)
    missed: dict[str, list[Span]] = {}
    for zone, span in outcome.missed:
        missed.setdefault(zone, []).append(span)
    eventful = [
        zone.name
        for zone in day.zones
        if outcome.told[zone.name] or zone.name in false or any(s.state != "full" for s in day.spans[zone.name])
    ][:_MOST_ROWS]

    def hour(seconds: float) -> float:
        return (seconds - day.times[0] // _DAY_S * _DAY_S) / 3600

    figure = Figure(figsize=(10, 1.2 + 0.2 * max(4, len(eventful))), layout="constrained")
    axes = figure.subplots()
    for row, name in enumerate(eventful):
        for span in day.spans[name]:
            if span.state in _TRUE_COLOURS:
                axes.hlines(row, hour(span.start), hour(span.end), _TRUE_COLOURS[span.state], lw=9)
        for span in outcome.told[name]:
            axes.hlines(row, hour(span.start), hour(min(span.end, day.times[-1])), "black", lw=2)
        for event in false.get(name, ()):
            axes.plot(hour(event.at), row, "x", color="black", ms=8, mew=2)
        for span in missed.get(name, ()):
            axes.plot(hour(span.start), row, "o", color="black", ms=8, mfc="white")
    axes.set_yticks(range(len(eventful)), eventful, fontsize=7)
    axes.set_ylim(len(eventful) - 0.5, -0.5)
    axes.set_xlim(hour(day.times[0]), hour(day.times[-1]))
    axes.set_xlabel("hour of the day")
    axes.grid(alpha=0.3, axis="x")
    axes.set_title(f"{day.name}: orange low, red empty, black told, cross false, ring missed", fontsize=9, loc="left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=100)
