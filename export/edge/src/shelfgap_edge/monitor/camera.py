"""The monitor of one camera: readings of frames in, steps of alerts out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from shelfgap_edge.alerts.event import AlertEvent, Kind
from shelfgap_edge.monitor import memory
from shelfgap_edge.monitor.alert import Alert, Place, Trouble, acknowledge, advance, waited_from
from shelfgap_edge.monitor.availability import HOUR_S, ObservedHour
from shelfgap_edge.monitor.clock import Clock, is_plausible
from shelfgap_edge.monitor.facings import new_facings, to_forget
from shelfgap_edge.monitor.params import MonitorParams
from shelfgap_edge.monitor.reading import FrameReading, areas_of
from shelfgap_edge.monitor.silence import Silence
from shelfgap_edge.monitor.view import Verdict, View
from shelfgap_edge.monitor.watched_zone import WatchedZone, look_at
from shelfgap_edge.monitor.zones import WHOLE_VIEW, Zone

_CAMERA_KINDS: tuple[Kind, ...] = ("camera-silent", "camera-blinded", "camera-moved")


class CameraMonitor:
    """Decides from the readings of one camera when somebody should be told.

    Not safe to use from two threads at once. Readings of other cameras, with a time that is none, and a reading that
    was seen already, change nothing.

    Args:
        camera_id: of the camera.
        zones: those that somebody drew; without any, facings are learnt, or the whole view is one zone
            (`MonitorParams.learn_facings`).
        params: when frames become an alert.
        shelf, store: where the camera looks; a zone may name another shelf.
    """

    def __init__(
        self,
        camera_id: str,
        zones: Sequence[Zone],
        params: MonitorParams,
        *,
        shelf: str | None = None,
        store: str | None = None,
    ) -> None:
        self.camera_id = camera_id
        self._params = params
        self._shelf, self._store = shelf, store
        self._learns = not zones and params.learn_facings
        drawn = tuple(zones) or (() if self._learns else (WHOLE_VIEW,))
        self._zones: dict[str, Zone] = {zone.name: zone for zone in drawn}
        self._watched: dict[str, WatchedZone] = {zone.name: WatchedZone() for zone in drawn}
        self._learnt = 0  # facings so far, which names the next
        self._alerts: dict[Kind, Alert | None] = dict.fromkeys(_CAMERA_KINDS)
        self._gone: dict[str, Alert] = {}  # open alerts of zones that are no more
        self._view = View()
        self._verdict: Verdict = "clear"  # on the last frame
        self._clock = Clock()
        self._silence = Silence()

    @property
    def zones(self) -> tuple[Zone, ...]:
        """The zones, drawn or learnt, for `reading.glance` and for people; learnt ones come and go."""
        return tuple(self._zones.values())

    @property
    def glance_zones(self) -> tuple[Zone, ...]:
        """What to give to `reading.glance`: drawn zones only, so that its areas stay the same."""
        return () if self._learns else self.zones

    @property
    def is_held_back(self) -> bool:
        """Whether the last frame was: its view is not the usual one, or occluders hide every zone."""
        zones = self._watched.values()
        return self._verdict != "clear" or (len(zones) > 0 and all(zone.hidden_since is not None for zone in zones))

    def observe(self, reading: FrameReading) -> list[AlertEvent]:
        """Take in a frame.

        Args:
            reading: of this camera. One that is older than the last is left out; if three in a row are, the camera's
                clock was set back, and time goes on from there.

        Returns:
            Steps of alerts, those of the camera first, then zone by zone.
        """
        if reading.camera_id != self.camera_id or not is_plausible(reading.at):
            return []
        known, before = self._clock, self._clock.at
        self._clock, is_taken = self._clock.take(reading.at)
        if not is_taken:
            if self._clock != known:  # no repeated one: the camera lives, though its clock may have been set back
                self._silence = self._silence.heard()
            return []
        at = reading.at
        if before is not None and at < before:
            self._set_back(at)
        elif before is not None and at - before > 60 * self._params.silent_minutes:
            self._leave_out(before, at)
        self._silence = self._silence.heard()
        boxes, sure = reading.boxes_norm(), reading.boxes_norm(self._params.min_scores)
        occluded = WHOLE_VIEW.covered_share(boxes["occluder"])
        self._view, verdict = self._view.judge(reading.glance, occluded, at, self._params)
        self._verdict = verdict
        if self._learns and verdict == "clear":
            for zone in new_facings(self.zones, sure, self._learnt + 1, self._params):
                self._zones[zone.name], self._watched[zone.name] = zone, WatchedZone(counted_at=before)
                self._learnt += 1
        for name, zone in self._zones.items():
            sighting = look_at(zone, boxes, sure, self._params.min_share)
            self._watched[name] = self._watched[name].observe(sighting, at, verdict, self._params)
        events = self._advance(at)
        if self._learns:
            self._forget(to_forget(self._watched, at))
        return events

    def tick(self, now: float) -> list[AlertEvent]:
        """Let time pass without a frame: silence, escalation, the end of quiet hours.

        Call it about once a minute, also while frames come.

        Args:
            now: seconds since the epoch by the clock of this device.
        """
        if not is_plausible(now):
            return []
        self._silence = self._silence.tick(now, 60 * self._params.silent_minutes)
        return self._advance(now)

    def resume(self, now: float) -> None:
        """Note that this device was off until now: no camera kept silent, and nobody let an alert wait.

        Args:
            now: seconds since the epoch by the clock of this device.
        """
        before = self._silence.ticked_at or self._clock.at
        if before is not None and is_plausible(now) and now > before:
            self._wait_from(before, now)
            self._silence = self._silence.resumed(now, 60 * self._params.silent_minutes)

    def acknowledge(self, alert_id: str, at: float) -> list[AlertEvent]:
        """Note that somebody sees to an alert; an id that is not open here changes nothing.

        To acknowledge `camera-moved` accepts the new view as the usual one, which resolves the alert; learnt facings
        are learnt anew.
        """
        for kind, alert in self._alerts.items():
            if alert is not None and alert.alert_id == alert_id:
                self._alerts[kind], event = acknowledge(self._place(None), alert, at)
                if event is None:
                    return []
                if kind == "camera-moved":
                    self._view = self._view.accepted()
                    if self._learns:
                        self._forget(list(self._zones))
                    return [event, *self._advance(at)]
                return [event]
        for name, watched in self._watched.items():
            if watched.alert is not None and watched.alert.alert_id == alert_id:
                kept, event = acknowledge(self._place(name), watched.alert, at)
                self._watched[name] = replace(watched, alert=kept)
                return [] if event is None else [event]
        return []

    def availability(self, since: float = -math.inf, until: float = math.inf) -> list[ObservedHour]:
        """Return the observed hours of each zone that begin in [since, until); see `availability.share`.

        The last 24 observed hours of a zone are kept. A gap counts from its first frame, so the last minutes of a
        zone are entered when its state is sure. Learnt facings are those that had an alert: others were never empty.
        """
        return [
            ObservedHour(
                self._store, self._shelf_of(name), self.camera_id, name, zone.weight, hour * HOUR_S, available, observed
            )
            for name, zone in self._zones.items()
            for hour, available, observed in self._watched[name].ledger.hours
            if since <= hour * HOUR_S < until and not (self._learns and self._watched[name].alert is None)
        ]

    def open_alerts(self) -> list[Alert]:
        """Return the alerts that are not resolved, those of the camera first."""
        alerts = [*self._alerts.values(), *(watched.alert for watched in self._watched.values())]
        return [alert for alert in alerts if alert is not None and alert.is_open]

    def open_ids(self) -> set[str]:
        """Return the ids of the alerts that are not resolved, those of zones that are no more too."""
        return {alert.alert_id for alert in (*self.open_alerts(), *self._gone.values())}

    def state(self) -> dict[str, Any]:
        """Return everything that is remembered, as JSON values: numbers, names and ids."""
        return memory.to_json(
            memory.Memory(
                self._clock,
                self._silence,
                self._view,
                self._alerts,
                self._watched,
                self._gone,
                self._learnt,
                {name: zone.bounds_norm for name, zone in self._zones.items()} if self._learns else {},
                areas_of(self.glance_zones),
            )
        )

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned, also after a restart or with other zones.

        A zone that is no more has its alert resolved with the next frame or tick. Where zones that the usual view is
        made of were drawn anew, it is learnt anew.

        Raises:
            MonitorStateError: not such a state; nothing is changed then.
        """
        kept = memory.from_json(state)
        if self._learns:
            self._zones = {name: Zone.from_box(name, box) for name, box in kept.facings.items()}
        self._gone = dict(kept.gone)
        for name, watched in kept.watched.items():
            if name not in self._zones and watched.alert is not None and watched.alert.is_open:
                self._gone[name] = watched.alert
        self._watched = {name: kept.watched.get(name, WatchedZone()) for name in self._zones}
        is_same_view = kept.areas is None or kept.areas == areas_of(self.glance_zones)
        self._view = kept.view if is_same_view else kept.view.accepted()
        self._clock, self._silence, self._learnt = kept.clock, kept.silence, kept.learnt
        self._alerts = {kind: kept.alerts.get(kind) for kind in _CAMERA_KINDS}

    def _advance(self, at: float) -> list[AlertEvent]:
        """Bring every alert to what is sure now."""
        params = self._params
        is_quiet = params.quiet_hours is not None and params.quiet_hours.covers(at)
        events: list[AlertEvent | None] = []
        troubles: dict[Kind, Trouble | None] = {
            "camera-silent": self._silence.trouble(60 * params.silent_minutes),
            "camera-blinded": _of_latch("camera-blinded", self._view.blinded.on, self._view.blinded.since),
            "camera-moved": _of_latch("camera-moved", self._view.moved.on, self._view.moved.since),
        }
        for kind, trouble in troubles.items():
            self._alerts[kind], event = advance(self._place(None), self._alerts[kind], trouble, at, is_quiet, params)
            events.append(event)
        for name, alert in self._gone.items():
            events.append(advance(self._place(name), alert, None, at, is_quiet, params)[1])
        self._gone = {}
        for name, watched in self._watched.items():
            trouble = watched.trouble(self._zones[name].weight)
            alert_now, event = advance(self._place(name), watched.alert, trouble, at, is_quiet, params)
            if event is not None:
                self._watched[name] = replace(watched, alert=alert_now)
            events.append(event)
        return [event for event in events if event is not None]

    def _forget(self, names: Sequence[str]) -> None:
        for name in names:
            alert = self._watched.pop(name).alert
            del self._zones[name]
            if alert is not None and alert.is_open:
                self._gone[name] = alert

    def _set_back(self, at: float) -> None:
        """Move what is remembered to a clock that was set back: nothing lies in the future."""
        self._view = memory.not_after(self._view, at)
        self._alerts = {kind: memory.not_after(alert, at) for kind, alert in self._alerts.items()}
        self._watched = {name: memory.not_after(watched, at) for name, watched in self._watched.items()}

    def _leave_out(self, before: float, at: float) -> None:
        """Keep a time without frames out of the availability, and a jump of the clock out of the wait for somebody."""
        self._wait_from(max(before, min(at, self._silence.ticked_at or before)), at)  # what ticks saw pass was a wait
        for name, watched in self._watched.items():
            ledger = watched.ledger.settle(before, not watched.empty.on).skip(at)
            self._watched[name] = replace(watched, ledger=ledger)

    def _wait_from(self, before: float, at: float) -> None:
        """Count the time between two moments as no wait for somebody."""
        self._alerts = {kind: waited_from(alert, before, at) for kind, alert in self._alerts.items()}
        for name, watched in self._watched.items():
            self._watched[name] = replace(watched, alert=waited_from(watched.alert, before, at))

    def _shelf_of(self, zone: str) -> str | None:
        return (self._zones[zone].shelf if zone in self._zones else None) or self._shelf

    def _place(self, zone: str | None) -> Place:
        shelf = self._shelf if zone is None else self._shelf_of(zone)
        return Place(self.camera_id, zone, shelf, self._store)


def _of_latch(kind: Kind, is_on: bool, since: float | None) -> Trouble | None:
    return Trouble(kind, since or 0.0) if is_on else None
