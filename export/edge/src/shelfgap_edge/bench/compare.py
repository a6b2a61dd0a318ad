"""Is this report slower than an earlier one? By ratio with an interval, of what may be compared."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

from shelfgap_edge.bench.interval import MIN_VALUES, Interval, separate_ratio
from shelfgap_edge.bench.report import SCHEMA
from shelfgap_edge.errors import BenchError

Verdict = Literal["pass", "fail", "inconclusive"]

EXIT_CODES: Mapping[Verdict, int] = {"pass": 0, "fail": 1, "inconclusive": 3}
ASPECTS = ("device", "scenario", "threads", "frames")
"""What must be the same for two reports to be compared."""

_BUSY = 0.5  # load a core before the measurement itself
_DEVICE_FACTS = ("cpu_model", "board", "architecture", "cores_usable", "cpu_quota", "governor")


def read_report(path: Path) -> dict[str, Any]:
    """Read a report that `shelfgap-edge bench --json` printed.

    Raises:
        BenchError: it cannot be read, or is of another schema.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BenchError(f"{path}: the report cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise BenchError(f"{path}: not JSON; expected what shelfgap-edge bench --json prints") from None
    schema = report.get("schema") if isinstance(report, dict) else None
    if schema != SCHEMA:
        raise BenchError(
            f"{path}: expected a report of schema {SCHEMA}, got {schema!r}; measure again with this version"
        )
    try:
        aspects_of(report), report["subject"]["frames_sha256"], report["device"]["packages"].items()
        " ".join(report["subject"]["runtimes"])
        for run in report["runs"]:
            str.encode(run["name"] + run["judged"]["level"])
            if not all(0 < value < math.inf for values in run["judged"]["values"].values() for value in values):
                raise ValueError("a figure that is none")
    except (KeyError, TypeError, ValueError, AttributeError):
        raise BenchError(f"{path}: not a whole report of {SCHEMA}; measure again") from None
    return dict(report)


def aspects_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must be the same, by aspect; empty values where a report does not tell."""
    settings, device = report["settings"], report["device"]
    only = {key: value for key, value in settings.items() if key in ("cameras", "interval_s", "jitter")}
    return {
        "device": {fact: device.get(fact) for fact in _DEVICE_FACTS},
        "scenario": {"scenario": report["scenario"], **only},
        "threads": {"threads": settings["threads"]},
        "frames": {"sizes": [list(size) for size in report["subject"]["frame_sizes"]]},
    }


def check_comparable(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], where: str, despite: Collection[str] = ()
) -> list[str]:
    """Refuse to compare what differs in an aspect, unless told to; return what differs all the same.

    Args:
        ours: this report, or `settings`, `device`, `scenario` and `subject` of what will be one.
        theirs: the earlier one.
        where: its name in messages.
        despite: aspects that may differ.

    Raises:
        BenchError: an aspect differs that may not; says which and how.
    """
    mine, other = aspects_of(ours), aspects_of(theirs)
    differences = {
        aspect: "; ".join(
            f"{name} is {mine[aspect].get(name)!r} here and {other[aspect].get(name)!r} there"
            for name in dict.fromkeys([*mine[aspect], *other[aspect]])
            if mine[aspect].get(name) != other[aspect].get(name)
        )
        for aspect in ASPECTS
    }
    refused = {aspect: text for aspect, text in differences.items() if text and aspect not in despite}
    if refused:
        told = " ".join(refused)
        said = "; ".join(f"{aspect} differs: {text}" for aspect, text in refused.items())
        raise BenchError(f"{where}: not comparable, {said} (to compare all the same: --despite {told})")
    notes = [f"{aspect} differs: {text}" for aspect, text in differences.items() if text]
    runtimes = [" and ".join(report["subject"]["runtimes"]) for report in (ours, theirs)]
    if runtimes[0] != runtimes[1]:
        notes.append(f"the runtime is {runtimes[0]} here and {runtimes[1]} there")
    if not differences["frames"] and ours["subject"]["frames_sha256"] != theirs["subject"]["frames_sha256"]:
        notes.append("other pictures of the same sizes: decoding may differ")
    versions = [{**report["device"]["packages"], "python": report["device"].get("python")} for report in (ours, theirs)]
    notes += [
        f"{name} is {versions[0].get(name)} here and {versions[1].get(name)} there"
        for name in dict.fromkeys([*versions[0], *versions[1]])
        if versions[0].get(name) != versions[1].get(name)
    ]
    return notes + [
        f"the machine was busy {when}: load {load} on {report['device']['cores']} cores"
        for when, report in (("now", ours), ("then", theirs))
        if (load := report["device"].get("load_average_1min") or 0) > _BUSY * (report["device"].get("cores") or 1)
    ]


def compare_reports(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], where: str, *, margin: float, despite: Collection[str] = ()
) -> dict[str, Any]:
    """Compare the runs that two reports have in common.

    Args:
        ours: this report.
        theirs: the earlier one.
        where: its name.
        margin: how much slower is tolerated, as a share.
        despite: aspects that may differ (see `check_comparable`).

    Returns:
        JSON-ready: `kind`, `against`, `margin`, `verdict`, `runs` (`name`, `figure`, `clock`, `ratio`, `verdict`,
        `reason`) and `notes`.

    Raises:
        BenchError: not comparable, or no run in common.
    """
    notes = check_comparable(ours, theirs, where, despite)
    by_name = {run["name"]: run for run in theirs["runs"]}
    common = [run for run in ours["runs"] if run["name"] in by_name]
    if not common:
        names = [", ".join(run["name"] for run in report["runs"]) for report in (ours, theirs)]
        raise BenchError(f"{where}: no run in common; here {names[0]}, there {names[1]}")
    runs = [_compare_run(run, by_name[run["name"]], margin) for run in common]
    if any("block" in (run["judged"]["level"], by_name[run["name"]]["judged"]["level"]) for run in common):
        notes.append(
            "the interval covers how blocks of frames vary within a process, not how processes do: measure both with "
            "--processes 10, or better in turns, --against BUNDLE"
        )
    return comparison("report", where, margin, runs, notes)


def comparison(kind: str, against: str, margin: float, runs: list[dict[str, Any]], notes: list[str]) -> dict[str, Any]:
    """Return a comparison for a report; its verdict is the worst of its runs."""
    verdicts = {run["verdict"] for run in runs}
    verdict = next(name for name in ("fail", "inconclusive", "pass") if name in verdicts)
    return {"kind": kind, "against": against, "margin": margin, "verdict": verdict, "runs": runs, "notes": notes}


def compared_run(name: str, figure: str, clock: str, ratio: Interval | None, margin: float) -> dict[str, Any]:
    """Return one run of a comparison, judged."""
    verdict, reason = judge(ratio, margin)
    return {
        "name": name,
        "figure": figure,
        "clock": clock,
        "ratio": None if ratio is None else ratio.to_dict(),
        "verdict": verdict,
        "reason": reason,
    }


def judge(ratio: Interval | None, margin: float) -> tuple[Verdict, str]:
    """Decide whether a ratio to what was before is tolerated, and say why.

    Pass when it is beyond doubt that it is below 1 + margin. Fail when it is above that as measured, and beyond doubt
    above 1. Else inconclusive.

    >>> judge(Interval(1.01, 0.99, 1.03), 0.05)
    ('pass', 'at most +3.0 %')
    >>> judge(Interval(1.20, 1.10, 1.31), 0.05)
    ('fail', '+20.0 %, at least +10.0 %')
    >>> judge(Interval(1.02, 0.95, 1.10), 0.05)[0]
    'inconclusive'
    """
    if ratio is None:
        return "inconclusive", f"too few frames: {MIN_VALUES} blocks or processes make an interval"
    if ratio.high < 1 + margin:
        return "pass", f"at most {_percent(ratio.high)}"
    if ratio.value > 1 + margin and ratio.low > 1:
        return "fail", f"{_percent(ratio.value)}, at least {_percent(ratio.low)}"
    return "inconclusive", f"between {_percent(ratio.low)} and {_percent(ratio.high)}; measure longer"


def _compare_run(ours: Mapping[str, Any], theirs: Mapping[str, Any], margin: float) -> dict[str, Any]:
    mine, other = ours["judged"], theirs["judged"]
    clock = next((clock for clock in mine["values"] if clock in other["values"]), None)
    ratio = None if clock is None else separate_ratio(mine["values"][clock], other["values"][clock])
    return compared_run(ours["name"], mine["figure"], clock or "no clock in common", ratio, margin)


def _percent(ratio: float) -> str:
    return f"{(ratio - 1) * 100:+.1f} %"
