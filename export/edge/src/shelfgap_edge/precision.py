"""Which of a bundle's models is faster on this device: both run in turns on one frame, and INT8 must not lose."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

_WARM_UPS = 3
_MIN_PAIRS, _MAX_PAIRS = 7, 31
_MAX_SECONDS = 2.0


@dataclass(frozen=True)
class PrecisionProbe:
    """What was measured.

    Attributes:
        int8_over_fp32: median over the pairs of the time that INT8 took over the time that float took.
        pairs: number of pairs.
    """

    int8_over_fp32: float
    pairs: int

    @property
    def precision(self) -> str:
        """Which one to take: "fp32" if it was faster, else "int8"."""
        return "fp32" if self.int8_over_fp32 > 1 else "int8"

    def to_dict(self) -> dict[str, Any]:
        """Return the probe as a JSON-ready dict."""
        return {"int8_over_fp32": round(self.int8_over_fp32, 4), "pairs": self.pairs}


def probe_precision(
    int8: Callable[[], object],
    fp32: Callable[[], object],
    *,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> PrecisionProbe:
    """Time two models in turns, each first every other time, for two seconds at most or 31 pairs.

    Args:
        int8: runs the INT8 model once.
        fp32: runs the float model once, on the same frame.
        clock_ns: nanoseconds, monotonic.
    """
    for _ in range(_WARM_UPS):
        int8()
        fp32()

    def took_ns(run: Callable[[], object]) -> int:
        started = clock_ns()
        run()
        return max(1, clock_ns() - started)

    ratios: list[float] = []
    deadline = clock_ns() + int(_MAX_SECONDS * 1e9)
    while len(ratios) < _MAX_PAIRS and (len(ratios) < _MIN_PAIRS or clock_ns() < deadline):
        if len(ratios) % 2:
            float_ns = took_ns(fp32)
            ratios.append(took_ns(int8) / float_ns)
        else:
            integer_ns = took_ns(int8)
            ratios.append(integer_ns / took_ns(fp32))
    return PrecisionProbe(float(np.median(ratios)), len(ratios))
