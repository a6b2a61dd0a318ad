"""Does a camera see what it always sees? Told from the glances at its frames: blinded, moved, or just disturbed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from shelfgap_edge.monitor.latch import Latch
from shelfgap_edge.monitor.params import MonitorParams
from shelfgap_edge.monitor.reading import Glance

Verdict = Literal["clear", "changed", "blind"]

_BASELINE_MINUTES = 120.0  # in which the usual view follows the light and the stock
_CROWDED = 0.25  # share of the frame behind occluders, from which a changed view is theirs


@dataclass(frozen=True, slots=True)
class View:
    """The usual view of a camera, and whether it is lost.

    Attributes:
        luma, spread: usual numbers of the areas; empty before the first frame.
        sharpness: of the whole frame, usually.
        frames: that made them.
        blinded, moved: whether that is sure.
        counted_at: time of the last frame that was judged, seconds.
    """

    luma: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()
    sharpness: float = 0.0
    frames: int = 0
    blinded: Latch = Latch()
    moved: Latch = Latch()
    counted_at: float | None = None

    def judge(self, glance: Glance, occluded_share: float, at: float, params: MonitorParams) -> tuple[View, Verdict]:
        """Return the view after a frame, and what this frame is worth.

        Args:
            glance: at the frame.
            occluded_share: of the frame that occluders hide.
            at: when it was taken, seconds; after the last one.
            params: limits.
        """
        elapsed = None if self.counted_at is None else at - self.counted_at
        verdict = self._verdict(glance, params)
        seen = replace(self, counted_at=at)

        def step(latch: Latch, shown: bool) -> Latch:
            return latch.step(shown, at, elapsed, params.of_camera, 1.0, params.contrary_weight)

        if occluded_share < _CROWDED:
            seen = replace(seen, blinded=step(self.blinded, verdict == "blind"))
            if verdict != "blind":
                seen = replace(seen, moved=step(self.moved, verdict == "changed"))
        if verdict == "clear" and occluded_share < _CROWDED:
            seen = seen._learn(glance, elapsed)
        return seen, verdict

    def accepted(self) -> View:
        """Return the view with nothing usual: the next frames make it anew."""
        return View(counted_at=self.counted_at, blinded=self.blinded)

    def _verdict(self, glance: Glance, params: MonitorParams) -> Verdict:
        is_known = self.frames >= params.camera_frames and len(self.luma) == len(glance.areas)
        if glance.whole.spread < params.min_spread:
            return "blind"
        if is_known and glance.whole.sharpness < params.min_sharpness_share * self.sharpness:
            return "blind"
        if is_known and self.likeness(glance) < params.min_likeness:
            return "changed"
        return "clear"

    def likeness(self, glance: Glance) -> float:
        """Return how alike a frame is to the usual view, -1 to 1: brighter or darker as a whole is the same.

        On a shelf-day every fifth frame was looked at: undisturbed 0.78 or more, also when the lamps went out (0.95);
        with a clerk in front 0.05 or less.
        """
        luma = _correlation(self.luma, [area.luma for area in glance.areas])
        return (luma + _correlation(self.spread, [area.spread for area in glance.areas])) / 2

    def _learn(self, glance: Glance, elapsed_s: float | None) -> View:
        luma = tuple(area.luma for area in glance.areas)
        spread = tuple(area.spread for area in glance.areas)
        if len(self.luma) != len(luma):  # the first frame, or other zones than before
            return replace(self, luma=luma, spread=spread, sharpness=glance.whole.sharpness, frames=1)
        rate = max(1 / (self.frames + 1), 1 - math.exp(-(elapsed_s or 0.0) / (60 * _BASELINE_MINUTES)))
        rate = min(rate, 0.5)
        return replace(
            self,
            luma=tuple(old + rate * (new - old) for old, new in zip(self.luma, luma, strict=True)),
            spread=tuple(old + rate * (new - old) for old, new in zip(self.spread, spread, strict=True)),
            sharpness=self.sharpness + rate * (glance.whole.sharpness - self.sharpness),
            frames=min(self.frames + 1, 1000),
        )


def _correlation(usual: tuple[float, ...], now: list[float]) -> float:
    """Return Pearson's correlation; 1 where one of them is flat and there is no pattern to compare."""
    one, other = np.array(usual) - np.mean(usual), np.array(now) - np.mean(now)
    size = math.sqrt(float((one**2).sum() * (other**2).sum()))
    return float((one * other).sum()) / size if size > 1e-6 else 1.0
