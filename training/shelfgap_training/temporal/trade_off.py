"""The trade-off of a monitor's settings as a chart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shelfgap_training.params import TimelineParams
from shelfgap_training.temporal.sweep import Point, Sweep


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
