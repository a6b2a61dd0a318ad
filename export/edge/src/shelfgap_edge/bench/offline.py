"""The scenario `offline`: all frames are there at once, and only throughput counts."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count as counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfgap_edge.bench.energy import EnergyMeter
from shelfgap_edge.bench.harness import Pipeline, Progress, check_measurable, null_pipeline, share_done

_LOOK_S = 0.2  # between two looks at what the workers have done


@dataclass(frozen=True, eq=False)
class Throughput:
    """What was measured.

    Attributes:
        name: the pipeline.
        done_s: float64 (N,), when each frame was done, in order, in seconds from the start.
        workers: how many worked at once.
        warmup_count: samples that each ran before, not counted.
        joules: of the whole machine; None where it is not metered.
        is_interrupted: Ctrl-C came before the minimums were met.
    """

    name: str
    done_s: NDArray[np.float64]
    workers: int
    warmup_count: int
    joules: float | None
    is_interrupted: bool

    @property
    def count(self) -> int:
        """Number of frames done."""
        return len(self.done_s)

    @property
    def duration_s(self) -> float:
        """Time until the last frame was done."""
        return float(self.done_s[-1])


def run_offline(
    workers: Sequence[Pipeline],
    samples: Sequence[Any],
    *,
    min_seconds: float,
    min_count: int,
    warmup_count: int = 10,
    meter: EnergyMeter | None = None,
    progress: Progress | None = None,
) -> Throughput:
    """Run frames as fast as workers, each in a thread with a pipeline of its own, can.

    Ctrl-C ends it early, with what was done; it is passed on if nothing was yet.

    Args:
        workers: pipelines, one each; the name of the first is the result's.
        samples: inputs, taken in turn.
        min_seconds: time to measure, at least.
        min_count: frames, at least; 1 or more.
        warmup_count: samples that each runs first.
        meter: of energy; None measures none.
        progress: told how far it is.

    Raises:
        ValueError: nothing to run. What a stage raises is passed on.
    """
    check_measurable(workers, samples, min_count)
    for worker in workers:
        for turn in range(warmup_count):
            _run(worker, samples[turn % len(samples)])
    numbers, stop = counter(), threading.Event()
    done_ns: list[int] = []
    failures: list[BaseException] = []

    def work(worker: Pipeline) -> None:
        try:
            while not stop.is_set():
                _run(worker, samples[next(numbers) % len(samples)])
                done_ns.append(time.perf_counter_ns())
                # Not left to the main thread: on a busy or a real-time core it may not run for long.
                if len(done_ns) >= min_count and done_ns[-1] - start_ns >= min_seconds * 1e9:
                    stop.set()
        except BaseException as error:  # whatever it is, the caller must hear of it
            failures.append(error)
            stop.set()

    threads = [threading.Thread(target=work, args=(worker,), daemon=True) for worker in workers]
    is_interrupted = False
    joules: float | None = 0.0
    if meter is not None:
        meter.joules()
    start_ns = time.perf_counter_ns()
    try:
        for thread in threads:
            thread.start()
        while not stop.is_set():
            stop.wait(_LOOK_S)
            if progress is not None:
                spent_ns, count = time.perf_counter_ns() - start_ns, len(done_ns)
                progress(share_done(spent_ns, min_seconds, count, min_count), f"{count} frames")
            used = None if meter is None else meter.joules()
            joules = None if used is None or joules is None else joules + used
    except KeyboardInterrupt:
        is_interrupted = True
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
    if not done_ns:
        raise KeyboardInterrupt
    used = None if meter is None else meter.joules()
    return Throughput(
        workers[0].name,
        (np.sort(done_ns) - start_ns) / 1e9,
        workers=len(workers),
        warmup_count=warmup_count,
        joules=None if used is None or joules is None else joules + used,
        is_interrupted=is_interrupted,
    )


def offline_overhead_us(stage_count: int, workers: int, *, count: int = 5000) -> float:
    """Return what the harness needs for each frame, in microseconds: that of null models (see `harness`)."""
    nulls = [null_pipeline(stage_count) for _ in range(workers)]
    done = run_offline(nulls, [None], min_seconds=0, min_count=count)
    return done.duration_s / done.count * 1e6


def _run(worker: Pipeline, value: Any) -> None:
    for stage in worker.stages.values():
        value = stage(value)
