"""What the status page and `/status.json` show: one picture-less account of the service at one moment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from shelfgap_edge.alerts.event import AlertEvent
from shelfgap_edge.service.trouble import Trouble
from shelfgap_edge.sources.state import SourceState

CameraState = Literal["watching", "hidden", "waiting", "silent", "blinded", "moved"]
CAMERA_STATES: tuple[CameraState, ...] = get_args(CameraState)
Level = Literal["store", "shelf", "zone"]
HOURS = 24


@dataclass(frozen=True)
class CameraStatus:
    """A configured camera.

    Attributes:
        camera_id, shelf, store: which, and where if configured.
        state: "watching"; "hidden" if its last frame was held back; "waiting" before the first frame; "silent",
            "blinded" or "moved" while an alert says so.
        last_frame: when its last frame was taken, seconds since the epoch; None before the first.
        frames: judged since the start.
        refused: frames that were not used since the start, by reason.
    """

    camera_id: str
    state: CameraState
    last_frame: float | None
    frames: int
    refused: Mapping[str, int]
    shelf: str | None = None
    store: str | None = None


@dataclass(frozen=True)
class AvailabilityStatus:
    """On-shelf availability of a store, a shelf or a zone.

    Attributes:
        level: of which of them.
        name: its name; of a zone within its camera.
        camera_id: of a zone; None for shelf and store.
        shelf: of a zone; None where not configured.
        share: over the last 24 hours, in [0, 1]; None where nothing was observed.
        hourly: of each of the last 24 hours, oldest first, alike.
    """

    level: Level
    name: str
    camera_id: str | None
    shelf: str | None
    share: float | None
    hourly: tuple[float | None, ...]


@dataclass(frozen=True)
class Status:
    """The service at one moment; all times in seconds since the epoch.

    Attributes:
        at: now.
        started_at: when the service started.
        title: of the page: the store, or the name of the box.
        version: of shelfgap-edge.
        bundle: name and version of the bundle that decides; None while none is loaded.
        time_zone: IANA name of the zone in which times are shown.
        problems: what keeps the service from being ready; in the JSON as `/readyz` says it.
        waiting: steps of alerts that wait to be delivered, by sink.
        cameras: all that are configured.
        sources: all that run.
        availability: stores, shelves and zones, as they were up to half a minute ago.
        alerts: the latest step of each alert that is not resolved.
        timeline: all steps of the last 24 hours.
        bundle_failure: why the bundle that lies there now does not decide; None where it does.
        form_token: what the forms of the page carry, so that no other page can send them; not in the JSON.
    """

    at: float
    started_at: float
    title: str
    version: str
    bundle: str | None
    time_zone: str
    problems: tuple[Trouble, ...]
    waiting: Mapping[str, int]
    cameras: tuple[CameraStatus, ...]
    sources: tuple[SourceState, ...]
    availability: tuple[AvailabilityStatus, ...]
    alerts: tuple[AlertEvent, ...]
    timeline: tuple[AlertEvent, ...]
    bundle_failure: str | None = None
    form_token: str = field(default="", repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON, without the token of the forms."""
        values = asdict(self) | {"problems": [str(problem) for problem in self.problems]}
        del values["form_token"]
        return values

    def to_json(self) -> str:
        """Return the document of `/status.json`."""
        return json.dumps(self.to_dict(), allow_nan=False)
