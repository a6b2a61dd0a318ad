"""How long nothing came from a camera, by the clock of this device."""

from __future__ import annotations

from dataclasses import dataclass, replace

from shelfgap_edge.monitor.alert import Trouble


@dataclass(frozen=True, slots=True)
class Silence:
    """Time since the last frame, as ticks add it up.

    Attributes:
        seconds: of silence.
        ticked_at: the last tick; None before the first.
    """

    seconds: float = 0.0
    ticked_at: float | None = None

    def heard(self) -> Silence:
        """Return it after a frame."""
        return replace(self, seconds=0.0)

    def tick(self, now: float, limit_s: float) -> Silence:
        """Return it after a tick.

        One tick adds at most half the limit, and a clock that goes back adds nothing: a jump of the clock, or a device
        that slept, makes no camera silent.
        """
        if self.ticked_at is None:
            return Silence(0.0, now)
        passed = min(max(0.0, now - self.ticked_at), limit_s / 2)
        return Silence(self.seconds + passed, now)

    def resumed(self, now: float, limit_s: float) -> Silence:
        """Return it after a time in which this device was off, and nobody knows what was sent.

        Silence that was told stays; one that was not begins anew.
        """
        return Silence(self.seconds if self.seconds >= limit_s else 0.0, now)

    def trouble(self, limit_s: float) -> Trouble | None:
        """Return what to tell where it has lasted too long."""
        if self.ticked_at is None or self.seconds < limit_s:
            return None
        return Trouble("camera-silent", self.ticked_at - self.seconds)
