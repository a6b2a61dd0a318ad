"""One step in the life of an alert: what the monitor decides, the outbox keeps and the sinks send."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

Kind = Literal["gap", "low", "camera-silent", "camera-blinded", "camera-moved"]
Action = Literal["opened", "escalated", "acknowledged", "resolved", "reopened"]
KINDS: tuple[Kind, ...] = get_args(Kind)
ACTIONS: tuple[Action, ...] = get_args(Action)


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """A step of one alert. The same alert keeps its id from the first to the last step.

    Attributes:
        alert_id: of the alert: 32 hexadecimal digits, the same when the same frames are seen again.
        sequence: number of this step within the alert, from 1.
        action: what happened.
        kind: what the alert is about.
        camera_id, zone, shelf, store: where; None for a zone if the camera itself is meant, or where not configured.
        at: when the frame that decided was taken, seconds since the epoch, UTC.
        since: when the condition began, the same unit.
        priority: 1 (first to be seen to) to 5.
        gap_width_norm: share of the frame's width that the widest gap of the zone takes, in [0, 1]; None without one.
        earlier_kinds: of the steps since it was opened or reopened, before this one; the outbox notes them, and they
            decide which sinks are told.
    """

    alert_id: str
    sequence: int
    action: Action
    kind: Kind
    camera_id: str
    zone: str | None
    shelf: str | None
    store: str | None
    at: float
    since: float
    priority: int
    gap_width_norm: float | None
    earlier_kinds: tuple[Kind, ...] = field(default=(), compare=False)

    @property
    def key(self) -> str:
        """The idempotency key: the same for every attempt to deliver this step, and for no other step."""
        return f"{self.alert_id}-{self.sequence}"
