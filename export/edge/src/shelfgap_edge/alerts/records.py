"""What goes into the outbox's file and comes out of it."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass, field
from typing import Literal

from shelfgap_edge.alerts.event import AlertEvent
from shelfgap_edge.errors import ShelfgapError


class OutboxError(ShelfgapError):
    """The outbox's file cannot be used, and whoever runs the service has to act."""


class SpoiltError(Exception):
    """The file is not a whole database of this version."""


@dataclass(frozen=True)
class Row:
    """A step, its number in the outbox, and the sinks that it is for."""

    position: int
    event: AlertEvent
    sinks: tuple[str, ...]


@dataclass(frozen=True)
class Mark:
    """What became of a delivery; `text` is the reason of a refusal."""

    sink: str
    position: int
    what: Literal["done", "refused", "waiting"]
    text: str | None = None


@dataclass(frozen=True)
class Batch:
    """What one transaction changes.

    Attributes:
        rows: by position.
        marks: in their order.
        open_alerts: alert id -> its latest step, or None if it is over.
        states: camera id -> packed state of its monitor.
    """

    rows: dict[int, Row] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    open_alerts: dict[str, AlertEvent | None] = field(default_factory=dict)
    states: dict[str, bytes] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.rows or self.marks or self.open_alerts or self.states)


@dataclass
class Kept:
    """What a file holds.

    Attributes:
        events: by position.
        deliveries: (position, sink, reason of the refusal or None).
        open_alerts: alert id -> its latest step.
        states: camera id -> packed state of its monitor; plain in a file of before they were packed.
    """

    events: dict[int, AlertEvent] = field(default_factory=dict)
    deliveries: list[tuple[int, str, str | None]] = field(default_factory=list)
    open_alerts: dict[str, AlertEvent] = field(default_factory=dict)
    states: dict[str, bytes | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Pruned:
    """Keys of steps that made room, and how many of them had been meant for a sink that is configured no more."""

    keys: list[str]
    unsent: int


def pack(event: AlertEvent) -> str:
    """Return an event as the file keeps it."""
    return json.dumps(asdict(event), allow_nan=False, separators=(",", ":"))


def unpack(body: str) -> AlertEvent:
    """Return the event of a row.

    Raises:
        SpoiltError: this program did not write it.
    """
    try:
        values = json.loads(body)
        return AlertEvent(**{**values, "earlier_kinds": tuple(values.get("earlier_kinds", ()))})
    except (ValueError, TypeError) as error:
        raise SpoiltError(f"holds an alert that cannot be read: {error}") from None


def pack_state(state: str) -> bytes:
    """Return the state of a camera as memory and file keep it: a fifth as long, which spares the flash."""
    return zlib.compress(state.encode(), 1)


def unpack_state(packed: bytes) -> str:
    """Return the state, which is empty where this program did not write it."""
    try:
        return zlib.decompress(packed).decode()
    except (zlib.error, UnicodeDecodeError, TypeError):
        return ""
