"""The report of a benchmark: a JSON-ready dict of a versioned schema, and a table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfgap_edge.bench.harness import TOTAL, Timing, ratio
from shelfgap_edge.bench.percentile import min_samples, percentile

SCHEMA = "shelfgap-bench/1"
PERCENTS = (50, 90, 95, 99)


def to_report(
    timings: Sequence[Timing],
    *,
    subject: Mapping[str, Any],
    settings: Mapping[str, Any],
    device: Mapping[str, Any],
    overhead_us: float,
    peak_memory_mb: float | None,
    ratio_stages: Sequence[str] = (TOTAL,),
    comparisons: Sequence[tuple[int, int]] | None = None,
) -> dict[str, Any]:
    """Return the report as a JSON-ready dict.

    Args:
        timings: one a pipeline, their rounds interleaved.
        subject: what was measured (name, version, frames).
        settings: how (minimums, threads).
        device: see `device.device_facts`.
        overhead_us: see `harness.overhead_us`.
        peak_memory_mb: of the process, all pipelines together.
        ratio_stages: stages to compare.
        comparisons: index of a timing and of its reference; None compares each after the first with the first.

    Returns:
        Keys `schema`, `created_at`, `subject`, `settings`, `device`, `harness_overhead_us`, `peak_memory_mb`,
        `runs` (`name`, `count`, `duration_s`, `warmup_count`, `frames_per_s`, `latency_ms` by stage, and
        `withheld`: why a percentile is null) and `ratios` (`name`, `reference`, `p50` by stage).
    """
    if comparisons is None:
        comparisons = [(index, 0) for index in range(1, len(timings))]
    return {
        "schema": SCHEMA,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "subject": dict(subject),
        "settings": dict(settings),
        "device": dict(device),
        "harness_overhead_us": round(overhead_us, 3),
        "peak_memory_mb": peak_memory_mb,
        "runs": [_run(timing) for timing in timings],
        "ratios": [
            {
                "name": timings[ours].name,
                "reference": timings[reference].name,
                "p50": {stage: _rounded(ratio(timings[ours], timings[reference], stage)) for stage in ratio_stages},
            }
            for ours, reference in comparisons
        ],
    }


def to_table(report: Mapping[str, Any]) -> str:
    """Return a report as plain text."""
    device, subject = report["device"], report["subject"]
    wide = 2 + max(6, *(len(run["name"]) for run in report["runs"]))
    lines = [
        " ".join(f"{key}={value}" for key, value in subject.items()),
        f"{device['cpu_model']} ({' '.join(device['cpu_flags']) or 'no known flags'}), "
        f"{device['cores']} cores, load {device['load_average_1min']}, "
        + ", ".join(f"{name} {version}" for name, version in device["packages"].items() if version is not None),
        "",
        f"{'':{wide}}{'stage':<14}" + "".join(f"{head:>10}" for head in ("mean ms", *_PERCENT_KEYS, "max")),
    ]
    withheld: dict[str, str] = {}
    for run in report["runs"]:
        for stage, row in run["latency_ms"].items():
            cells = (row["mean"], *(row[key] for key in _PERCENT_KEYS), row["max"])
            texts = ("-" if cell is None else f"{cell:.3f}" for cell in cells)
            lines.append(f"{run['name']:<{wide}}{stage:<14}" + "".join(f"{text:>10}" for text in texts))
        lines.append(
            f"{run['name']:<{wide}}{run['count']} frames in {run['duration_s']:.1f} s, "
            f"{run['frames_per_s']:.1f} a second"
        )
        withheld.update(run["withheld"])
    for entry in report["ratios"]:
        for stage, value in entry["p50"].items():
            shown = "-" if value is None else f"{value:.3f}"
            lines.append(f"{entry['name']}/{entry['reference']} {stage} p50: {shown}")
    memory = report["peak_memory_mb"]
    lines.append(
        f"harness overhead {report['harness_overhead_us']:.1f} us a frame; peak memory "
        f"{'unknown' if memory is None else f'{memory:.0f} MiB'}"
    )
    lines += [f"- {key}: {reason}" for key, reason in withheld.items()]
    return "\n".join(lines)


_PERCENT_KEYS = tuple(f"p{percent}" for percent in PERCENTS)


def _run(timing: Timing) -> dict[str, Any]:
    return {
        "name": timing.name,
        "count": timing.count,
        "duration_s": round(timing.duration_s, 3),
        "warmup_count": timing.warmup_count,
        "frames_per_s": round(timing.count / timing.duration_s, 3),
        "latency_ms": {stage: _summary(values) for stage, values in timing.latency_ms.items()},
        "withheld": {
            f"p{percent}": f"needs {min_samples(percent)} samples, got {timing.count}"
            for percent in PERCENTS
            if timing.count < min_samples(percent)
        },
    }


def _summary(latency_ms: NDArray[np.float64]) -> dict[str, float | None]:
    percentiles = {f"p{percent}": _rounded(percentile(latency_ms, percent)) for percent in PERCENTS}
    return {
        "mean": _rounded(float(latency_ms.mean())),
        "min": _rounded(float(latency_ms.min())),
        **percentiles,
        "max": _rounded(float(latency_ms.max())),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
