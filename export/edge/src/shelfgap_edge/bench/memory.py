"""The scenario `memory`: does a process that sees frame after frame keep growing?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfgap_edge.bench.device import resident_memory_mb
from shelfgap_edge.bench.harness import Pipeline, Progress, check_measurable, share_done
from shelfgap_edge.bench.interval import Interval, slope
from shelfgap_edge.bench.judged import in_blocks
from shelfgap_edge.errors import BenchError

_SAMPLES = 400
_FIRST = 0.05  # share of the frames after which memory should have settled


@dataclass(frozen=True, eq=False)
class Growth:
    """What was measured.

    Attributes:
        frames: int64 (N,), how many had been seen at each look.
        resident_mb: float64 (N,), MiB of the process then.
        duration_s: time that it took.
        is_interrupted: Ctrl-C came before the minimums were met.
    """

    frames: NDArray[np.int64]
    resident_mb: NDArray[np.float64]
    duration_s: float
    is_interrupted: bool

    @property
    def settled(self) -> int:
        """Index of the look after the first 5 % of the frames."""
        return int(np.searchsorted(self.frames, self.frames[-1] * _FIRST))

    @property
    def change(self) -> float:
        """Memory after the last frame over memory after the first 5 %, less 1."""
        return float(self.resident_mb[-1] / self.resident_mb[self.settled] - 1)

    def mb_per_1000_frames(self) -> Interval | None:
        """Return the slope after the first 5 %; None with too few looks.

        The line is laid through means of blocks, since neighbouring looks agree more than independent ones would.
        """
        frames, resident = (values[self.settled :] for values in (self.frames.astype(float) / 1000, self.resident_mb))
        return slope(*(np.array(in_blocks(values, lambda part: float(part.mean()))) for values in (frames, resident)))


def run_memory(
    pipeline: Pipeline,
    samples: Sequence[Any],
    *,
    min_seconds: float,
    min_count: int,
    resident_mb: Callable[[], float | None] = resident_memory_mb,
    progress: Progress | None = None,
) -> Growth:
    """Run frames one after another and look at the memory of this process from time to time.

    Ctrl-C ends it early, with what was seen; it is passed on if there was nothing yet.

    Args:
        pipeline: its stages.
        samples: inputs, taken in turn.
        min_seconds: time, at least.
        min_count: frames, at least; 1 or more.
        resident_mb: MiB of this process now.
        progress: told how far it is.

    Raises:
        ValueError: nothing to run.
        BenchError: this system does not tell the memory of a process.
    """
    check_measurable([pipeline], samples, min_count)
    if resident_mb() is None:
        raise BenchError("the memory of a process cannot be read on this system (expected /proc/self/status)")
    every = max(1, min_count // _SAMPLES)
    stages = tuple(pipeline.stages.values())
    frames: list[int] = []
    resident: list[float] = []
    count, is_interrupted, started_ns = 0, False, time.perf_counter_ns()
    try:
        while count < min_count or (time.perf_counter_ns() - started_ns) < min_seconds * 1e9 or count % every:
            value = samples[count % len(samples)]
            for stage in stages:
                value = stage(value)
            count += 1
            if count % every == 0:
                resident.append(resident_mb() or 0.0)
                frames.append(count)
                if progress is not None:
                    done = share_done(time.perf_counter_ns() - started_ns, min_seconds, count, min_count)
                    progress(done, f"{count} frames, {resident[-1]:.1f} MiB")
    except KeyboardInterrupt:
        if not frames:
            raise
        is_interrupted = True
    del frames[len(resident) :], resident[len(frames) :]
    duration_s = (time.perf_counter_ns() - started_ns) / 1e9
    return Growth(np.array(frames), np.array(resident), duration_s, is_interrupted)
