"""Token buckets on the monotonic clock, one a name, for a bounded number of names."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable


class RateLimit:
    """So many a minute for each name, with a burst.

    Args:
        per_minute: how many come back in a minute.
        burst: how many at once.
        names: how many names are remembered; the one not heard of for longest goes first.
        clock: seconds, monotonic.

    >>> limit = RateLimit(60, 2, clock=lambda: 0.0)
    >>> [limit.allow("a") for _ in range(3)], limit.allow("b")
    ([True, True, False], True)
    """

    def __init__(
        self, per_minute: float, burst: int, *, names: int = 4096, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second = per_minute / 60
        self._burst = burst
        self._names = names
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # name -> what is left, at that time

    def allow(self, name: str) -> bool:
        """Take one; False if there is none left."""
        now = self._clock()
        left, at = self._buckets.pop(name, (float(self._burst), now))
        left = min(self._burst, left + (now - at) * self._per_second)
        allowed = left >= 1
        self._buckets[name] = (left - 1 if allowed else left, now)
        if len(self._buckets) > self._names:
            self._buckets.popitem(last=False)
        return allowed

    def retry_after_seconds(self) -> int:
        """Return after how many whole seconds one has come back for sure."""
        return max(1, math.ceil(round(1 / self._per_second, 6)))
