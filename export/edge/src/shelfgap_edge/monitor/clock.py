"""Which frames are new, by a clock that may jump."""

from __future__ import annotations

from dataclasses import dataclass

_SURE = 3  # older frames in a row, each after the one before, mean that the clock was set back
_LAST = 250e9  # in the year 9892: calendars end at 9999


def is_plausible(at: float) -> bool:
    """Say whether a number can be a time, seconds since the epoch: nothing else may reach calendars and sums."""
    return 0 <= at <= _LAST


@dataclass(frozen=True, slots=True)
class Clock:
    """When the last frame of a camera was taken.

    Attributes:
        at: seconds; None before the first frame.
        behind_at: time of the last frame that came with an older time; None when none did since.
        behind: how many such came in a row, each later than the one before.
    """

    at: float | None = None
    behind_at: float | None = None
    behind: int = 0

    def take(self, at: float) -> tuple[Clock, bool]:
        """Return the clock after a frame, and whether the frame counts.

        A frame that was seen already and one that comes late do not. After three in a row the clock was set back, and
        the third counts. A frame from the future counts, as one frame (see `latch`); when the clock is set right again,
        the rule of three brings it back.

        >>> clock, counts = Clock(at=1e9).take(500.0)
        >>> counts
        False
        >>> clock.take(560.0)[0].take(620.0)
        (Clock(at=620.0, behind_at=None, behind=0), True)
        """
        if self.at is None or at > self.at:
            return Clock(at), True
        if at == self.at or at == self.behind_at:
            return self, False
        behind = self.behind + 1 if self.behind_at is not None and at > self.behind_at else 1
        if behind >= _SURE:
            return Clock(at), True
        return Clock(self.at, at, behind), False
