"""Wall time for what is written down, by the monotonic clock, so that no duration is wrong when the clock is set."""

from __future__ import annotations

import time
from collections.abc import Callable

_STEP_SECONDS = 2.0  # less is a clock that is slewed, as NTP does


class Clock:
    """Seconds since the epoch that go on steadily, until `correct` follows a clock that was set.

    Args:
        wall: seconds since the epoch.
        monotonic: seconds.
    """

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._ahead = wall() - monotonic()

    def now(self) -> float:
        """Return the time."""
        return self._monotonic() + self._ahead

    def correct(self) -> float:
        """Follow the wall clock; returns by how many seconds it was set, 0 if it was not."""
        step = self._wall() - self.now()
        if abs(step) < _STEP_SECONDS:
            return 0.0
        self._ahead += step
        return step
