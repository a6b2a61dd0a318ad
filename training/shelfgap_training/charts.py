"""Two curves on one picture: precision over recall, and precision over score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from shelfgap_training.figures import ClassMatches
from shelfgap_training.gallery import CLASS_COLOURS


def draw_curves(
    path: Path, matches: Sequence[ClassMatches], calibration: Mapping[str, Mapping[str, Any]], classes: Sequence[str]
) -> None:
    """Write the curves of each class at IoU 0.5 as a PNG.

    Left: precision over recall, a dot at the operating point. Right: precision over score, bins of the reliability
    table as dots whose area follows their count; a calibrated detector lies on the diagonal.

    Args:
        path: file to write.
        matches: of each class.
        calibration: class name -> what `calibration.reliability` returned.
        classes: names by class id.
    """
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    curve, diagram = figure.subplots(1, 2)
    for table, name in zip(matches, classes, strict=True):
        colour = tuple(value / 255 for value in CLASS_COLOURS[name])
        boxes = max(1, int(table.boxes.sum()))
        hits, found = np.cumsum(table.is_hit[0]), np.arange(1, len(table.scores) + 1)
        curve.plot(hits / boxes, hits / found, color=colour, label=name)
        if table.score_threshold is not None:
            last = int((table.scores >= table.score_threshold).sum()) - 1
            if last >= 0:
                curve.plot(hits[last] / boxes, hits[last] / found[last], "o", color=colour)
        bins = [row for row in calibration[name]["bins"] if row["count"]]
        total = sum(row["count"] for row in bins)
        diagram.plot([row["mean_score"] for row in bins], [row["precision"] for row in bins], color=colour, lw=1)
        diagram.scatter(
            [row["mean_score"] for row in bins],
            [row["precision"] for row in bins],
            [20 + 400 * row["count"] / total for row in bins],
            color=colour,
            alpha=0.7,
        )
    diagram.plot([0, 1], [0, 1], color="grey", lw=0.8, ls="--")
    for axes, title, across in (
        (curve, "Precision over recall", "recall"),
        (diagram, "Precision over score", "mean score"),
    ):
        axes.set(title=title, xlabel=across, ylabel="precision", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.grid(alpha=0.3)
    curve.legend()
    figure.savefig(path, format="png", dpi=100)
