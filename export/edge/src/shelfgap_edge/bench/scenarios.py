"""Scenarios that run a bundle as a device does: `fleet`, `offline`, `cold` and `memory`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from shelfgap_edge.bench.cold_start import run_cold
from shelfgap_edge.bench.detectors import run_single, run_sweep
from shelfgap_edge.bench.device import peak_memory_mb
from shelfgap_edge.bench.fleet import FleetTiming, fleet_overhead_us, run_fleet
from shelfgap_edge.bench.harness import TOTAL
from shelfgap_edge.bench.judged import ELAPSED, Judged, in_blocks
from shelfgap_edge.bench.memory import Growth, run_memory
from shelfgap_edge.bench.offline import Throughput, offline_overhead_us, run_offline
from shelfgap_edge.bench.plan import Plan
from shelfgap_edge.bench.report import timing_run, to_report, to_run
from shelfgap_edge.bench.turns import run_processes
from shelfgap_edge.bench.variants import Subject
from shelfgap_edge.frame_files import files_of


def run_scenario(subject: Subject, plan: Plan, head: dict[str, Any]) -> dict[str, Any]:
    """Measure a bundle and return the report (see `report.to_report`).

    Args:
        subject: what to measure.
        plan: how.
        head: see `plan.head_of`.

    Raises:
        ShelfgapError: it cannot be measured.
        KeyboardInterrupt: Ctrl-C, before there was anything to report.
    """
    return _SCENARIOS[plan.scenario](subject, plan, head)


def _single(subject: Subject, plan: Plan, head: dict[str, Any]) -> dict[str, Any]:
    return (run_single if plan.processes is None else run_processes)(subject, plan, head)


def _fleet(subject: Subject, plan: Plan, head: dict[str, Any]) -> dict[str, Any]:
    runs, is_interrupted, stages = [], False, 0
    for variant in plan.variants(subject):
        if is_interrupted:
            break
        pipeline = subject.pipeline(variant)
        stages = len(pipeline.stages)
        measured = run_fleet(
            pipeline,
            subject.frames,
            plan.cameras,
            min_seconds=plan.min_seconds,
            min_count=plan.min_count,
            meter=plan.meter,
            progress=plan.progress,
        )
        is_interrupted = measured.timing.is_interrupted
        runs.append(_fleet_run(measured, plan))
    return to_report(
        runs,
        **head,
        overhead_us=fleet_overhead_us(stages),
        peak_memory_mb=peak_memory_mb(),
        energy_absence=plan.meter.absence,
        is_interrupted=is_interrupted,
    )


def _fleet_run(measured: FleetTiming, plan: Plan) -> dict[str, Any]:
    timing = measured.timing
    blocks = in_blocks(timing.latency_ms[TOTAL], lambda values: float(np.median(values)))
    run = timing_run(timing, plan.threads[0])
    run["judged"] = Judged("median from arrival to verdict", "ms", "block", {ELAPSED: blocks}).to_dict()
    run["fleet"] = {
        "cameras": plan.cameras.count,
        "interval_s": plan.cameras.interval_s,
        "jitter": plan.cameras.jitter,
        "offered": measured.offered,
        "shed": measured.shed,
        "shed_share": round(measured.shed / measured.offered, 6),
        "busy": round(measured.busy, 4),
    }
    return run


def _offline(subject: Subject, plan: Plan, head: dict[str, Any]) -> dict[str, Any]:
    runs, is_interrupted, stages = [], False, 0
    for variant in plan.variants(subject):
        if is_interrupted:
            break
        workers = [subject.pipeline(variant) for _ in range(plan.threads[0])]
        stages = len(workers[0].stages)
        done = run_offline(
            workers,
            subject.frames,
            min_seconds=plan.min_seconds,
            min_count=plan.min_count,
            meter=plan.meter,
            progress=plan.progress,
        )
        is_interrupted = done.is_interrupted
        runs.append(_offline_run(done))
    return to_report(
        runs,
        **head,
        overhead_us=offline_overhead_us(stages, plan.threads[0]),
        peak_memory_mb=peak_memory_mb(),
        energy_absence=plan.meter.absence,
        is_interrupted=is_interrupted,
    )


def _offline_run(done: Throughput) -> dict[str, Any]:
    blocks = in_blocks(np.diff(done.done_s, prepend=0.0) * 1e3, lambda values: float(values.mean()))
    return to_run(
        done.name,
        count=done.count,
        duration_s=done.duration_s,
        warmup_count=done.warmup_count,
        latency_ms={},
        judged=Judged("time for a frame", "ms", "block", {ELAPSED: blocks}),
        joules=done.joules,
        offline={"workers": done.workers, "ms_per_frame": round(done.duration_s / done.count * 1e3, 4)},
    )


def _cold(subject: Subject, plan: Plan, head: dict[str, Any]) -> dict[str, Any]:
    variants = plan.variants(subject)
    frame = next(files_of(plan.frames[0])) if plan.frames else None
    measured, is_interrupted = run_cold(
        plan.bundle, variants, starts=plan.min_count, frame=frame, keys=plan.keys, progress=plan.progress
    )
    runs = [
        to_run(
            variant.name,
            count=len(parts_ms[TOTAL]),
            duration_s=float(parts_ms[TOTAL].sum()) / 1e3,
            warmup_count=1,
            latency_ms=parts_ms,
            unit="starts",
            judged=Judged("start to first verdict", "ms", "process", {ELAPSED: parts_ms[TOTAL].tolist()}),
        )
        for variant, parts_ms in zip(variants, measured, strict=True)
    ]
    return to_report(runs, **head, is_interrupted=is_interrupted)


def _memory(subject: Subject, plan: Plan, head: dict[str, Any]) -> dict[str, Any]:
    (variant,) = plan.variants(subject)  # another one would add to the same process
    growth = run_memory(
        subject.pipeline(variant),
        subject.frames,
        min_seconds=plan.min_seconds,
        min_count=plan.min_count,
        progress=plan.progress,
    )
    peak_mb = peak_memory_mb()
    run = to_run(
        variant.name,
        count=int(growth.frames[-1]),
        duration_s=growth.duration_s,
        warmup_count=0,
        latency_ms={},
        judged=Judged("resident memory", "MiB", "block", {"memory": _memory_blocks(growth)}),
        memory=_memory_of(growth, peak_mb),
    )
    return to_report([run], **head, peak_memory_mb=peak_mb, is_interrupted=growth.is_interrupted)


def _memory_blocks(growth: Growth) -> list[float]:
    return in_blocks(growth.resident_mb[growth.settled :], lambda values: float(values.mean()))


def _memory_of(growth: Growth, peak_mb: float | None) -> dict[str, Any]:
    slope = growth.mb_per_1000_frames()
    few = slice(None, None, max(1, len(growth.frames) // 100))
    return {
        "settled_frames": int(growth.frames[growth.settled]),
        "settled_mb": float(growth.resident_mb[growth.settled]),
        "last_frames": int(growth.frames[-1]),
        "last_mb": float(growth.resident_mb[-1]),
        "change": round(growth.change, 6),
        "peak_mb": peak_mb,
        "mb_per_1000_frames": None if slope is None else slope.to_dict(),
        "looks": [[int(n), float(mb)] for n, mb in zip(growth.frames[few], growth.resident_mb[few], strict=True)],
    }


_SCENARIOS: Mapping[str, Callable[[Subject, Plan, dict[str, Any]], dict[str, Any]]] = {
    "single": _single,
    "sweep": run_sweep,
    "fleet": _fleet,
    "offline": _offline,
    "cold": _cold,
    "memory": _memory,
}
