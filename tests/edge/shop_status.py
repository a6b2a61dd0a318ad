"""A status as a busy shop has it."""

from __future__ import annotations

from dataclasses import replace

from shelfgap_edge.alerts.event import AlertEvent
from shelfgap_edge.service.page.status import AvailabilityStatus, CameraStatus, Status
from shelfgap_edge.sources.state import SourceState

NOW = 1764079500.0  # 2025-11-25 14:05 UTC, 15:05 in Paris
HOUR = 3600.0


def event(
    number: int, sequence: int, action: str, kind: str, where: str, hours_ago: float, **more: object
) -> AlertEvent:
    camera, _, zone = where.partition("/")
    values = {
        "alert_id": f"{number:032x}",
        "sequence": sequence,
        "action": action,
        "kind": kind,
        "camera_id": camera,
        "zone": zone or None,
        "shelf": "Breakfast" if zone else None,
        "store": "Lyon 3",
        "at": NOW - hours_ago * HOUR,
        "since": NOW - hours_ago * HOUR - 600,
        "priority": 2,
        "gap_width_norm": 0.18 if kind == "gap" else None,
    }
    return AlertEvent(**{**values, **more})  # type: ignore[arg-type]


def source(kind: str, where: str, camera: str | None, **more: object) -> SourceState:
    state = SourceState(kind, where, camera, True, NOW - 9 * HOUR, NOW - 4, 3412, {}, None, False)
    return replace(state, **more)


def hours(*worst: tuple[int, float], unseen: int = 8) -> tuple[float | None, ...]:
    values: list[float | None] = [None] * unseen + [1.0] * (24 - unseen)
    for hour, share in worst:
        values[hour] = share
    return tuple(values)


def shop_status() -> Status:
    timeline = (
        event(1, 1, "opened", "low", "a1/Cereals left", 5.0),
        event(1, 2, "escalated", "gap", "a1/Cereals left", 3.2, since=NOW - 5.2 * HOUR),
        event(2, 1, "opened", "gap", "a2/Jam", 9.0),
        event(2, 2, "acknowledged", "gap", "a2/Jam", 8.8),
        event(2, 3, "resolved", "gap", "a2/Jam", 7.9),
        event(2, 4, "reopened", "gap", "a2/Jam", 0.4),
        event(3, 1, "opened", "camera-silent", "c9", 1.5),
        event(4, 1, "opened", "low", "b4/Coffee", 2.0, priority=4),
        event(4, 2, "acknowledged", "low", "b4/Coffee", 1.8, priority=4),
        event(5, 1, "opened", "gap", "a1/Honey", 22.0),
        event(5, 2, "resolved", "gap", "a1/Honey", 20.5),
        event(6, 1, "opened", "camera-moved", "b4", 12.0),
        event(6, 2, "resolved", "camera-moved", "b4", 11.0),
    )
    alerts = (
        event(1, 2, "escalated", "gap", "a1/Cereals left", 3.2, since=NOW - 5.2 * HOUR, priority=1),
        event(2, 4, "reopened", "gap", "a2/Jam", 0.4),
        event(3, 1, "opened", "camera-silent", "c9", 1.5, shelf="Till 2", priority=3),
        event(4, 2, "acknowledged", "low", "b4/Coffee", 1.8, priority=4),
    )
    well = [CameraStatus(f"b{n}", "watching", NOW - 3 - n, 890 + n, {}, "Coffee", "Lyon 3") for n in range(1, 13)]
    cameras = (
        CameraStatus("a1", "watching", NOW - 12, 1204, {}, "Breakfast", "Lyon 3"),
        CameraStatus("a2", "hidden", NOW - 31, 1198, {"too-large": 2, "not-jpeg": 1}, "Breakfast", "Lyon 3"),
        CameraStatus("c9", "silent", NOW - 1.6 * HOUR, 640, {}, "Till 2", "Lyon 3"),
        CameraStatus("d1", "waiting", None, 0, {}, None, "Lyon 3"),
        *well,
    )
    availability = (
        AvailabilityStatus("store", "Lyon 3", None, None, 0.964, hours((15, 0.9), (21, 0.82), (23, 0.71))),
        AvailabilityStatus("shelf", "Breakfast", None, None, 0.873, hours((21, 0.55), (22, 0.4), (23, 0.31))),
        AvailabilityStatus("shelf", "Coffee", None, None, 0.998, hours((22, 0.97))),
        AvailabilityStatus("zone", "Cereals left", "a1", "Breakfast", 0.69, hours((21, 0.2), (22, 0.0), (23, 0.0))),
        AvailabilityStatus("zone", "Jam", "a2", "Breakfast", 0.94, hours((15, 0.4), (23, 0.6))),
        AvailabilityStatus("zone", "Coffee", "b4", "Coffee", 0.998, hours((22, 0.97))),
        AvailabilityStatus("zone", "Promotions", "d1", None, None, (None,) * 24),
    )
    sources = (
        source("mqtt", "mqtts://broker.lyon-3.lan:8883", None),
        source("rtsp", "rtsp://camera-a2.lan", "a2", failures={"cut": 2, "refused": 11}, last_failure="refused"),
        source(
            "mjpeg", "http://camera-c9.lan", "c9", connected=False, failures={"timeout": 42}, last_failure="timeout"
        ),
    )
    return Status(
        at=NOW,
        started_at=NOW - 9.2 * HOUR,
        title="Lyon 3",
        version="0.1.0",
        bundle="gap-detector 2025.11.20",
        time_zone="Europe/Paris",
        problems=(),
        waiting={"webhook": 0},
        cameras=cameras,
        sources=sources,
        availability=availability,
        alerts=alerts,
        timeline=timeline,
    )
