"""What a sink is, and how it says that it did not take an alert."""

from __future__ import annotations

from typing import Protocol

from shelfgap_edge.alerts.backoff import Backoff
from shelfgap_edge.alerts.event import AlertEvent
from shelfgap_edge.errors import ShelfgapError


class LaterError(ShelfgapError):
    """The sink may take the same step later.

    Args:
        reason: without any secret, since it is logged.
        after_s: not to be tried before, seconds; the sink asked for it.
        whole_sink: whether other steps would fare the same now.
    """

    def __init__(self, reason: str, *, after_s: float = 0.0, whole_sink: bool = True) -> None:
        super().__init__(reason)
        self.after_s = after_s
        self.whole_sink = whole_sink


class RefusedError(ShelfgapError):
    """The sink will never take this step as it is. The text holds no secret, since it is logged."""


class Sink(Protocol):
    """A way out for alerts. `send` is called by one thread."""

    name: str
    backoff: Backoff

    def send(self, event: AlertEvent) -> None:
        """Return when the step is acknowledged.

        Raises:
            LaterError: it is not, and may be tried again.
            RefusedError: it is not, and never will be.
        """

    def close(self) -> None:
        """Let go of what is open; breaks off a `send` that is under way."""
