"""A yes or no that follows noisy frames: it turns only after enough of them, over enough time."""

from __future__ import annotations

from dataclasses import dataclass, replace

_FULL = 1 - 1e-9  # three thirds are less than one


@dataclass(frozen=True)
class Persistence:
    """How much evidence turns a latch: so many frames, and so many minutes."""

    frames: int
    minutes: float


@dataclass(frozen=True, slots=True)
class Latch:
    """State with hysteresis.

    Attributes:
        on: the state.
        since: time of the first frame that showed it, seconds; None before the first change.
        progress: evidence for the other state, 0 to 1.
        turning_since: time of the first frame of this evidence; None without any.
    """

    on: bool = False
    since: float | None = None
    progress: float = 0.0
    turning_since: float | None = None

    def step(
        self, shown: bool, at: float, elapsed_s: float | None, needed: Persistence, weight: float, contrary: float
    ) -> Latch:
        """Return the latch after a frame.

        A frame for the other state moves `progress` up by a step, a frame for the present one down by `contrary` steps.
        A step is at most 1 / frames, and no more than the share of the minutes that passed since the last frame. So a
        burst of frames counts as the moment that it is, and a frame after a long silence as one frame.

        Args:
            shown: what the frame shows.
            at: when it was taken, seconds.
            elapsed_s: since the last frame that was counted, at least 0; None where there was none: one frame then.
            needed: to leave the present state.
            weight: of this frame, 0 to 1.
            contrary: how much a frame against the change takes away, in steps.

        >>> latch = Latch()
        >>> for minute in (0, 5, 10):
        ...     latch = latch.step(True, 60.0 * minute, 300.0, Persistence(3, 15), 1.0, 0.5)
        >>> latch
        Latch(on=True, since=0.0, progress=0.0, turning_since=None)
        """
        step = weight / needed.frames
        if elapsed_s is not None and needed.minutes > 0:
            step = min(step, weight * elapsed_s / (60 * needed.minutes))
        if shown == self.on:
            progress = max(0.0, self.progress - contrary * step)
            return replace(self, progress=progress, turning_since=self.turning_since if progress > 0 else None)
        began = at if self.turning_since is None else self.turning_since
        if self.progress + step >= _FULL:
            return Latch(not self.on, began)
        return replace(self, progress=self.progress + step, turning_since=began)
