"""A report of a benchmark as plain text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shelfgap_edge.bench.harness import TOTAL

_COLUMNS = ("mean", "median", "p90", "p95", "p99", "max")
_SWEEP_COLUMNS = ("median", "p90", "p99")


def to_table(report: Mapping[str, Any]) -> str:
    """Return a report as plain text."""
    lines = [*_head(report), ""]
    lines += _sweep(report) if report["scenario"] == "sweep" else _runs(report)
    lines += _ratios(report)
    lines += _machine(report)
    needs = {key: reason for run in report["runs"] for key, reason in run["withheld"].items() if key != "p50"}
    lines += [f"- {key} would take {reason}" for key, reason in needs.items()]
    if "comparison" in report:
        lines += ["", *_comparison(report["comparison"])]
    return "\n".join(lines)


def _head(report: Mapping[str, Any]) -> Iterator[str]:
    device, subject, settings = report["device"], report["subject"], report["settings"]
    sizes = ", ".join(f"{height}x{width}" for height, width in subject.get("frame_sizes", ()))
    threads = settings.get("threads", 1)
    yield (
        f"{subject.get('bundle')} {subject.get('version')}, scenario {report['scenario']}"
        + (" (interrupted: what was measured until then)" if report["interrupted"] else "")
        + f"; {subject.get('frames')} {subject.get('frame_source')} frames of {sizes} pixels; threads {threads}; "
        f"signature {subject.get('signature')}"
    )
    yield (
        f"{device['cpu_model']} ({' '.join(device['cpu_flags']) or 'no known flags'}), "
        f"{device['cores']} cores, load {device['load_average_1min']}, "
        + ", ".join(f"{name} {version}" for name, version in device["packages"].items() if version is not None)
    )


def _runs(report: Mapping[str, Any]) -> Iterator[str]:
    wide = _width(report)
    if any(run["latency_ms"] for run in report["runs"]):
        yield f"{'':{wide}}{'milliseconds':<16}" + "".join(f"{head:>10}" for head in _COLUMNS)
    for run in report["runs"]:
        rows = dict(run["latency_ms"])
        if run["cpu_ms"] is not None:
            rows["processor time"] = run["cpu_ms"]
        for stage, row in rows.items():
            yield f"{run['name']:<{wide}}{stage:<16}" + "".join(f"{_number(row[key]):>10}" for key in _COLUMNS)
        for text in _run_texts(report["scenario"], run):
            yield f"{run['name']:<{wide}}{text}"


def _run_texts(scenario: str, run: Mapping[str, Any]) -> Iterator[str]:
    if scenario == "cold":
        yield f"{run['count']} starts of a process, each until its first verdict"
        return
    processes = f", {run['processes']} processes" if "processes" in run else ""
    yield f"{run['count']} frames in {run['duration_s']:.1f} s, {run['frames_per_s']:.1f} a second{processes}"
    if "fleet" in run:
        fleet = run["fleet"]
        yield (
            f"{fleet['cameras']} cameras, a frame every {fleet['interval_s']:g} s each: {fleet['offered']} arrived, "
            f"{fleet['shed']} shed for a newer one ({fleet['shed_share']:.2%}), worker busy {fleet['busy']:.0%}"
        )
    if "offline" in run:
        yield f"{run['offline']['workers']} at once, {run['offline']['ms_per_frame']:.3f} ms a frame"
    if "memory" in run:
        yield from _memory_texts(run["memory"])
    if run["energy"] is not None:
        energy = run["energy"]
        yield f"{energy['joules_per_frame']:.4f} J a frame, {energy['watts']:.1f} W, of all processors of the machine"


def _memory_texts(memory: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"memory {memory['settled_mb']:.1f} MiB after {memory['settled_frames']} frames, {memory['last_mb']:.1f} MiB "
        f"after {memory['last_frames']} ({memory['change']:+.2%}), peak {_mb(memory['peak_mb'])}"
    )
    slope = memory["mb_per_1000_frames"]
    if slope is None:
        yield "growth unknown: too few frames"
    else:
        yield f"growth {slope['value']:+.4f} [{slope['low']:+.4f}, {slope['high']:+.4f}] MiB in 1000 frames"


def _sweep(report: Mapping[str, Any]) -> Iterator[str]:
    wide = _width(report)
    first = report["runs"][0]["name"]
    of_first = {entry["name"]: entry["total"] for entry in report["ratios"] if entry["reference"] == first}
    heads = [*_SWEEP_COLUMNS, "cpu median", "frames/s", "J/frame"]
    yield f"{'milliseconds':<{wide}}" + "".join(f"{head:>12}" for head in heads) + f"  time by that of {first}"
    for run in report["runs"]:
        total = run["latency_ms"][TOTAL]
        energy = run["energy"]["joules_per_frame"] if run["energy"] else None
        cells = [*(_number(total[key]) for key in _SWEEP_COLUMNS), _number(run["cpu_ms"]["median"])]
        cells += [f"{run['frames_per_s']:.1f}", _number(energy)]
        compared = _interval(of_first.get(run["name"])) if run["name"] != first else "1"
        yield f"{run['name']:<{wide}}" + "".join(f"{cell:>12}" for cell in cells) + f"  {compared}"


def _ratios(report: Mapping[str, Any]) -> Iterator[str]:
    if report["scenario"] == "sweep":
        return
    for entry in report["ratios"]:
        for stage, value in entry["p50"].items():
            interval = entry["total"] if stage == TOTAL else None
            blocks = "" if interval is None else f", block by block {_interval(interval)}"
            yield f"{entry['name']}/{entry['reference']} {stage} median: {_number(value)}{blocks}"


def _machine(report: Mapping[str, Any]) -> Iterator[str]:
    overhead = report["harness_overhead_us"]
    parts = [] if overhead is None else [f"harness overhead {overhead:.1f} us a frame, measured with a null model"]
    if report["scenario"] not in ("cold", "memory"):
        parts.append(f"peak memory {_mb(report['peak_memory_mb'])}")
    if parts:
        yield "; ".join(parts)
    if report["energy_absence"] is not None:
        yield f"energy: no figure, {report['energy_absence']}"


def _comparison(comparison: Mapping[str, Any]) -> Iterator[str]:
    yield f"against {comparison['against']}, margin {comparison['margin']:.0%}: {comparison['verdict'].upper()}"
    for entry in comparison["runs"]:
        yield (
            f"  {entry['name']}: {_interval(entry['ratio'])} of it ({entry['figure']}, {entry['clock']}): "
            f"{entry['verdict']}, {entry['reason']}"
        )
    yield from (f"  note: {note}" for note in comparison["notes"])


def _width(report: Mapping[str, Any]) -> int:
    return 2 + max(len("milliseconds"), *(len(run["name"]) for run in report["runs"]))


def _interval(interval: Mapping[str, float] | None) -> str:
    if interval is None:
        return "-"
    return f"{interval['value']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _mb(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0f} MiB"
