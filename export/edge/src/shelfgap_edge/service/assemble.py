"""The one place that knows which monitor, outbox, sinks and sources the service is put together from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shelfgap_edge.contract import Manifest
from shelfgap_edge.service.config import EdgeConfig
from shelfgap_edge.service.parts import Assembly, Dispatcher, Monitor, Outbox, Plan, Seen, Source
from shelfgap_edge.toml_table import ConfigError

OUTBOX_FILE = "outbox.sqlite"


class EdgePlan(Plan):
    """The parts of one `edge.toml`, read."""

    def __init__(self, config: EdgeConfig) -> None:
        raise ConfigError(f"{config.path}: the monitor is not part of this build")

    def monitors(self, manifest: Manifest) -> Mapping[str, Monitor]:
        """Return a new monitor for each camera."""
        raise NotImplementedError

    def reading(self, monitor: Any, seen: Seen) -> Any:
        """Return what a monitor is told of a frame."""
        raise NotImplementedError

    def dispatchers(self, outbox: Any) -> Sequence[Dispatcher]:
        """Return one for each sink."""
        raise NotImplementedError

    def sources(self) -> Sequence[Source]:
        """Return the sources."""
        raise NotImplementedError


class EdgeAssembly(Assembly):
    """Makes the parts of this distribution."""

    def plan(self, config: EdgeConfig) -> Plan:
        """Read the tables of other parts."""
        return EdgePlan(config)

    def outbox(self, config: EdgeConfig) -> Outbox:
        """Open the outbox in the state folder."""
        raise NotImplementedError
