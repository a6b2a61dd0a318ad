"""The life of an alert: opened, escalated, acknowledged, resolved, reopened; a step at a time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Literal

from shelfgap_edge.alerts.event import Action, AlertEvent, Kind
from shelfgap_edge.monitor.params import MonitorParams

_PRIORITY_BY_WIDTH = ((0.25, 1), (0.12, 2), (0.06, 3))  # share of the frame's width, times the weight of the zone
_LEAST_OF_A_GAP = 4
_OF_A_CAMERA = 3


@dataclass(frozen=True)
class Place:
    """Where alerts are about: a zone of a camera, or the camera."""

    camera_id: str
    zone: str | None
    shelf: str | None
    store: str | None


@dataclass(frozen=True)
class Trouble:
    """What is wrong at a place now.

    Attributes:
        kind: what.
        since: when it began, seconds.
        width_norm: share of the frame's width that the widest gap takes; None without a gap.
        weight: of the zone.
    """

    kind: Kind
    since: float
    width_norm: float | None = None
    weight: float = 1.0

    @property
    def priority(self) -> int:
        """1 (first to be seen to) to 5.

        >>> Trouble("gap", 0.0, 0.07).priority, Trouble("gap", 0.0, 0.07, weight=2.0).priority
        (3, 2)
        >>> Trouble("low", 0.0).priority
        5
        """
        if self.kind not in ("gap", "low"):
            return _OF_A_CAMERA
        importance = (self.width_norm or 0.0) * self.weight
        of_gap = next((p for width, p in _PRIORITY_BY_WIDTH if importance >= width), _LEAST_OF_A_GAP)
        return of_gap if self.kind == "gap" else min(5, of_gap + 1)


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert, or the last one of its place, which a gap that returns soon reopens.

    Attributes:
        alert_id: see `AlertEvent`.
        zone: which; None for the camera itself.
        number: of the alert at its place, from 1.
        kind, since, priority: as last told.
        sequence: of the last step.
        status: where it stands.
        changed_at: when it was opened or reopened, or got worse after somebody saw to it, or since it is resolved: time
            of that step, seconds.
        is_escalated: by time, since it was opened or reopened.
    """

    alert_id: str
    zone: str | None
    number: int
    kind: Kind
    since: float
    priority: int
    sequence: int
    status: Literal["open", "acknowledged", "resolved"]
    changed_at: float
    is_escalated: bool = False

    @property
    def is_open(self) -> bool:
        """Whether somebody should still see to it."""
        return self.status != "resolved"


Step = tuple[Alert | None, AlertEvent | None]


def advance(
    place: Place, alert: Alert | None, trouble: Trouble | None, at: float, is_quiet: bool, params: MonitorParams
) -> Step:
    """Return the alert of a place after a moment, and the step to tell, if there is one.

    Args:
        place: where.
        alert: the one that is open there, or the last one.
        trouble: what is wrong there now; None for nothing.
        at: the moment, seconds.
        is_quiet: nobody shall be told of anything new.
        params: times.
    """
    if alert is not None and alert.is_open:
        if trouble is None or (alert.kind == "gap" and trouble.kind == "low"):
            resolved = replace(alert, status="resolved", changed_at=at)
            return _told(place, resolved, "resolved", at, None)
        return (alert, None) if is_quiet else _raised(place, alert, trouble, at, params)
    if trouble is None or is_quiet:
        return alert, None
    if alert is not None and alert.kind == trouble.kind and at - alert.changed_at <= 60 * params.reopen_minutes:
        opened = replace(alert, status="open", since=trouble.since, priority=trouble.priority, is_escalated=False)
        return _told(place, replace(opened, changed_at=at), "reopened", at, trouble.width_norm)
    number = 1 if alert is None else alert.number + 1
    alert_id = _alert_id(place, trouble.kind, at, number)
    opened = Alert(alert_id, place.zone, number, trouble.kind, trouble.since, trouble.priority, 0, "open", at)
    return _told(place, opened, "opened", at, trouble.width_norm)


def acknowledge(place: Place, alert: Alert, at: float) -> Step:
    """Return the alert as one that somebody sees to; nothing new where it was so or is resolved."""
    if alert.status != "open":
        return alert, None
    return _told(place, replace(alert, status="acknowledged"), "acknowledged", at, None)


def waited_from(alert: Alert | None, before: float, at: float) -> Alert | None:
    """Return an alert for which the time between two moments was no wait for somebody; a resolved one as it is."""
    if alert is None or not alert.is_open:
        return alert
    return replace(alert, changed_at=max(alert.changed_at, min(at, alert.changed_at + at - before)))


def _raised(place: Place, alert: Alert, trouble: Trouble, at: float, params: MonitorParams) -> Step:
    """Escalate an open alert: low stock ran out, the gap grew, or nobody came."""
    if trouble.kind != alert.kind or trouble.priority < alert.priority:
        priority = min(alert.priority, trouble.priority)
        worse = replace(alert, kind=trouble.kind, priority=priority, since=trouble.since, status="open")
        if alert.status == "acknowledged":  # somebody came: nobody has waited yet
            worse = replace(worse, changed_at=at)
        return _told(place, worse, "escalated", at, trouble.width_norm)
    if alert.status == "open" and not alert.is_escalated and at - alert.changed_at >= 60 * params.escalate_minutes:
        late = replace(alert, priority=max(1, alert.priority - 1), is_escalated=True)
        return _told(place, late, "escalated", at, trouble.width_norm)
    return alert, None


def _told(place: Place, alert: Alert, action: Action, at: float, width_norm: float | None) -> Step:
    told = replace(alert, sequence=alert.sequence + 1)
    event = AlertEvent(
        alert_id=told.alert_id,
        sequence=told.sequence,
        action=action,
        kind=told.kind,
        camera_id=place.camera_id,
        zone=place.zone,
        shelf=place.shelf,
        store=place.store,
        at=at,
        since=told.since,
        priority=told.priority,
        gap_width_norm=None if width_norm is None else round(width_norm, 4),
    )
    return told, event


def _alert_id(place: Place, kind: Kind, at: float, number: int) -> str:
    parts = [place.store, place.camera_id, place.zone, kind, repr(at), number]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
