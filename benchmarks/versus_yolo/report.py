"""The result as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from versus_yolo.latency import ROWS

_ROW_TITLES = {
    "model": "model only",
    "small frame": "decoded 640x480 to boxes",
    "frame": "decoded 1280x960 to boxes",
    "jpeg": "JPEG 1280x960 to boxes",
}
_FIGURE_TITLES = {"ap50": "AP50", "ap50_95": "AP50-95"}


def render(result: Mapping[str, Any]) -> str:
    """Return the result as Markdown: what was compared, the table, differences, latencies, checks."""
    parts = [_heading(result), _main_table(result), _differences(result), _latency(result), _notes(result)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _heading(result: Mapping[str, Any]) -> str:
    data, device = result["data"], result["device"]
    lines = ["# Against YOLO11n"]
    if result["smoke_epochs"] is not None:
        lines += ["", f"**SMOKE RUN, NOT A RESULT: trained for at most {result['smoke_epochs']} epochs.**"]
    lines += [
        "",
        f"{data['test_images']} test images with {data['test_boxes']} boxes in {data['test_groups']} scenes, "
        f"{data['folds']} group-disjoint fold(s); classes {', '.join(data['classes'])}. Differences and figures over "
        "folds are means; intervals are 95 %, from 2,000 draws of whole scenes.",
        "",
        f"{device['cpu_model']}, {device['cores']} cores, {device['architecture']}, {', '.join(device['cpu_flags'])}; "
        f"load before latency {device['load_average_1min']}; "
        + ", ".join(f"{name} {version}" for name, version in result["versions"].items()),
    ]
    return "\n".join(lines)


def _main_table(result: Mapping[str, Any]) -> str:
    threads = sorted(result["latency"], key=int)
    first = result["latency"][threads[0]]["rows"] if threads else []
    header = ["", "AP50 fp32", "AP50 INT8", "AP50-95 fp32", "AP50-95 INT8", "M param.", "GMAC", "training min"]
    header += [f"{_ROW_TITLES[row]} ms" for row in ROWS] + ["peak MB"]
    rows = []
    for run in result["runs"]:
        scores, network = run["accuracy"], run["trainings"][0]
        cells = [run["name"]]
        cells += [f"{scores[p][f]['value']:.3f}" for f in ("ap50", "ap50_95") for p in ("fp32", "int8")]
        cells += [f"{network['parameters'] / 1e6:.2f}", f"{network['macs'] / 1e9:.2f}"]
        cells.append(" / ".join(f"{training['seconds'] / 60:.1f}" for training in run["trainings"]))
        timed = {entry["row"]: entry["p50_ms"] for entry in first if entry["model"] == f"{run['timed_as']} int8"}
        cells += [f"{timed[row]:.2f}" if row in timed else "" for row in ROWS]
        peak_mb = result["peak_memory_mb"].get(run["timed_as"])
        cells.append("" if peak_mb is None else f"{peak_mb:.0f}")
        rows.append(cells)
    text = _table(header, rows)
    if threads:
        text += f"\n\nLatency and memory: INT8, {threads[0]} thread(s), batch 1."
    return text


def _differences(result: Mapping[str, Any]) -> str:
    rows = [
        [
            " ".join(entry["of"]),
            " ".join(entry["minus"]),
            _FIGURE_TITLES[entry["figure"]],
            _signed(entry),
            f"{100 * (entry['high'] - entry['low']):.1f}" if entry["low"] is not None else "",
        ]
        for entry in result["differences"]
    ]
    if not rows:
        return ""
    header = ["", "minus", "figure", "difference [95 %]", "width, points"]
    return "## Differences, paired\n\n" + _table(header, rows)


def _latency(result: Mapping[str, Any]) -> str:
    parts = []
    for threads in sorted(result["latency"], key=int):
        measured = result["latency"][threads]
        rows = []
        for entry in measured["rows"]:
            cells = [_ROW_TITLES[entry["row"]], entry["model"], f"{entry['p50_ms']:.2f}"]
            cells.append(_plain(entry["ratio"]) if "ratio" in entry else "")
            floor = entry.get("floor")
            cells.append(
                f"{_plain(floor['ratio'])} of {floor['decode_ms']:.2f} + {floor['convolutions_ms']:.2f} ms"
                if floor
                else ""
            )
            rows.append(cells)
        title = f"## Latency, {threads} thread(s)\n\n{measured['turns']} turns in one process; dense INT8 convolutions "
        title += f"reach {measured['rate_gmac_s']:.0f} GMAC/s.\n\n"
        header = ["", "model", "median ms", f"of {result['reference']} [95 %]", "of the floor: decode + convolutions"]
        parts.append(title + _table(header, rows))
    return "\n\n".join(parts)


def _notes(result: Mapping[str, Any]) -> str:
    lines = []
    for check in result["agreement"]:
        verdict = "agrees" if check["agrees"] else f"DIFFERS by more than {100 * result['agreement_limit']:g} point"
        lines.append(
            f"{check['run']}, fold {check['fold']}: AP50 of the fp32 ONNX file by our metric code {check['ours']:.4f}, "
            f"by Ultralytics' val {check['ultralytics']:.4f}: {verdict}."
        )
    for run in result["runs"]:
        for number, training in enumerate(run["trainings"], start=1):
            if "int8_val_ap50" in training:
                tried = ", ".join(
                    f"{name} {value:.3f} in {training['int8_ms'][name]:.2f} ms"
                    if value is not None
                    else f"{name} failed"
                    for name, value in training["int8_val_ap50"].items()
                )
                lines.append(
                    f"{run['name']}, fold {number}: INT8 variants, AP50 on validation: {tried}; "
                    f"chosen: {training['int8_chosen']}."
                )
    lines += [f"{note}." for note in result["notes"]]
    return "## Checks\n\n" + "\n".join(f"- {line}" for line in lines) if lines else ""


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([line(header), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)])


def _signed(interval: Mapping[str, float | None]) -> str:
    value, low, high = (interval[key] for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return "not defined"
    return f"{value:+.4f} [{low:+.4f}, {high:+.4f}]"


def _plain(interval: Mapping[str, float | None]) -> str:
    value, low, high = (interval[key] for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return "not defined"
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"
