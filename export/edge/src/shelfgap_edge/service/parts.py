"""What the service is put together from: the monitor of a camera, the outbox, those that deliver, other sources."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shelfgap_edge.alerts.event import AlertEvent
from shelfgap_edge.alerts.limits import OutboxLimits
from shelfgap_edge.contract import Manifest
from shelfgap_edge.monitor.availability import ObservedHour
from shelfgap_edge.postprocess import Detections
from shelfgap_edge.service.config import EdgeConfig
from shelfgap_edge.sources.state import SourceState

PutFrame = Callable[[str, bytearray | None, NDArray[np.uint8] | None, float], "Future[Any]"]
"""Takes camera, JPEG or pixels (one of them), and when the frame was taken, seconds since the epoch; see `Put`."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A frame with what was found in it, while its pixels are there.

    Attributes:
        camera_id: whose frame.
        at: when it was taken, seconds since the epoch.
        detections: in pixels of the frame as displayed.
        classes: names by class id.
        frame_size: (height, width) of the frame as displayed.
        pixels: uint8 (height, width, 3), RGB, maybe reduced.
    """

    camera_id: str
    at: float
    detections: Detections
    classes: tuple[str, ...]
    frame_size: tuple[int, int]
    pixels: NDArray[np.uint8]


class Monitor(Protocol):
    """One camera over time, in numbers."""

    @property
    def is_held_back(self) -> bool:
        """Return whether its last frame counted for nothing."""

    def observe(self, reading: Any) -> list[AlertEvent]:
        """Take a reading in."""

    def tick(self, now: float) -> list[AlertEvent]:
        """Let time pass, seconds since the epoch."""

    def resume(self, now: float) -> None:
        """Go on after a time in which this device was off, seconds since the epoch."""

    def acknowledge(self, alert_id: str, at: float) -> list[AlertEvent]:
        """A person has seen the alert; nothing if it is not of this camera."""

    def open_ids(self) -> Iterable[str]:
        """Return the ids of its alerts that are not resolved."""

    def availability(self) -> Sequence[ObservedHour]:
        """Return the observed hours of its zones."""

    def state(self) -> dict[str, Any]:
        """Return what is remembered, JSON-ready."""

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what was remembered."""


class OutboxFigures(Protocol):
    """Where the outbox stands."""

    @property
    def waiting(self) -> Mapping[str, int]:
        """Return how many steps wait, by sink."""

    @property
    def refused(self) -> Mapping[str, int]:
        """Return how many steps a sink will not take, by sink."""

    @property
    def dropped(self) -> int:
        """Return how many deliveries were given up for want of room since the start."""

    @property
    def held(self) -> int:
        """Return how many steps are in memory alone."""

    @property
    def trouble(self) -> str | None:
        """Return why the file cannot be written; None if it can."""


class Outbox(Protocol):
    """Keeps events until they are delivered, and the states of the monitors with them; a full disk raises nothing."""

    def put(self, events: Sequence[AlertEvent], states: Iterable[tuple[str, str]] = ()) -> None:
        """Keep steps, and states by camera, in one transaction."""

    def states(self) -> dict[str, str]:
        """Return the states by camera."""

    def open_alerts(self) -> list[AlertEvent]:
        """Return the latest step of each alert that is not resolved."""

    def timeline(self, since: float) -> list[AlertEvent]:
        """Return the steps of all alerts since a moment, seconds since the epoch."""

    def flush(self) -> bool:
        """Write what is unsaved now; False if something is left."""

    def figures(self) -> OutboxFigures:
        """Return where it stands."""

    def close(self) -> None:
        """Write what is unsaved and let go of the file."""


class Dispatcher(Protocol):
    """Delivers from the outbox to sinks, in threads of its own."""

    def start(self) -> None:
        """Begin; once more, begin what could not before.

        Raises:
            RuntimeError: the system allows no more threads.
        """

    def stop(self, grace_s: float, /) -> object:
        """Send nothing new, and end what is under way within that time; the rest waits in the outbox."""


class Source(Protocol):
    """Cameras that do not come over HTTP."""

    def run(self, put: PutFrame, stop: threading.Event) -> None:
        """Put frames until told to stop."""

    def state(self) -> SourceState:
        """Return how it stands."""

    def counted(self, reason: str) -> None:
        """Count a failure, such as that it cannot be run now."""


class Plan(Protocol):
    """What one reading of `edge.toml` gives, with all tables of other parts read and found right.

    Attributes:
        limits: of the outbox.
    """

    limits: OutboxLimits

    def monitors(self, manifest: Manifest) -> Mapping[str, Monitor]:
        """Return a new monitor for each camera."""

    def reading(self, monitor: Any, seen: Seen) -> Any:
        """Return what a monitor is told of a frame; the pixels are overwritten after that."""

    def dispatchers(self, outbox: Any) -> Sequence[Dispatcher]:
        """Return those that deliver to the sinks; called after the last ones were stopped."""

    def sources(self) -> Sequence[Source]:
        """Return the sources."""


class Assembly(Protocol):
    """Makes the parts."""

    def plan(self, config: EdgeConfig) -> Plan:
        """Read the tables of other parts.

        Raises:
            ConfigError: one of them is wrong.
        """

    def outbox(self, config: EdgeConfig, plan: Any) -> Outbox:
        """Open the outbox in the state folder."""
