"""A verdict as one HTML page without scripts or files beside it: checks, curves, slices, pictures, latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from shelfgap_training.figures import ClassMatches
from shelfgap_training.report import TITLES, figure_text

from shelfgap_export.gate.judge import Gate
from shelfgap_export.gate.markdown import headline, needs_text, operating_point_rows, shown_checks
from shelfgap_export.gate.pictures import won_and_lost
from shelfgap_export.gate.verdict import Check

_CURVE_POINTS = 150


def gate_html(gate: Gate) -> str:
    """Return the page."""
    environment = Environment(
        loader=PackageLoader("shelfgap_export", "gate"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    shown, slices = shown_checks(gate)
    won, lost = ([], []) if gate.champion is None else won_and_lost(gate.dataset, gate.candidate, gate.champion)
    return environment.get_template("page.html.j2").render(
        gate=gate,
        headline=headline(gate),
        checks=[(check, needs_text(check), interval_plot(check)) for check in shown],
        slices_line=slices,
        figures=_figure_rows(gate),
        operating_point=operating_point_rows(gate),
        curves=_curves(gate),
        slices=_slice_rows(gate),
        won=won,
        lost=lost,
        strips=None if gate.latency is None else _strips(gate.latency),
        bars=None if gate.latency is None else _bars(gate.latency["histogram"]),
    )


def interval_plot(check: Check) -> dict[str, float] | None:
    """Return where an interval, its value, its bound and equality lie, in percent of a scale; None without interval."""
    if check.kind not in ("non-inferiority", "budget") or check.low is None or check.high is None:
        return None
    assert check.value is not None
    assert check.bound is not None
    equal = check.bound if check.kind == "budget" else 1.0 if check.bound > 0 else 0.0
    marks = [check.low, check.high, check.value, check.bound, equal]
    least, span = min(marks), max(marks) - min(marks) or 1.0
    names = ("low", "high", "value", "bound", "equal")
    return {name: round(5 + 90 * (mark - least) / span, 2) for name, mark in zip(names, marks, strict=True)}


def _figure_rows(gate: Gate) -> list[list[str]]:
    sides = [gate.candidate, *([] if gate.champion is None else [gate.champion])]
    return [[title, *(figure_text(side.evaluation[key], 3) for side in sides)] for key, title in TITLES.items()]


def _curves(gate: Gate) -> list[dict[str, Any]]:
    """Return for each class the lines of precision over recall, as points of an SVG of 300x200."""
    sides = {"candidate": gate.candidate, **({} if gate.champion is None else {"champion": gate.champion})}
    curves = []
    for name in gate.candidate.images.classes:
        lines = {
            side: _line(scored.images.matches(scored.thresholds)[scored.images.classes.index(name)])
            for side, scored in sides.items()
            if name in scored.images.classes
        }
        curves.append({"class": name, "lines": lines})
    return curves


def _line(table: ClassMatches) -> dict[str, Any]:
    hits, found = np.cumsum(table.is_hit[0]), np.arange(1, len(table.scores) + 1)
    x, y = 300 * hits / max(1, int(table.boxes.sum())), 200 - 200 * hits / found
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), _CURVE_POINTS)).round().astype(int))
    at = int((table.scores >= (table.score_threshold or 0)).sum()) - 1
    points = " ".join(f"{x[i]:.1f},{y[i]:.1f}" for i in kept)
    return {"points": points, "at": (round(float(x[at]), 1), round(float(y[at]), 1)) if at >= 0 else None}


def _slice_rows(gate: Gate) -> list[dict[str, Any]]:
    verdicts = [check.verdict for check in gate.checks if check.kind == "slice floor"]
    theirs = {} if gate.champion is None else {_key(row): row for row in gate.champion.evaluation["slices"]}
    return [
        {
            **row,
            "verdict": verdict,
            "title": TITLES[row["figure"]],
            "candidate": figure_text(row),
            "champion": _value_of(theirs.get(_key(row))),
        }
        for row, verdict in zip(gate.candidate.evaluation["slices"], verdicts, strict=True)
    ]


def _key(row: Mapping[str, Any]) -> tuple[str, str, str | None]:
    return row["by"], row["slice"], row["class"]


def _value_of(row: Mapping[str, Any] | None) -> str:
    return "-" if row is None or row["value"] is None else f"{row['value']:.2f}"


def _strips(latency: Mapping[str, Any]) -> dict[str, Any]:
    """Return each process as a dot of an SVG of 300x120, in the order of the pairs."""
    values = {side: latency["processes"][side]["judged_ms"] for side in ("candidate", "champion")}
    everything = [value for side in values.values() for value in side]
    least, most = min(everything) * 0.98, max(everything) * 1.02
    step = 280 / max(1, len(values["candidate"]))

    def dots(side: Sequence[float]) -> list[tuple[float, float]]:
        return [
            (round(10 + step * (k + 0.5), 1), round(120 - 120 * (value - least) / (most - least), 1))
            for k, value in enumerate(side)
        ]

    return {"least": least, "most": most, "dots": {side: dots(of_side) for side, of_side in values.items()}}


def _bars(histogram: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return the outlines of two histograms as points of an SVG of 300x120."""
    most = max(max(histogram["candidate"]), max(histogram["champion"])) or 1.0
    width = 300 / len(histogram["candidate"])

    def outline(shares: Sequence[float]) -> str:
        corners = [(k + end, share) for k, share in enumerate(shares) for end in (0, 1)]
        return " ".join(f"{x * width:.1f},{120 - 115 * share / most:.1f}" for x, share in [(0, 0.0), *corners])

    edges = histogram["edges_ms"]
    return {"from": edges[0], "to": edges[-1], "lines": {s: outline(histogram[s]) for s in ("candidate", "champion")}}
