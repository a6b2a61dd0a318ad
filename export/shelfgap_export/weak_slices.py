"""Where a detector is weak: the slices of an evaluation in few lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from shelfgap_training.report import TITLES, figure_text, markdown_table

Row = Mapping[str, Any]


def by_slice(slices: Sequence[Row]) -> str:
    """Return a Markdown table with the weakest and the strongest slice of each partition.

    Args:
        slices: of an evaluation, see `shelfgap_training.slices.slice_figures`.
    """
    rows = []
    for (by, class_name, figure), partition in groupby(slices, lambda row: (row["by"], row["class"], row["figure"])):
        parts = list(partition)
        known = sorted((row for row in parts if row["value"] is not None), key=lambda row: row["value"])
        ends = [_told(known[0]), _told(known[-1]) if len(known) > 1 else "-"] if known else ["-", "-"]
        rows.append([by, class_name or "all", TITLES[figure], *ends, len(parts) - len(known)])
    return markdown_table(["by", "class", "figure", "weakest", "strongest", "slices of too few boxes"], rows)


def below_the_whole(evaluation: Mapping[str, Any]) -> list[str]:
    """Name the slices whose interval ends below the figure of all test pictures, the weakest first.

    Many slices are looked at, so that one in some tens is named by chance.

    Args:
        evaluation: of one precision, with `slices`, the figures of all classes and, below `by_class`, those of each.
    """
    weak = []
    for row in evaluation["slices"]:
        of_class = evaluation if row["class"] is None else evaluation.get("by_class", {}).get(row["class"], {})
        whole = of_class.get(row["figure"], {}).get("value")
        if whole is None or row["high"] is None or row["high"] >= whole:
            continue
        figure = f"{TITLES[row['figure']]} {figure_text(row)}, on all {whole:.2f}"
        told = f"{row['class'] or 'all classes'}, {row['by']} {row['slice']}: {figure}"
        weak.append((row["value"] - whole, told))
    return [told for _, told in sorted(weak)]


def unproven(slices: Sequence[Row]) -> str:
    """Name the slices without a figure; stores are only counted."""
    few = [row for row in slices if row["value"] is None]
    stores = sum(row["by"] == "store" for row in few)
    names = [f"{row['class'] or 'all classes'} at {row['by']} {row['slice']}" for row in few if row["by"] != "store"]
    return ", ".join([*names, *([f"{stores} store{'s' if stores > 1 else ''}"] if stores else [])])


def _told(row: Row) -> str:
    return f"{row['slice']}: {figure_text(row)}"
