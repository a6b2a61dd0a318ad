"""Whether the machine was ours alone: a time measured beside other work says little."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import psutil

OTHERS = "cores_used_by_others"


class CpuTimes(NamedTuple):
    """Seconds so far."""

    wall_s: float
    busy_s: float  # of all cores together
    own_s: float  # of this process and of those that it has waited for


def alone(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what a piece of work returns, with how many cores other processes used in the meantime.

    Args:
        work: waits for every process that it starts.
    """
    before = _now()
    result = work()
    return {**result, OTHERS: cores_of_others(before, _now())}


def cores_of_others(before: CpuTimes, after: CpuTimes) -> float:
    """Return the mean number of cores that were busy for others, to two digits.

    >>> cores_of_others(CpuTimes(0, 100, 50), CpuTimes(10, 125, 70))
    0.5
    """
    wall_s, busy_s, own_s = (b - a for a, b in zip(before, after, strict=True))
    return round(max(0.0, busy_s - own_s) / wall_s, 2)


def _now() -> CpuTimes:
    of_all, own = psutil.cpu_times(), os.times()
    idle_s = of_all.idle + getattr(of_all, "iowait", 0.0)
    guest_s = getattr(of_all, "guest", 0.0) + getattr(of_all, "guest_nice", 0.0)  # stand in user and nice too
    return CpuTimes(time.monotonic(), sum(of_all) - idle_s - guest_s, sum(own[:4]))
