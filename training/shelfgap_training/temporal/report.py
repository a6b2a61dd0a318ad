"""An evaluation over time for people, as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shelfgap_training.report import figure_text, markdown_table
from shelfgap_training.temporal.figures import TEMPORAL_TITLES
from shelfgap_training.temporal.sweep import SWEPT
from shelfgap_training.temporal.widths import WIDTH_TITLES

_IN_SWEEP = ("alerted_share", "lows_told_share", "delay_p50_minutes", "false_alerts_per_day", "repeats_per_day")


def timeline_lines(report: Mapping[str, Any]) -> list[str]:
    """Return the table of an evaluation: each figure with and without frames held back."""
    rows = [
        [title, figure_text(report["figures"][name], 3), figure_text(report["without_holds"][name], 3)]
        for name, title in TEMPORAL_TITLES.items()
    ]
    head = [
        f"{report['days']} camera-days, {report['frames']} frames, {report['facings']} facings, {report['gaps']} gaps; "
        f"open after {report['open_frames']} frames and {report['open_minutes']:g} minutes, "
        f"gaps from a score of {report['min_gap_score']:g}, low stock from {report['min_low_score']:g}",
        "",
    ]
    return [*head, markdown_table(["", "frames held back", "all frames counted"], rows)]


def timeline_markdown(report: Mapping[str, Any]) -> str:
    """Return the page `timeline.md`."""
    lines = ["# Alerts on shelf-days", "", *timeline_lines(report), ""]
    rows = [
        [_range(row), row["facings"], row["gaps"], *(figure_text(row[name]) for name in WIDTH_TITLES)]
        for row in report["by_width"]
    ]
    lines += [
        "## By the width of facings",
        "",
        "Of the frame's width, with frames held back. Wider facings are seen better: it says where to place cameras.",
        "",
        markdown_table(["width", "facings", "gaps", *WIDTH_TITLES.values()], rows),
        "",
    ]
    if "chosen" in report:
        best = report["persistence"][0]
        chosen = ", ".join(f"{name} {report['chosen'][name]:g}" for name in SWEPT)
        lines += [
            "## How sure boxes must be",
            "",
            _tried(report["scores"], "min_gap_score", "min_low_score"),
            "",
            f"## Persistence, with min_gap_score {best['min_gap_score']:g} and min_low_score {best['min_low_score']:g}",
            "",
            _tried(report["persistence"], "open_frames", "open_minutes"),
            "",
            f"Chosen: {chosen}. "
            "They go into `monitor` of params.yaml, and with the next bundle to devices. `timeline.png` draws them.",
            "",
        ]
    return "\n".join(lines)


def _tried(points: Sequence[Mapping[str, Any]], *settings: str) -> str:
    rows = [
        [*(f"{point[name]:g}" for name in settings), *(figure_text(point["figures"][name], 3) for name in _IN_SWEEP)]
        for point in points
    ]
    return markdown_table([*settings, *(TEMPORAL_TITLES[name] for name in _IN_SWEEP)], rows)


def _range(row: Mapping[str, Any]) -> str:
    if row["to_percent"] is None:
        return f"from {row['from_percent']:g} %"
    return f"{row['from_percent']:g} to {row['to_percent']:g} %"
