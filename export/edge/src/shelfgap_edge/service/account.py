"""The account of the service at one moment, for the status page: gathered from cameras, outbox, sources and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version

from shelfgap_edge.alerts.event import AlertEvent
from shelfgap_edge.monitor.availability import HOUR_S
from shelfgap_edge.service.bundles import RunningBundle
from shelfgap_edge.service.cameras import Cameras
from shelfgap_edge.service.config import EdgeConfig
from shelfgap_edge.service.metrics import Metrics
from shelfgap_edge.service.page.status import HOURS, AvailabilityStatus, CameraState, CameraStatus, Status
from shelfgap_edge.service.parts import Outbox
from shelfgap_edge.service.trouble import Trouble
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
    problems: Sequence[Trouble],
    cameras: Cameras,
    availability: Sequence[AvailabilityStatus],
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
        availability: of what they watch.
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
        time_zone=config.time_zone or "UTC",
        problems=tuple(problems),
        waiting=dict(outbox.figures().waiting),
        cameras=_cameras(config, cameras, alerts, metrics.frames_by_outcome()),
        sources=tuple(sources),
        availability=tuple(availability),
        alerts=alerts,
        timeline=tuple(outbox.timeline(now - HOURS * HOUR_S)),
        bundle_failure=bundle.failure,
    )


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
