"""The account of the service at one moment, for the status page: gathered from cameras, outbox, sources and metrics."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from shelfgap_edge.alerts.event import AlertEvent
from shelfgap_edge.monitor.availability import HOUR_S, ObservedHour, share
from shelfgap_edge.service.bundles import RunningBundle
from shelfgap_edge.service.cameras import Cameras
from shelfgap_edge.service.config import EdgeConfig
from shelfgap_edge.service.metrics import Metrics
from shelfgap_edge.service.page.status import HOURS, AvailabilityStatus, CameraState, CameraStatus, Level, Status
from shelfgap_edge.service.parts import Outbox
from shelfgap_edge.sources.state import SourceState

_STATE_BY_KIND: Mapping[str, CameraState] = {
    "camera-silent": "silent",
    "camera-blinded": "blinded",
    "camera-moved": "moved",
}


def give_account(
    *,
    now: float,
    started_at: float,
    config: EdgeConfig,
    bundle: RunningBundle,
    problems: Sequence[str],
    cameras: Cameras,
    outbox: Outbox,
    sources: Sequence[SourceState],
    metrics: Metrics,
) -> Status:
    """Return the status of the service.

    Args:
        now: seconds since the epoch, as is `started_at`.
        started_at: when the service started.
        config: what it was told.
        bundle: the one that decides, and why another one does not.
        problems: what keeps it from being ready.
        cameras: their monitors.
        outbox: alerts, open and past.
        sources: states of those that run.
        metrics: counts of frames.
    """
    alerts = tuple(outbox.open_alerts())
    manifest = bundle.detector.manifest
    return Status(
        at=now,
        started_at=started_at,
        title=config.store or "shelfgap",
        version=version("shelfgap-edge"),
        bundle=f"{manifest.name} {manifest.version}",
        time_zone=config.time_zone,
        problems=tuple(problems),
        waiting=dict(outbox.figures().waiting),
        cameras=_cameras(config, cameras, alerts, metrics.frames_by_outcome()),
        sources=tuple(sources),
        availability=tuple(availability_of(cameras.observed_hours(), now)),
        alerts=alerts,
        timeline=tuple(outbox.timeline(now - HOURS * HOUR_S)),
        bundle_failure=bundle.failure,
    )


def availability_of(hours: Sequence[ObservedHour], now: float) -> list[AvailabilityStatus]:
    """Return the availability of each store, shelf and zone over the last 24 hours, and of each of these hours."""
    first = int(now // HOUR_S) - HOURS + 1
    recent = [hour for hour in hours if hour.hour_at >= first * HOUR_S]

    def of(
        level: Level, key: Callable[[ObservedHour], Hashable], named: Callable[[ObservedHour], dict[str, Any]]
    ) -> Any:
        groups: dict[Hashable, list[ObservedHour]] = {}
        for hour in recent:
            groups.setdefault(key(hour), []).append(hour)
        for members in groups.values():
            hourly = tuple(share(h for h in members if h.hour_at // HOUR_S == first + n) for n in range(HOURS))
            yield AvailabilityStatus(level=level, share=share(members), hourly=hourly, **named(members[0]))

    nowhere = {"camera_id": None, "shelf": None}
    stores = of("store", lambda hour: hour.store, lambda hour: {"name": hour.store or "", **nowhere})
    shelves = of("shelf", lambda hour: hour.shelf, lambda hour: {"name": hour.shelf or "", **nowhere})
    zones = of(
        "zone",
        lambda hour: (hour.camera_id, hour.zone),
        lambda hour: {"name": hour.zone, "camera_id": hour.camera_id, "shelf": hour.shelf},
    )
    return [*(s for s in stores if s.name), *(s for s in shelves if s.name), *zones]


def _cameras(
    config: EdgeConfig,
    cameras: Cameras,
    alerts: Sequence[AlertEvent],
    frames: Mapping[str, Mapping[str, int]],
) -> tuple[CameraStatus, ...]:
    troubles = {alert.camera_id: _STATE_BY_KIND[alert.kind] for alert in alerts if alert.kind in _STATE_BY_KIND}
    last_frames, held_back = cameras.last_frames(), cameras.held_back()
    rows = []
    for name, camera in config.cameras.items():
        outcomes = dict(frames.get(name, {}))
        seen = outcomes.pop("seen", 0)
        state: CameraState = "hidden" if name in held_back else "watching"
        if name not in last_frames:
            state = "waiting"
        rows.append(
            CameraStatus(
                name, troubles.get(name, state), last_frames.get(name), seen, outcomes, camera.shelf, config.store
            )
        )
    return tuple(rows)
