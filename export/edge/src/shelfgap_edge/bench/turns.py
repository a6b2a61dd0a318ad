"""Fresh processes in turns, A B, B A, A B..., each of which measures whole frames and gives one figure.

The way of the platform's gate: a process lays out its memory once, for better or worse, so frames within it agree more
than they should; and what slows the machine for a while slows neighbours alike. See `bench.replicate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from shelfgap_edge.bench.harness import TOTAL
from shelfgap_edge.bench.interval import MIN_VALUES
from shelfgap_edge.bench.judged import ELAPSED, PROCESSOR, Judged
from shelfgap_edge.bench.plan import Plan
from shelfgap_edge.bench.processes import run_module
from shelfgap_edge.bench.report import to_report, to_run
from shelfgap_edge.bench.variants import Subject, Variant


@dataclass
class Side:
    """What is measured, and what its processes said so far."""

    name: str
    bundle: Path
    variant: Variant
    measured: list[dict[str, Any]] = field(default_factory=list)

    def judged(self) -> Judged:
        """Return one value a process; the processor's time first where one thread computes a frame."""
        values = {ELAPSED: [process["p25_ms"] for process in self.measured]}
        if self.variant.threads == 1:
            values = {PROCESSOR: [process["cpu_p25_ms"] for process in self.measured], **values}
        return Judged("25th percentile of a frame", "ms", "process", values)

    def to_run(self) -> dict[str, Any]:
        """Return the frames of all processes together as one run of a report."""
        frames_ms = np.concatenate([process["latency_ms"] for process in self.measured])
        return to_run(
            self.name,
            count=len(frames_ms),
            duration_s=float(frames_ms.sum()) / 1e3,
            warmup_count=0,
            latency_ms={TOTAL: frames_ms},
            judged=self.judged(),
            cpu_ms=np.concatenate([process["cpu_ms"] for process in self.measured]),
            processes=len(self.measured),
        )

    def peak_memory_mb(self) -> float | None:
        """Return the median of the processes' peaks; None where they cannot be read."""
        peaks = [process["peak_memory_mb"] for process in self.measured if process["peak_memory_mb"] is not None]
        return round(float(np.median(peaks)), 1) if peaks else None


def run_processes(subject: Subject, plan: Plan, head: dict[str, Any]) -> dict[str, Any]:
    """Measure the latency of each model in each runtime in `plan.processes` fresh processes.

    Returns:
        The report (see `report.to_report`); whole frames only, since stages are timed in one process.
    """
    sides = [Side(variant.name, plan.bundle, variant) for variant in plan.variants(subject)]
    is_interrupted = run_in_turns(sides, plan, plan.processes or 1)
    return turns_report(sides, head, is_interrupted=is_interrupted)


def run_in_turns(sides: Sequence[Side], plan: Plan, processes: int) -> bool:
    """Measure sides in turns; what their processes say is added to them.

    Args:
        sides: what to measure.
        plan: `min_seconds` and `min_count` of each process; `frames`, none for the golden frames of the first side's
            bundle; `keys`, one of which must have signed each bundle.
        processes: of each side.

    Returns:
        True if Ctrl-C ended it early, with turns enough for an interval; it is passed on if there are fewer.

    Raises:
        BenchError: a process failed.
    """
    pictures: list[object] = ["--golden", sides[0].bundle.absolute()]
    if plan.frames:
        pictures = ["--frames", *(path.absolute() for path in plan.frames)]
    try:
        for turn in range(processes):
            order = list(sides)[:: 1 if turn % 2 == 0 else -1]
            said = []
            for number, side in enumerate(order, start=turn * len(sides)):
                if plan.progress is not None:
                    count = processes * len(sides)
                    plan.progress(number / count, f"process {number + 1} of {count}")
                said.append(_measure(side, plan, pictures))
            for side, measured in zip(order, said, strict=True):  # only whole turns count
                side.measured.append(measured)
    except KeyboardInterrupt:
        if len(sides[0].measured) < MIN_VALUES:
            raise
        return True
    return False


def turns_report(sides: Sequence[Side], head: dict[str, Any], *, is_interrupted: bool) -> dict[str, Any]:
    """Return the report of sides that were measured."""
    report = to_report(
        [side.to_run() for side in sides],
        **head,
        peak_memory_mb=sides[0].peak_memory_mb(),
        is_interrupted=is_interrupted,
    )
    return report | {"settings": report["settings"] | {"processes": len(sides[0].measured)}}


def _measure(side: Side, plan: Plan, pictures: list[object]) -> dict[str, Any]:
    options: list[object] = [*pictures, "--min-seconds", plan.min_seconds, "--min-count", plan.min_count, "--verify"]
    options += ["--threads", side.variant.threads, "--runtime", side.variant.runtime]
    options += ["--precision", side.variant.precision]
    options += [] if plan.keys is None else ["--keys", plan.keys.absolute()]
    measured: dict[str, Any] = run_module("replicate", side.bundle.absolute(), *options)
    return measured
