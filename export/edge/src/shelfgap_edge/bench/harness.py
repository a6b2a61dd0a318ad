"""Times pipelines of named stages, side by side, knowing nothing of what they do.

One sample after another, each as soon as the one before is done: latency without queueing. Pipelines take
turns in short rounds, A B, B A, A B..., so that whatever slows the machine down for a while slows all of
them, and a ratio between two of them means something.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfgap_edge.bench.percentile import percentile

TOTAL = "total"
_ROUND_COUNT = 8  # samples a pipeline runs before the next one has its turn


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
    """

    name: str
    latency_ms: Mapping[str, NDArray[np.float64]]
    duration_s: float
    warmup_count: int

    @property
    def count(self) -> int:
        """Number of samples measured."""
        return len(self.latency_ms[TOTAL])


def measure(
    pipelines: Sequence[Pipeline],
    samples: Sequence[Any],
    *,
    min_seconds: float,
    min_count: int,
    warmup_count: int = 10,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> list[Timing]:
    """Run pipelines in turns until each has both its minimum time and its minimum count.

    Args:
        pipelines: one or more, with stages of any names but "total".
        samples: inputs, taken in turn, over again when they are used up; each pipeline sees the same order.
        min_seconds: time to measure each pipeline, at least.
        min_count: samples to measure with each pipeline, at least; 1 or more.
        warmup_count: samples to run through each pipeline first.
        clock_ns: nanoseconds, monotonic.

    Returns:
        One `Timing` a pipeline, in their order. What a stage raises is passed on.

    Raises:
        ValueError: nothing to run, or a stage called "total".
    """
    if not pipelines or not samples or min_count < 1 or not all(p.stages for p in pipelines):
        raise ValueError("a measurement needs a pipeline with stages, a sample and a count of 1 or more")
    if any(TOTAL in pipeline.stages for pipeline in pipelines):
        raise ValueError(f"no stage may be called {TOTAL!r}")
    runs: list[list[list[int]]] = [[] for _ in pipelines]  # pipeline, sample, ticks at each boundary
    spent_ns = [0] * len(pipelines)
    stages = [tuple(pipeline.stages.values()) for pipeline in pipelines]
    for index in range(len(pipelines)):
        for turn in range(warmup_count):
            _run_once(stages[index], samples[turn % len(samples)], clock_ns)

    order = list(range(len(pipelines)))
    while any(spent_ns[i] < min_seconds * 1e9 or len(runs[i]) < min_count for i in order):
        for index in order:
            started_ns = clock_ns()
            for _ in range(_ROUND_COUNT):
                sample = samples[len(runs[index]) % len(samples)]
                runs[index].append(_run_once(stages[index], sample, clock_ns))
            spent_ns[index] += clock_ns() - started_ns
        order.reverse()

    return [
        _to_timing(pipeline, ticks, spent_ns=spent, warmup_count=warmup_count)
        for pipeline, ticks, spent in zip(pipelines, runs, spent_ns, strict=True)
    ]


def overhead_us(stage_count: int, *, count: int = 1000) -> float:
    """Return what `measure` adds to a total, in microseconds: the median time of stages that do nothing.

    Args:
        stage_count: stages of the pipeline in question.
        count: samples to take.
    """
    null = Pipeline("null", {f"stage {index}": _nothing for index in range(stage_count)})
    (timing,) = measure([null], [None], min_seconds=0, min_count=count)
    return float(np.median(timing.latency_ms[TOTAL])) * 1e3


def ratio(timing: Timing, reference: Timing, stage: str = TOTAL) -> float | None:
    """Return the median latency of a stage over that of the reference, None where samples are too few."""
    ours, theirs = percentile(timing.latency_ms[stage], 50), percentile(reference.latency_ms[stage], 50)
    return ours / theirs if ours is not None and theirs else None


def _run_once(stages: tuple[Callable[[Any], Any], ...], value: Any, clock_ns: Callable[[], int]) -> list[int]:
    ticks = [clock_ns()]
    for stage in stages:
        value = stage(value)
        ticks.append(clock_ns())
    return ticks


def _nothing(value: Any) -> Any:
    return value


def _to_timing(pipeline: Pipeline, ticks: list[list[int]], *, spent_ns: int, warmup_count: int) -> Timing:
    ticks_ns = np.array(ticks, dtype=np.int64)
    stage_ms = np.diff(ticks_ns, axis=1) / 1e6
    latency_ms = {name: stage_ms[:, index] for index, name in enumerate(pipeline.stages)}
    latency_ms[TOTAL] = (ticks_ns[:, -1] - ticks_ns[:, 0]) / 1e6
    return Timing(pipeline.name, latency_ms, duration_s=spent_ns / 1e9, warmup_count=warmup_count)
