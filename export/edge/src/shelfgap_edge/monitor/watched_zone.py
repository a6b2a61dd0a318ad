"""One zone over time: what frames show of it, what is sure by now, its alert and its availability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from shelfgap_edge.monitor.alert import Alert, Trouble
from shelfgap_edge.monitor.availability import Ledger
from shelfgap_edge.monitor.latch import Latch, Persistence
from shelfgap_edge.monitor.params import MonitorParams
from shelfgap_edge.monitor.view import Verdict
from shelfgap_edge.monitor.zones import Box, Zone

_LOW_AGAINST_GAP = 0.5  # what a frame that shows low stock counts against a gap: it is not full yet
_WIDTH_FOLLOWS = 0.5  # how far the remembered width goes to that of a new frame


@dataclass(frozen=True)
class Sighting:
    """What a frame shows of a zone.

    Attributes:
        shows: a gap, low stock without a gap, neither, or something that is not sure enough to count.
        width_norm: share of the frame's width that the widest gap in the zone takes; None without one.
        occluded_share: of the zone that occluders hide.
    """

    shows: Literal["gap", "low", "full", "unsure"]
    width_norm: float | None
    occluded_share: float


def look_at(
    zone: Zone, boxes_norm: Mapping[str, Sequence[Box]], sure_norm: Mapping[str, Sequence[Box]], min_share: float
) -> Sighting:
    """Return what the boxes of a frame (class -> boxes as fractions of the frame), and the sure ones, say of a zone."""
    gaps = [box for box in sure_norm["gap"] if zone.holds(box, min_share)]
    hidden = zone.covered_share(boxes_norm["occluder"])
    if gaps:
        left, _, right, _ = zone.bounds_norm
        return Sighting("gap", max(min(box[2], right) - max(box[0], left) for box in gaps), hidden)
    if any(zone.holds(box, min_share) for box in sure_norm["low"]):
        return Sighting("low", None, hidden)
    is_unsure = any(zone.holds(box, min_share) for name in ("gap", "low") for box in boxes_norm[name])
    return Sighting("unsure" if is_unsure else "full", None, hidden)


@dataclass(frozen=True, slots=True)
class WatchedZone:
    """What is remembered of a zone between frames.

    Attributes:
        empty: whether it surely has a gap.
        short: whether it surely has a gap or low stock.
        counted_at: time of the last frame that said something of it, seconds.
        hidden_since: since when it is hidden; None while it is seen.
        width_norm: of its widest gap, smoothed; None before the first.
        may_call_low: False from a gap to the next time that it is full: who just filled it knows.
        is_low: whether to say so: it is surely short, and was seen with low stock, not only with a gap that is not
            sure yet.
        alert: the open or the last one.
        ledger: availability.
    """

    empty: Latch = Latch()
    short: Latch = Latch()
    counted_at: float | None = None
    hidden_since: float | None = None
    width_norm: float | None = None
    may_call_low: bool = True
    is_low: bool = False
    alert: Alert | None = None
    ledger: Ledger = Ledger()

    def observe(self, sighting: Sighting, at: float, view: Verdict, params: MonitorParams) -> WatchedZone:
        """Return the zone after a frame.

        A frame in which the zone is hidden, the view is not the usual one, or nothing is sure, changes nothing. A zone
        that stays hidden for longer than `max_hold_minutes` is looked at again, but only a gap or low stock that is
        seen counts: a wrongly seen trolley must not silence a zone for good.
        """
        if sighting.occluded_share <= params.max_occluded_share and view == "clear":
            seen = replace(self, hidden_since=None)
            return seen._settled(self, at) if sighting.shows == "unsure" else seen._counted(sighting, at, params)
        since = at if self.hidden_since is None else self.hidden_since
        hidden = replace(self, hidden_since=since)
        is_late = at - since >= 60 * params.max_hold_minutes
        if is_late and view != "blind" and sighting.shows in ("gap", "low"):
            return hidden._counted(sighting, at, params)
        return hidden._settled(self, at)

    def trouble(self, weight: float) -> Trouble | None:
        """Return what is surely wrong with it now."""
        if self.empty.on:
            return Trouble("gap", self.empty.since or 0.0, self.width_norm, weight)
        if self.is_low:
            return Trouble("low", self.short.since or 0.0, None, weight)
        return None

    def is_at_rest(self) -> bool:
        """Whether nothing is wrong, and nothing speaks for it."""
        return not any(latch.on or latch.progress > 0 for latch in (self.empty, self.short))

    def _counted(self, sighting: Sighting, at: float, params: MonitorParams) -> WatchedZone:
        elapsed = None if self.counted_at is None else max(0.0, at - self.counted_at)
        gap, full = sighting.shows == "gap", sighting.shows == "full"

        def step(latch: Latch, shown: bool, to_turn_on: Persistence, weight: float) -> Latch:
            needed = params.to_close if latch.on else to_turn_on
            return latch.step(shown, at, elapsed, needed, weight, params.contrary_weight)

        width = self.width_norm
        if sighting.width_norm is not None:
            width = sighting.width_norm if width is None else width + _WIDTH_FOLLOWS * (sighting.width_norm - width)
        against = _LOW_AGAINST_GAP if self.empty.on and sighting.shows == "low" else 1.0
        empty = step(self.empty, gap, params.to_open, against)
        short = step(self.short, not full, params.to_call_low, 1.0)
        was_filled = self.empty.on and not empty.on
        may_call_low = (self.may_call_low or (full and not short.on)) and not was_filled
        return replace(
            self,
            empty=empty,
            short=short,
            counted_at=at,
            width_norm=width,
            may_call_low=may_call_low,
            is_low=short.on and may_call_low and (self.is_low or sighting.shows == "low"),
        )._settled(self, at)

    def _settled(self, before: WatchedZone, at: float) -> WatchedZone:
        """Enter the time that is decided; while frames speak for a change, time waits for what comes of it."""
        ledger = self.ledger
        if self.empty.on != before.empty.on:
            turned = min(at, self.empty.since or at)
            return replace(self, ledger=ledger.settle(turned, not before.empty.on).settle(at, not self.empty.on))
        if self.empty.progress > 0 and ledger.settled_at is not None:
            return self
        return replace(self, ledger=ledger.settle(at, not self.empty.on))
