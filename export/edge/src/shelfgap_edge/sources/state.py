"""What is known of a source: plain numbers and words for metrics, logs and the status page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class SourceState:
    """A source at one moment.

    Attributes:
        kind: "mqtt", "mjpeg", "rtsp", "v4l2" or "replay".
        where: what it is connected to, without user, password, path or query.
        camera_id: the camera that it serves; None for one that serves several.
        connected: whether it is now.
        since: when that last changed, seconds since the epoch; the start of the source if never.
        last_frame: when it last handed on a frame, the same unit; None before the first.
        frames: handed on since the start.
        failures: how often it failed by reason, connections and single frames, since the start.
        last_failure: the last reason; None before the first.
        finished: a recording came to its end.
    """

    kind: str
    where: str
    camera_id: str | None
    connected: bool
    since: float
    last_frame: float | None
    frames: int
    failures: Mapping[str, int]
    last_failure: str | None
    finished: bool

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return asdict(self)
