"""Times pipelines of named stages, side by side, knowing nothing of what they do: the scenario `single`.

One sample after another, each as soon as the one before is done: latency without queueing. Pipelines take
turns in short rounds, A B, B A, A B..., so that whatever slows the machine down for a while slows all of
them, and a ratio between two of them means something.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfgap_edge.bench.energy import EnergyMeter
from shelfgap_edge.bench.percentile import percentile

TOTAL = "total"
_ROUND_COUNT = 8  # samples a pipeline runs before the next one has its turn

Progress = Callable[[float, str], None]
"""Told the share that is done, 0 to 1, and what is being done."""


@dataclass(frozen=True)
class Pipeline:
    """Named stages in order: the first takes a sample, each next what the one before returned."""

    name: str
    stages: Mapping[str, Callable[[Any], Any]]


@dataclass(frozen=True, eq=False)
class Timing:
    """What was measured of one pipeline.

    Attributes:
        name: the pipeline.
        latency_ms: float64 (N,) by stage, and under "total" from the start of the first stage to the end of
            the last, the clock's own cost included.
        duration_s: time spent in this pipeline, warm-up aside.
        warmup_count: samples run before, not counted.
        cpu_ms: float64 (N,), time that all threads of the process had a processor during a sample.
        joules: of the whole machine while this pipeline ran; None where it is not metered.
        is_interrupted: Ctrl-C came before the minimums were met.
    """

    name: str
    latency_ms: Mapping[str, NDArray[np.float64]]
    duration_s: float
    warmup_count: int
    cpu_ms: NDArray[np.float64]
    joules: float | None = None
    is_interrupted: bool = False

    @property
    def count(self) -> int:
        """Number of samples measured."""
        return len(self.latency_ms[TOTAL])


@dataclass
class _Run:
    """What a pipeline has measured so far."""

    stages: tuple[Callable[[Any], Any], ...]
    ticks_ns: list[list[int]] = field(default_factory=list)  # sample, then ticks at each boundary
    cpu_ns: list[int] = field(default_factory=list)
    spent_ns: int = 0
    joules: float | None = 0.0


def measure(
    pipelines: Sequence[Pipeline],
    samples: Sequence[Any],
    *,
    min_seconds: float,
    min_count: int,
    warmup_count: int = 10,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
    meter: EnergyMeter | None = None,
    progress: Progress | None = None,
) -> list[Timing]:
    """Run pipelines in turns until each has both its minimum time and its minimum count.

    Ctrl-C ends it early, with what was measured; it is passed on if a pipeline has nothing yet.

    Args:
        pipelines: one or more, with stages of any names but "total".
        samples: inputs, taken in turn, over again when they are used up; each pipeline sees the same order.
        min_seconds: time to measure each pipeline, at least.
        min_count: samples to measure with each pipeline, at least; 1 or more.
        warmup_count: samples to run through each pipeline first.
        clock_ns: nanoseconds, monotonic.
        meter: of energy, read between rounds; None measures none.
        progress: told how far it is.

    Returns:
        One `Timing` a pipeline, in their order. What a stage raises is passed on.

    Raises:
        ValueError: nothing to run, or a stage called "total".
    """
    check_measurable(pipelines, samples, min_count)
    runs = [_Run(tuple(pipeline.stages.values())) for pipeline in pipelines]
    is_interrupted = False
    try:
        for run in runs:
            for turn in range(warmup_count):
                _run_once(run.stages, samples[turn % len(samples)], clock_ns)
        order = list(runs)
        while any(run.spent_ns < min_seconds * 1e9 or len(run.ticks_ns) < min_count for run in runs):
            for run in order:
                _round(run, samples, clock_ns, meter)
            order.reverse()
            if progress is not None:
                slowest = min(len(run.ticks_ns) for run in runs)
                progress(share_done(runs[0].spent_ns, min_seconds, slowest, min_count), f"{slowest} frames each")
    except KeyboardInterrupt:
        if not all(run.ticks_ns for run in runs):
            raise
        is_interrupted = True
    return [
        _to_timing(pipeline, run, warmup_count=warmup_count, is_interrupted=is_interrupted)
        for pipeline, run in zip(pipelines, runs, strict=True)
    ]


def overhead_us(stage_count: int, *, count: int = 1000) -> float:
    """Return what `measure` adds to a total, in microseconds: the median time of a null model.

    Its stages do nothing. A real graph that does nothing would measure what the runtime needs to start one, and that
    is part of what a detector costs.

    Args:
        stage_count: stages of the pipeline in question.
        count: samples to take.
    """
    (timing,) = measure([null_pipeline(stage_count)], [None], min_seconds=0, min_count=count)
    return float(np.median(timing.latency_ms[TOTAL])) * 1e3


def null_pipeline(stage_count: int) -> Pipeline:
    """Return a model that does nothing, in as many stages."""
    return Pipeline("null", {f"stage {index}": _nothing for index in range(stage_count)})


def ratio(timing: Timing, reference: Timing, stage: str = TOTAL) -> float | None:
    """Return the median latency of a stage over that of the reference, None where samples are too few."""
    ours, theirs = percentile(timing.latency_ms[stage], 50), percentile(reference.latency_ms[stage], 50)
    return ours / theirs if ours is not None and theirs else None


def check_measurable(pipelines: Sequence[Pipeline], samples: Sequence[Any], min_count: int) -> None:
    """Refuse what cannot be measured.

    Raises:
        ValueError: nothing to run, or a stage called "total".
    """
    if not pipelines or not samples or min_count < 1 or not all(p.stages for p in pipelines):
        raise ValueError("a measurement needs a pipeline with stages, a sample and a count of 1 or more")
    if any(TOTAL in pipeline.stages for pipeline in pipelines):
        raise ValueError(f"no stage may be called {TOTAL!r}")


def share_done(spent_ns: int, min_seconds: float, count: int, min_count: int) -> float:
    """Return how far a measurement is that must meet both minimums."""
    return min(1.0, count / min_count, spent_ns / 1e9 / min_seconds if min_seconds else 1.0)


def stage_latencies_ms(names: Sequence[str], ticks_ns: Sequence[Sequence[int]]) -> dict[str, NDArray[np.float64]]:
    """Return milliseconds by stage and under "total", of ticks at each boundary, one row a sample."""
    ticks = np.array(ticks_ns, dtype=np.int64)
    latency_ms = dict(zip(names, np.diff(ticks, axis=1).T / 1e6, strict=True))
    latency_ms[TOTAL] = (ticks[:, -1] - ticks[:, 0]) / 1e6
    return latency_ms


def run_stages(
    stages: Sequence[Callable[[Any], Any]], value: Any, clock_ns: Callable[[], int], ticks_ns: list[int]
) -> None:
    """Run a sample through stages; the tick at the end of each is added."""
    for stage in stages:
        value = stage(value)
        ticks_ns.append(clock_ns())


def _round(run: _Run, samples: Sequence[Any], clock_ns: Callable[[], int], meter: EnergyMeter | None) -> None:
    if meter is not None:
        meter.joules()  # what others used is not counted
    started_ns = clock_ns()
    try:
        for _ in range(_ROUND_COUNT):
            sample = samples[len(run.ticks_ns) % len(samples)]
            cpu_ns = time.process_time_ns()
            ticks = _run_once(run.stages, sample, clock_ns)
            run.cpu_ns.append(time.process_time_ns() - cpu_ns)
            run.ticks_ns.append(ticks)
    finally:
        run.spent_ns += clock_ns() - started_ns
        used = None if meter is None else meter.joules()
        run.joules = None if used is None or run.joules is None else run.joules + used


def _run_once(stages: tuple[Callable[[Any], Any], ...], value: Any, clock_ns: Callable[[], int]) -> list[int]:
    ticks = [clock_ns()]
    run_stages(stages, value, clock_ns, ticks)
    return ticks


def _nothing(value: Any) -> Any:
    return value


def _to_timing(pipeline: Pipeline, run: _Run, *, warmup_count: int, is_interrupted: bool) -> Timing:
    return Timing(
        pipeline.name,
        stage_latencies_ms(list(pipeline.stages), run.ticks_ns),
        duration_s=run.spent_ns / 1e9,
        warmup_count=warmup_count,
        cpu_ms=np.array(run.cpu_ns[: len(run.ticks_ns)]) / 1e6,
        joules=run.joules,
        is_interrupted=is_interrupted,
    )
