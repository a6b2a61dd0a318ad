"""Steps of alerts for tests."""

from __future__ import annotations

from shelfgap_edge.alerts.event import AlertEvent


def step(alert: int, sequence: int = 1, action: str = "opened", **changes: object) -> AlertEvent:
    """Return a step; alert number -> id."""
    values: dict[str, object] = {
        "alert_id": f"{alert:032x}",
        "sequence": sequence,
        "action": action,
        "kind": "gap",
        "camera_id": "cam-1",
        "zone": "left",
        "shelf": "Coffee",
        "store": "lyon-3",
        "at": 1_760_000_000.0 + alert * 60 + sequence,
        "since": 1_760_000_000.0 + alert * 60,
        "priority": 2,
        "gap_width_norm": 0.125,
    }
    return AlertEvent(**{**values, **changes})  # type: ignore[arg-type]


def everything(event: AlertEvent) -> bool:
    return True
