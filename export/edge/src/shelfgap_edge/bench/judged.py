"""The few figures of a run that are compared with another run's: one for each block of frames, or each process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

BLOCKS = 20
_MIN_BLOCK = 8  # frames

ELAPSED, PROCESSOR = "elapsed", "processor"


@dataclass(frozen=True)
class Judged:
    """What is compared.

    Attributes:
        figure: what the values are, in words.
        unit: of the values.
        level: what gave one value: a "block" of frames one after another in one process, or a whole "process".
        values: by clock, the one to prefer first: "processor", the time that the process had a processor, which is
            what a frame would take on a machine that does nothing else (of one thread only); "elapsed".
    """

    figure: str
    unit: str
    level: Literal["block", "process"]
    values: Mapping[str, Sequence[float]]

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        rounded = {clock: [float(f"{value:.6g}") for value in values] for clock, values in self.values.items()}
        return {"figure": self.figure, "unit": self.unit, "level": self.level, "values": rounded}


def judged_frames(elapsed_ms: NDArray[np.float64], cpu_ms: NDArray[np.float64], threads: int) -> Judged:
    """Return the 25th percentile of frames in each block: what else runs on a machine adds least there.

    Args:
        elapsed_ms: float64 (N,), frames in order.
        cpu_ms: float64 (N,), the same frames.
        threads: that computed a frame; the time of several does not add up to a latency.
    """
    values = {ELAPSED: in_blocks(elapsed_ms, lower_quartile)}
    if threads == 1:
        values = {PROCESSOR: in_blocks(cpu_ms, lower_quartile), **values}
    return Judged("25th percentile of a frame", "ms", "block", values)


def in_blocks(values: NDArray[np.float64], summary: Callable[[NDArray[np.float64]], float]) -> list[float]:
    """Return a summary of each of up to `BLOCKS` parts of equal length, in order; fewer where they would be short."""
    count = min(BLOCKS, len(values) // _MIN_BLOCK)
    return [summary(part) for part in np.array_split(values, count)] if count else []


def lower_quartile(values: NDArray[np.float64]) -> float:
    """Return the 25th percentile."""
    return float(np.percentile(values, 25))
