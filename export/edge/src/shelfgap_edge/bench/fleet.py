"""The scenario `fleet`: many cameras, one worker, every frame timed from when it was to arrive until its verdict.

Arrivals are fixed beforehand and come whether the worker is ready or not, so time in the queue counts, and a pause of
the worker is seen by every frame that falls into it. Of each camera only the newest frame waits; an older one that it
replaces is shed and counted. The camera that has waited longest is next.

Source: "coordinated omission", G. Tene, "How NOT to measure latency", 2013; an open load, as in MLPerf's server
    scenario.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shelfgap_edge.bench.energy import EnergyMeter
from shelfgap_edge.bench.harness import (
    TOTAL,
    Pipeline,
    Progress,
    Timing,
    check_measurable,
    null_pipeline,
    run_stages,
    share_done,
    stage_latencies_ms,
)

WAITING = "waiting"
_LONGEST_SLEEP_S = 0.5  # energy counters wrap, and progress is shown


@dataclass(frozen=True)
class Cameras:
    """When frames arrive.

    Attributes:
        count: cameras, 1 or more.
        interval_s: between two frames of a camera; each camera has a phase of its own.
        jitter: by how much a frame may be early or late, as a share of the interval: 0 to below 0.5, so that the
            frames of a camera keep their order.
        seed: of phases and jitter.
    """

    count: int = 1500
    interval_s: float = 60.0
    jitter: float = 0.1
    seed: int = 0

    def arrivals(self) -> Iterator[tuple[float, int]]:
        """Yield (seconds since the start, camera) in order of time, without end."""
        random = np.random.default_rng(self.seed)
        phases = random.uniform(0, self.interval_s, self.count)

        def late() -> float:
            return float(random.uniform(-self.jitter, self.jitter)) * self.interval_s

        coming = [(max(0.0, phase + late()), camera, 1) for camera, phase in enumerate(phases.tolist())]
        heapq.heapify(coming)
        while True:
            at_s, camera, turn = coming[0]
            yield at_s, camera
            heapq.heapreplace(coming, (phases[camera] + turn * self.interval_s + late(), camera, turn + 1))


@dataclass(frozen=True, eq=False)
class FleetTiming:
    """What was measured.

    Attributes:
        timing: latencies; "waiting" is from the arrival to the first stage, "total" from the arrival to the verdict.
        offered: frames that arrived.
        shed: of those, how many a newer frame of their camera replaced.
        busy: share of the time that the worker had something to do.
    """

    timing: Timing
    offered: int
    shed: int
    busy: float


def run_fleet(
    pipeline: Pipeline,
    samples: Sequence[Any],
    cameras: Cameras,
    *,
    min_seconds: float,
    min_count: int,
    warmup_count: int = 10,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
    sleep: Callable[[float], None] = time.sleep,
    meter: EnergyMeter | None = None,
    progress: Progress | None = None,
) -> FleetTiming:
    """Run frames as they arrive until there are enough, then what still waits.

    Ctrl-C ends it early, with what was measured; it is passed on if nothing was yet.

    Args:
        pipeline: stages of any names but "total" and "waiting".
        samples: inputs, taken in turn.
        cameras: when they arrive.
        min_seconds: time to measure, at least.
        min_count: verdicts, at least; 1 or more.
        warmup_count: samples to run first.
        clock_ns: nanoseconds, monotonic.
        sleep: waits for seconds.
        meter: of energy, over the whole time, idle included; None measures none.
        progress: told how far it is.

    Raises:
        ValueError: nothing to run, or a stage of such a name.
    """
    check_measurable([pipeline], samples, min_count)
    stages = tuple(pipeline.stages.values())
    for turn in range(warmup_count):
        run_stages(stages, samples[turn % len(samples)], clock_ns, [])

    waiting: dict[int, tuple[int, Any]] = {}  # camera -> due, frame; a newer frame keeps the place of the older
    ticks_ns: list[list[int]] = []
    cpu_ns: list[int] = []
    offered = shed = busy_ns = 0
    joules: float | None = 0.0
    is_interrupted = False
    arrivals = cameras.arrivals()
    next_at_s, next_camera = next(arrivals)
    if meter is not None:
        meter.joules()
    start_ns = clock_ns()
    try:
        while True:
            now_ns = clock_ns()
            enough = now_ns - start_ns >= min_seconds * 1e9 and len(ticks_ns) >= min_count
            while not enough and (due_ns := start_ns + int(next_at_s * 1e9)) <= now_ns:
                shed += next_camera in waiting
                waiting[next_camera] = (due_ns, samples[offered % len(samples)])
                offered += 1
                next_at_s, next_camera = next(arrivals)
            if waiting:
                due_ns, sample = waiting.pop(next(iter(waiting)))
                used_ns = time.process_time_ns()
                ticks = [due_ns, clock_ns()]
                run_stages(stages, sample, clock_ns, ticks)
                cpu_ns.append(time.process_time_ns() - used_ns)
                ticks_ns.append(ticks)
                busy_ns += ticks[-1] - ticks[1]
            elif enough:
                break
            else:
                sleep(min(_LONGEST_SLEEP_S, max(0.0, next_at_s - (clock_ns() - start_ns) / 1e9)))
            used = None if meter is None else meter.joules()
            joules = None if used is None or joules is None else joules + used
            if progress is not None:
                done = share_done(clock_ns() - start_ns, min_seconds, len(ticks_ns), min_count)
                progress(done, f"{len(ticks_ns)} frames of {cameras.count} cameras, {shed} shed")
    except KeyboardInterrupt:
        if not ticks_ns:
            raise
        is_interrupted = True
    duration_ns = clock_ns() - start_ns
    timing = Timing(
        pipeline.name,
        stage_latencies_ms([WAITING, *pipeline.stages], ticks_ns),
        duration_s=duration_ns / 1e9,
        warmup_count=warmup_count,
        cpu_ms=np.array(cpu_ns[: len(ticks_ns)]) / 1e6,
        joules=joules,
        is_interrupted=is_interrupted,
    )
    return FleetTiming(timing, offered=offered, shed=shed, busy=busy_ns / duration_ns)


def fleet_overhead_us(stage_count: int, *, count: int = 200) -> float:
    """Return what the harness and the machine's timer add between an arrival and its verdict, in microseconds.

    The median of a null model (see `harness.overhead_us`) whose frames come 2 ms apart: most of it is the time that
    the system takes to wake a sleeping process, which a service pays too.
    """
    cameras = Cameras(count=50, interval_s=0.1, jitter=0.1)
    measured = run_fleet(null_pipeline(stage_count), [None], cameras, min_seconds=0, min_count=count)
    return float(np.median(measured.timing.latency_ms[TOTAL])) * 1e3
