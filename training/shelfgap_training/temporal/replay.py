"""One shelf-day through a monitor: each gap with the alert that it got, each alert with the gap that it had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from shelfgap_edge.alerts.event import AlertEvent, Kind
from shelfgap_edge.monitor.availability import share
from shelfgap_edge.monitor.camera import CameraMonitor
from shelfgap_edge.monitor.params import MonitorParams
from shelfgap_edge.monitor.reading import FrameReading

from shelfgap_training.temporal.days import ShelfDay, Span

_SLACK_FRAMES = 2.0  # a shelf that was filled a moment before the alert was empty all the same
_TRUE_FOR = {"gap": frozenset({"gap"}), "low": frozenset({"gap", "low"})}


@dataclass(frozen=True)
class DayOutcome:
    """What a monitor made of a day.

    Attributes:
        name: of the day.
        alerted: (zone, delay) of each gap that was alerted: minutes from its begin to the alert, 0 where one was open.
        missed: (zone, span) of gaps that nobody was told of while they lasted.
        lows, lows_told: times of low stock that last as long, and in how many of them an alert was open.
        false: alerts opened, reopened or escalated to a gap while the zone was in no such state.
        false_gaps_on_low: how many of them say that a shelf is empty where stock was low.
        told: by zone, when an alert of a gap was open.
        camera_alerts: of a camera that was said to be blinded or moved.
        repeats: further alerts of gaps that had one.
        availability: as the monitor has it.
        true_availability: as it was.
    """

    name: str
    alerted: tuple[tuple[str, float], ...]
    missed: tuple[tuple[str, Span], ...]
    lows: int
    lows_told: int
    false: tuple[AlertEvent, ...]
    false_gaps_on_low: int
    told: Mapping[str, tuple[Span, ...]]
    camera_alerts: int
    repeats: int
    availability: float
    true_availability: float

    @property
    def delays_minutes(self) -> tuple[float, ...]:
        """Of each gap that was alerted."""
        return tuple(minutes for _, minutes in self.alerted)

    @property
    def false_gaps(self) -> int:
        """How many of the false alerts say that a shelf is empty."""
        return sum(event.kind == "gap" for event in self.false)

    @property
    def false_lows(self) -> int:
        """How many of the false alerts say that stock is low."""
        return len(self.false) - self.false_gaps


def without_holds(params: MonitorParams) -> MonitorParams:
    """Return the parameters with no frame held back: for what the occlusion logic brings."""
    return replace(params, max_occluded_share=1.0, min_likeness=-1.0, min_spread=0.0, min_sharpness_share=0.0)


def replay(
    day: ShelfDay, readings: Sequence[FrameReading], params: MonitorParams, min_gap_minutes: float
) -> DayOutcome:
    """Show the frames of a day to a fresh monitor with a zone for each facing, and compare with what was true.

    Args:
        day: the truth.
        readings: what was detected in its frames.
        params: of the monitor.
        min_gap_minutes: gaps and low stock that last no longer need no alert.
    """
    monitor = CameraMonitor(day.name, day.zones, params)
    events = [event for reading in readings for event in monitor.observe(reading)]
    starts = [
        event for event in events if event.zone is not None and event.action in ("opened", "reopened", "escalated")
    ]
    slack = _SLACK_FRAMES * day.frame_s
    false = tuple(
        event
        for event in starts
        if _is_new(event, events)
        and not day.shown(str(event.zone), _TRUE_FOR[event.kind], event.since - slack, event.at)
    )
    told = {zone.name: tuple(_told_spans(zone.name, events, day.times[-1], {"gap"})) for zone in day.zones}
    alerted, missed, repeats = [], [], 0
    for zone, gap in day.gaps(min_gap_minutes):
        mine = [span for span in told[zone] if span.start <= gap.end and span.end > gap.start]
        repeats += max(0, len(mine) - 1)
        if mine:
            alerted.append((zone, max(0.0, mine[0].start - gap.start) / 60))
        else:
            missed.append((zone, gap))
    lows = day.times_of("low", min_gap_minutes)
    return DayOutcome(
        day.name,
        tuple(alerted),
        tuple(missed),
        len(lows),
        sum(
            any(
                span.start <= low.end and span.end > low.start
                for span in _told_spans(zone, events, day.times[-1], {"gap", "low"})
            )
            for zone, low in lows
        ),
        false,
        sum(
            event.kind == "gap" and day.shown(str(event.zone), _TRUE_FOR["low"], event.since - slack, event.at)
            for event in false
        ),
        told,
        sum(event.zone is None and event.action == "opened" for event in events),
        repeats,
        share(monitor.availability()) or 0.0,
        day.availability(),
    )


def _is_new(event: AlertEvent, events: Sequence[AlertEvent]) -> bool:
    """Say whether an escalation tells of a new state: low stock that ran out. Others repeat what was told."""
    if event.action != "escalated":
        return True
    before = [e.kind for e in events if e.alert_id == event.alert_id and e.sequence < event.sequence]
    return before[-1] != event.kind


def _told_spans(zone: str, events: Sequence[AlertEvent], end: float, kinds: set[Kind]) -> list[Span]:
    """Return the times in which an alert of some kinds was open for a zone."""
    spans: list[Span] = []
    since: float | None = None
    for event in events:
        if event.zone != zone:
            continue
        if event.action == "resolved" and since is not None:
            spans.append(Span(since, event.at, "gap"))
            since = None
        elif event.kind in kinds and event.action != "resolved" and since is None:
            since = event.at
    return spans if since is None else [*spans, Span(since, end + 1, "gap")]
