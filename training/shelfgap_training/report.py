"""An evaluation for people: figures with their intervals, slices, errors and calibration, as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from shelfgap_training.errors import BOX_KINDS, DETECTION_KINDS

TITLES = {
    "ap50": "AP50",
    "ap50_95": "AP50-95",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "recall_at_p90": "recall at 0.9 precision",
    "false_alarms_per_full_shelf": "false alarms per full shelf",
}
"""What the figures of `figures.FIGURES` are called in tables."""


def figure_text(figure: Mapping[str, float | None], digits: int = 2) -> str:
    """Return a figure with its interval.

    >>> figure_text({"value": 0.691, "low": 0.644, "high": 0.73})
    '0.69 [0.64, 0.73]'
    >>> figure_text({"value": 0.691, "low": None, "high": None})
    '0.69'
    >>> figure_text({"value": None, "low": None, "high": None})
    '-'
    """
    value, low, high = figure["value"], figure["low"], figure["high"]
    if value is None:
        return "-"
    if low is None or high is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table in Markdown.

    >>> print(markdown_table(["a", "b"], [[1, "x"]]))
    | a | b |
    |---|---|
    | 1 | x |
    """
    lines = [head, *rows]
    cells = [f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |" for line in lines]
    return "\n".join([cells[0], "|" + "---|" * len(head), *cells[1:]])


def slices_table(slices: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows of an evaluation's `slices` as a table; stores without a figure share one line."""
    rows = []
    small = [row for row in slices if row["by"] == "store" and row["value"] is None]
    if len(small) > 1:
        together = {key: sum(row[key] for row in small) for key in ("images", "groups", "boxes")}
        joined = {**small[0], **together, "slice": f"{len(small)} with too few boxes each"}
        slices = [joined if row is small[0] else row for row in slices if row is small[0] or row not in small]
    for row in slices:
        counts = [row["images"], row["groups"], row["boxes"]]
        rows.append([row["by"], row["slice"], row["class"] or "all", *counts, TITLES[row["figure"]], figure_text(row)])
    return markdown_table(["by", "slice", "class", "images", "groups", "boxes", "figure", "value"], rows)


def errors_tables(errors: Mapping[str, Mapping[str, Mapping[str, int]]]) -> dict[str, str]:
    """Return an evaluation's `errors` as tables by what they count: detections, labelled boxes."""
    return {
        title: markdown_table(
            ["class", *kinds], [[name, *(counts[side][kind] for kind in kinds)] for name, counts in errors.items()]
        )
        for title, side, kinds in (
            ("Detections", "detections", DETECTION_KINDS),
            ("Labelled boxes", "boxes", BOX_KINDS),
        )
    }


def evaluation_markdown(report: Mapping[str, Any], confidence: float) -> str:
    """Return what the evaluation stage found, as Markdown.

    Args:
        report: what `reports/evaluation.json` holds: `val` and `test` by precision, and `int8_minus_fp32`.
        confidence: of the intervals.
    """
    test, int8 = report["test"], report["test"]["int8"]
    columns = {f"{name} validation": evaluation for name, evaluation in report["val"].items()}
    columns |= {f"{name} test": evaluation for name, evaluation in test.items()}
    figures = markdown_table(
        ["", *columns, "int8 minus fp32"],
        [
            *(
                [
                    title,
                    *(figure_text(column[key], 3) for column in columns.values()),
                    figure_text(report["int8_minus_fp32"][key], 3),
                ]
                for key, title in TITLES.items()
            ),
            *([key.replace("_", " "), *(column[key] for column in columns.values()), ""] for key in _COUNTS),
        ],
    )
    by_class = markdown_table(
        ["class", "threshold", "boxes", *TITLES.values()],
        [
            [
                name,
                f"{int8['score_thresholds'][name]:.3f}",
                figures_of["boxes"],
                *(figure_text(figures_of[key]) for key in TITLES),
            ]
            for name, figures_of in int8["by_class"].items()
        ],
    )
    errors = "\n\n".join(f"{side}:\n\n{table}" for side, table in errors_tables(int8["errors"]).items())
    meanings = "\n".join(
        f"- {side} {kind}: {text}"
        for side, kinds in (("detection", DETECTION_KINDS), ("box", BOX_KINDS))
        for kind, text in kinds.items()
    )
    unreadable = ", ".join(int8["unreadable"])
    return f"""# Evaluation

Both models through the edge runtime. Intervals hold {confidence:.0%}, from draws of whole groups of pictures.
Precision, recall, F1 and false alarms are at IoU 0.5 and the operating point, the score threshold of best F1 on
validation; a full shelf is a picture without a labelled box or ignored region, and of a class one without a box of it.

{figures}
{f"{chr(10)}Not readable, in no figure: {unreadable}{chr(10)}" if unreadable else ""}
Below: INT8 on the test split.

## By class

{by_class}

![precision over recall, precision over score](curves.png)

## Slices

Slices of pictures have AP50; slices of boxes have recall, since a false alarm has no true size or place.

{slices_table(int8["slices"])}

## Errors at the operating point

{errors}

{meanings}

The pictures with the most mistakes are on `worst_test.jpg`: labelled boxes green when found, else yellow; detections in
the colour of their class, thin when they hit.

## Calibration

{_calibration(int8["calibration"])}
"""


_COUNTS = ("images", "full_shelves", "groups", "boxes")


def _calibration(calibration: Mapping[str, Mapping[str, Any]]) -> str:
    def text(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    rows = [
        [
            name,
            f"{row['from_score']:g} to {row['to_score']:g}",
            row["count"],
            text(row["mean_score"]),
            text(row["precision"]),
        ]
        for name, table in calibration.items()
        for row in table["bins"]
        if row["count"]
    ]
    errors = ", ".join(f"{name} {text(table['expected_calibration_error'])}" for name, table in calibration.items())
    table = markdown_table(["class", "score", "detections", "mean score", "precision"], rows)
    return f"Expected calibration error: {errors}.\n\n{table}"
