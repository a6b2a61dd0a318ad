"""Standard output: each step as one line of JSON."""

from __future__ import annotations

import sys
from typing import BinaryIO

from shelfgap_edge.alerts.backoff import Backoff
from shelfgap_edge.alerts.cloudevent import to_json
from shelfgap_edge.alerts.event import AlertEvent
from shelfgap_edge.alerts.sinks.sink import LaterError
from shelfgap_edge.toml_table import Table


class Stdout:
    """Writes lines; a step counts as acknowledged when the system has taken its line.

    Args:
        name: of the sink.
        stream: None for standard output.
        backoff: between tries.
    """

    def __init__(self, name: str, stream: BinaryIO | None = None, *, backoff: Backoff | None = None) -> None:
        self.name = name
        self.backoff = backoff or Backoff()
        self._stream = stream or sys.stdout.buffer

    @classmethod
    def from_table(cls, name: str, table: Table) -> Stdout:
        """Read the keys of standard output in `[[sinks]]`."""
        return cls(name, backoff=Backoff.from_table(table))

    def send(self, event: AlertEvent) -> None:
        """Write a step; see `Sink.send`."""
        try:
            self._stream.write(to_json(event) + b"\n")
            self._stream.flush()
        except (OSError, ValueError) as error:
            raise LaterError(f"standard output: {getattr(error, 'strerror', None) or 'it is closed'}") from None

    def close(self) -> None:
        """Nothing is open that is not the process's own."""
