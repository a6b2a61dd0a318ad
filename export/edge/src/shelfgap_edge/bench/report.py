"""The report of a benchmark: a JSON-ready dict of a versioned schema, `report.schema.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfgap_edge.bench.harness import TOTAL, Timing, ratio
from shelfgap_edge.bench.interval import paired_ratio
from shelfgap_edge.bench.judged import ELAPSED, Judged, judged_frames
from shelfgap_edge.bench.percentile import min_samples, tail_estimate

SCHEMA = "shelfgap-bench/2"
PERCENTS = (50, 90, 95, 99)


def to_report(
    runs: Sequence[Mapping[str, Any]],
    *,
    scenario: str,
    subject: Mapping[str, Any],
    settings: Mapping[str, Any],
    device: Mapping[str, Any],
    overhead_us: float | None = None,
    peak_memory_mb: float | None = None,
    ratios: Sequence[Mapping[str, Any]] = (),
    energy_absence: str | None = None,
    is_interrupted: bool = False,
) -> dict[str, Any]:
    """Return the report as a JSON-ready dict.

    Args:
        runs: see `timing_run` and `to_run`.
        scenario: what was done.
        subject: what was measured (name, version, frames).
        settings: how (minimums, threads).
        device: see `device.device_facts`.
        overhead_us: what the harness adds to a frame, measured with a null model; None where it has no part in it.
        peak_memory_mb: of the process, all runs together; None where it cannot be read.
        ratios: see `ratios_of`.
        energy_absence: why no run has an energy; None where they have, or none was to be measured.
        is_interrupted: Ctrl-C ended it before it was done.
    """
    return {
        "schema": SCHEMA,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "scenario": scenario,
        "interrupted": is_interrupted,
        "subject": dict(subject),
        "settings": dict(settings),
        "device": dict(device),
        "harness_overhead_us": None if overhead_us is None else round(overhead_us, 3),
        "peak_memory_mb": peak_memory_mb,
        "energy_absence": energy_absence,
        "runs": [dict(run) for run in runs],
        "ratios": [dict(entry) for entry in ratios],
    }


def to_run(
    name: str,
    *,
    count: int,
    duration_s: float,
    warmup_count: int,
    latency_ms: Mapping[str, NDArray[np.float64]],
    judged: Judged | None,
    cpu_ms: NDArray[np.float64] | None = None,
    joules: float | None = None,
    unit: str = "frames",
    **more: Any,
) -> dict[str, Any]:
    """Return one run of a report.

    Args:
        name: of the run within its report.
        count: frames, or starts.
        duration_s: time that they took.
        warmup_count: frames before, not counted.
        latency_ms: float64 (count,) by stage.
        judged: what another report is compared by.
        cpu_ms: float64 (count,), time that the process had a processor.
        joules: of the whole machine; None where it is not metered.
        unit: what is counted.
        more: what only this scenario has.
    """
    return {
        "name": name,
        "count": count,
        "duration_s": round(duration_s, 3),
        "warmup_count": warmup_count,
        "frames_per_s": round(count / duration_s, 3) if duration_s else None,
        "latency_ms": {stage: _summary(values) for stage, values in latency_ms.items()},
        "cpu_ms": None if cpu_ms is None else _summary(cpu_ms),
        "withheld": _withheld(count, unit) if latency_ms else {},
        "energy": None if joules is None else _energy(joules, count, duration_s),
        "judged": None if judged is None else judged.to_dict(),
        **more,
    }


def timing_run(timing: Timing, threads: int, **more: Any) -> dict[str, Any]:
    """Return the run of a `Timing`, judged by its frames (see `judged_frames`)."""
    return to_run(
        timing.name,
        count=timing.count,
        duration_s=timing.duration_s,
        warmup_count=timing.warmup_count,
        latency_ms=timing.latency_ms,
        judged=judged_frames(timing.latency_ms[TOTAL], timing.cpu_ms, threads),
        cpu_ms=timing.cpu_ms,
        joules=timing.joules,
        **more,
    )


def ratios_of(
    timings: Sequence[Timing],
    *,
    stages: Sequence[str] = (TOTAL,),
    comparisons: Sequence[tuple[int, int]] | None = None,
) -> list[dict[str, Any]]:
    """Return ratios of runs whose rounds were interleaved.

    Args:
        timings: what was measured.
        stages: whose medians to compare.
        comparisons: index of a timing and of its reference; None compares each after the first with the first.

    Returns:
        `name`, `reference`, `p50` (ratio of the medians by stage) and `total` (ratio of the time that passed for whole
        frames, block by block, with its interval).
    """
    if comparisons is None:
        comparisons = [(index, 0) for index in range(1, len(timings))]
    entries = []
    for ours, theirs in comparisons:
        blocks = [
            judged_frames(timings[index].latency_ms[TOTAL], timings[index].cpu_ms, 1).values[ELAPSED]
            for index in (ours, theirs)
        ]
        interval = paired_ratio(*blocks) if len(blocks[0]) == len(blocks[1]) else None
        entries.append(
            {
                "name": timings[ours].name,
                "reference": timings[theirs].name,
                "p50": {stage: _rounded(ratio(timings[ours], timings[theirs], stage)) for stage in stages},
                "total": None if interval is None else interval.to_dict(),
            }
        )
    return entries


def _energy(joules: float, count: int, duration_s: float) -> dict[str, float]:
    return {"joules_per_frame": round(joules / count, 5), "watts": round(joules / duration_s, 3)}


def _withheld(count: int, unit: str) -> dict[str, str]:
    return {
        f"p{percent}": f"{min_samples(percent) - count} more {unit} (it needs {min_samples(percent)}, got {count})"
        for percent in PERCENTS
        if count < min_samples(percent)
    }


def _summary(values_ms: NDArray[np.float64]) -> dict[str, float | None]:
    return {
        "mean": _rounded(float(values_ms.mean())),
        "min": _rounded(float(values_ms.min())),
        "median": _rounded(float(np.median(values_ms))),
        **{f"p{percent}": _rounded(tail_estimate(values_ms, percent)) for percent in PERCENTS},
        "max": _rounded(float(values_ms.max())),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
