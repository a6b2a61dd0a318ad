"""The monitors of all cameras, and their way into the outbox."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

from shelfgap_edge.alerts.event import AlertEvent
from shelfgap_edge.contract import Manifest
from shelfgap_edge.monitor.availability import ObservedHour
from shelfgap_edge.service.clock import Clock
from shelfgap_edge.service.metrics import Metrics
from shelfgap_edge.service.parts import Monitor, Outbox, Plan, Seen

_SAVE_SECONDS = 10.0  # between two times that what changed goes to the outbox: all at once would halt the judging
_TURNS = 6  # in as many savings each camera that is not heard, and whose alert waits, is saved once
_LET_IN_SECONDS = 1e-4  # a lock that is taken again at once keeps out who waits for it

_NOTHING = json.dumps(None)  # state of a camera that was taken out, or begins anew

_log = logging.getLogger(__name__)


class Cameras:
    """Observes, ticks and acknowledges under one lock; an event goes into the outbox with the state of its camera.

    Args:
        outbox: where to.
        metrics: counts events.
        clock: wall time.
    """

    def __init__(self, outbox: Outbox, metrics: Metrics, clock: Clock) -> None:
        self._outbox, self._metrics, self._clock = outbox, metrics, clock
        self._lock = threading.Lock()
        self._monitors: dict[str, Monitor] = {}
        self._plan: Plan | None = None
        self._changed: set[str] = set()  # cameras whose state is not in the outbox
        self._saved_at = time.monotonic()
        self._turn = 0
        self._known_since: dict[str, float] = {}
        self._seen_at: dict[str, float] = {}
        self._last_frame_at: dict[str, float] = {}  # when it was taken

    def use(self, plan: Plan, manifest: Manifest) -> None:
        """Take up a plan and the manifest of a bundle; cameras keep what they remember, also from before a restart.

        What cameras that are gone remembered is forgotten.
        """
        with self._lock:
            stored = self._outbox.states()
            monitors = dict(plan.monitors(manifest))
            for name, monitor in monitors.items():
                if name in self._monitors:
                    _restore(name, monitor, self._monitors[name].state())
                elif name in stored:
                    _restore(name, monitor, stored[name])
                    monitor.resume(self._clock.now())
            self._monitors, self._plan = monitors, plan
            self._resolve_forgotten()
            self._outbox.put([], ((name, _NOTHING) for name in stored.keys() - monitors.keys()))
            self._changed = set(monitors)
            now = time.monotonic()
            self._known_since = {name: self._known_since.get(name, now) for name in monitors}
            self._seen_at = {name: at for name, at in self._seen_at.items() if name in monitors}
            self._last_frame_at = {name: at for name, at in self._last_frame_at.items() if name in monitors}

    def observe(self, seen: Seen) -> list[AlertEvent]:
        """Tell the monitor of a camera what was seen; nothing happens if the camera is not configured any more."""
        with self._lock:
            monitor = self._monitors.get(seen.camera_id)
            if monitor is None or self._plan is None:
                return []
            self._seen_at[seen.camera_id] = time.monotonic()
            self._last_frame_at[seen.camera_id] = seen.at
            events = monitor.observe(self._plan.reading(monitor, seen))
            if monitor.is_held_back:
                self._metrics.held_back.labels(seen.camera_id).inc()
            self._changed.add(seen.camera_id)
            self._put(events)
            return events

    def tick(self) -> None:
        """Follow a clock that was set, let time pass for all cameras, save what is due."""
        with self._lock:
            step = self._clock.correct()
            if step:
                self._metrics.clock_steps.inc()
                _log.warning("the clock was set", extra={"step_seconds": round(step, 3)})
            events: list[AlertEvent] = []
            for name, monitor in self._monitors.items():
                try:
                    events += monitor.tick(self._now_of(name))
                except Exception as error:  # what the others have to tell must not be lost with it
                    _log.error("a tick failed", extra={"camera": name}, exc_info=error)
            self._put(events)
            if time.monotonic() - self._saved_at >= _SAVE_SECONDS:
                self._turn = (self._turn + 1) % _TURNS
                self._save(list(self._monitors)[self._turn :: _TURNS])

    def acknowledge(self, alert_id: str) -> list[AlertEvent]:
        """Take note that a person has seen an alert; empty if no camera has it open."""
        with self._lock:
            events = [
                event
                for name, monitor in self._monitors.items()
                for event in monitor.acknowledge(alert_id, self._now_of(name))
            ]
            self._put(events)
            return events

    def save(self) -> None:
        """Hand over the states of all cameras that changed, or whose alerts wait."""
        with self._lock:
            self._save(self._monitors)

    def silence_seconds(self) -> dict[str, float]:
        """Return for each camera how long ago its last verdict was; before the first, since when it is known."""
        now = time.monotonic()
        return {name: now - self._seen_at.get(name, since) for name, since in self._known_since.items()}

    def last_frames(self) -> dict[str, float]:
        """Return for each camera that sent something when its last frame was taken, seconds since the epoch."""
        with self._lock:
            return dict(self._last_frame_at)

    def held_back(self) -> set[str]:
        """Return the cameras whose last frame counted for nothing."""
        with self._lock:
            return {name for name, monitor in self._monitors.items() if monitor.is_held_back}

    def observed_hours(self) -> list[ObservedHour]:
        """Return the observed hours of all zones of all cameras."""
        hours: list[ObservedHour] = []
        for name in self._monitors:
            with self._lock:  # camera by camera, so that frames are judged in between
                monitor = self._monitors.get(name)
                hours += [] if monitor is None else monitor.availability()
            time.sleep(_LET_IN_SECONDS)
        return hours

    def _now_of(self, name: str) -> float:
        """Return the time by the clock of a camera's frames: that of the last one, and what passed since.

        So nobody seems to have waited for hours because a clock was set or a recording is replayed.
        """
        if name not in self._seen_at:
            return self._clock.now()
        return self._last_frame_at[name] + time.monotonic() - self._seen_at[name]

    def _resolve_forgotten(self) -> None:
        """Resolve the alerts that no monitor remembers: of cameras that are not configured any more, or begin anew."""
        known = {alert_id for monitor in self._monitors.values() for alert_id in monitor.open_ids()}
        gone = [event for event in self._outbox.open_alerts() if event.alert_id not in known]
        now = self._clock.now()
        ended = [
            replace(event, action="resolved", sequence=event.sequence + 1, at=max(now, event.at), gap_width_norm=None)
            for event in gone
        ]
        for event in ended:
            self._metrics.alerts.labels(event.kind, event.action).inc()
        if ended:
            names = {event.camera_id for event in ended}
            self._outbox.put(ended, chain(((name, _NOTHING) for name in names), self._states(names)))

    def _put(self, events: list[AlertEvent]) -> None:
        if not events:
            return
        for event in events:
            self._metrics.alerts.labels(event.kind, event.action).inc()
        self._outbox.put(events, self._states({event.camera_id for event in events}))

    def _save(self, also: Iterable[str]) -> None:
        """Hand over what changed, and those of some cameras whose alerts wait, which ticks alone carry on."""
        self._saved_at = time.monotonic()
        self._changed |= {name for name in also if any(self._monitors[name].open_ids())}
        if self._changed:
            self._outbox.put([], self._states(self._changed))

    def _states(self, names: set[str]) -> Iterator[tuple[str, str]]:
        """Give the state of one camera after the other: all at once they would be the largest thing in memory."""
        self._changed = self._changed - names
        return ((name, json.dumps(self._monitors[name].state())) for name in names & self._monitors.keys())


def _restore(name: str, monitor: Monitor, state: object) -> None:
    try:
        known: Any = json.loads(state) if isinstance(state, str) else state
        if known is not None:
            monitor.restore(known)
    except Exception as error:  # damaged, or of another version: better a camera that begins anew than none
        _log.warning("the state of a camera cannot be taken up; it begins anew", extra={"camera": name}, exc_info=error)
