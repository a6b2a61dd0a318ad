"""An alert's step on the wire: a CloudEvents 1.0 event in JSON, the same bytes for every attempt."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from shelfgap_edge.alerts.event import AlertEvent

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
SCHEMA_ID = "urn:shelfgap:schema:alert:1"


def to_cloudevent(event: AlertEvent) -> dict[str, Any]:
    """Return an event as CloudEvents 1.0 has it, data included.

    Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md, and its partitioning extension.
    """
    return {
        "specversion": "1.0",
        "id": event.key,
        "source": source_of(event),
        "type": f"shelfgap.alert.{event.action}",
        "subject": subject_of(event),
        "time": rfc3339(event.at),
        "datacontenttype": "application/json",
        "dataschema": f"{SCHEMA_ID}#/$defs/alert",
        "partitionkey": f"{source_of(event)}/{subject_of(event)}",
        "data": {
            "alert_id": event.alert_id,
            "sequence": event.sequence,
            "action": event.action,
            "kind": event.kind,
            "store": event.store,
            "shelf": event.shelf,
            "camera_id": event.camera_id,
            "zone": event.zone,
            "at": rfc3339(event.at),
            "since": rfc3339(event.since),
            "priority": event.priority,
            "gap_width_norm": event.gap_width_norm,
        },
    }


def to_json(event: AlertEvent) -> bytes:
    """Return the event as one line of JSON in UTF-8, without the line's end."""
    return json.dumps(
        to_cloudevent(event), ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True
    ).encode()


def source_of(event: AlertEvent) -> str:
    """Return the camera that an event is about, as a path.

    >>> from shelfgap_edge.alerts.event import AlertEvent
    >>> event = AlertEvent("0" * 32, 1, "opened", "gap", "cam 3", "left", None, "lyon-3", 0.0, 0.0, 1, 0.1)
    >>> source_of(event), subject_of(event)
    ('/stores/lyon-3/cameras/cam%203', 'zones/left')
    """
    store = "" if event.store is None else f"/stores/{quote(event.store, safe='')}"
    return f"{store}/cameras/{quote(event.camera_id, safe='')}"


def subject_of(event: AlertEvent) -> str:
    """Return what of the camera's view is meant: `zones/<name>`, or `camera` for the camera itself."""
    return "camera" if event.zone is None else f"zones/{quote(event.zone, safe='')}"


def rfc3339(at: float) -> str:
    """Return a time in UTC to the millisecond.

    Args:
        at: seconds since the epoch.

    >>> rfc3339(1761987845.25)
    '2025-11-01T09:04:05.250Z'
    """
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def alert_schema() -> dict[str, Any]:
    """Return the published JSON Schema of what `to_cloudevent` gives."""
    text = files("shelfgap_edge.alerts").joinpath("alert.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
