"""A sink as `[[sinks]]` of edge.toml has it: which one, and what is for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from shelfgap_edge.alerts.event import ACTIONS, KINDS, AlertEvent
from shelfgap_edge.alerts.sinks.sink import Sink
from shelfgap_edge.toml_table import ConfigError, Table

_TYPES = ("webhook", "mqtt", "stdout", "apprise")
_FOR_PEOPLE = ("opened", "escalated", "reopened", "resolved")


@dataclass(frozen=True)
class SinkParams:
    """See the module. Secrets are read when the table is.

    Attributes:
        name: unique; what waits in the outbox waits under this name.
        actions: the steps that it wants.
        kinds: the kinds of alert that it wants; one that becomes of such a kind is for it until it is resolved.
        lowest_priority: alerts with a higher number than this are not for it.
        sink: not connected to anything before its first `send`.
    """

    name: str
    actions: tuple[str, ...]
    kinds: tuple[str, ...]
    lowest_priority: int
    sink: Sink

    @classmethod
    def from_table(cls, table: Table, zone: tzinfo | None = None) -> SinkParams:
        """Read one table of `[[sinks]]`.

        Args:
            table: the table.
            zone: of the times that people are told; None for that of the device.

        Raises:
            ConfigError: something is missing, unknown or of another kind, or a secret cannot be read.
            ShelfgapError: the sink needs an extra that is not installed.
        """
        name = table.text("name")
        kind = table.choice("type", _TYPES)
        actions = _words(table, "actions", ACTIONS, _FOR_PEOPLE if kind == "apprise" else ACTIONS)
        kinds = _words(table, "kinds", KINDS, KINDS)
        lowest = table.integer("lowest_priority", 5, low=1, high=5)
        sink = _sink(kind, name, table, zone)
        table.done()
        return cls(name, actions, kinds, lowest, sink)

    def wants(self, event: AlertEvent) -> bool:
        """Return whether a step is for this sink.

        An alert that becomes of one of its kinds, as a low that runs out, is opened for it by that step.
        """
        was_for_it = not set(self.kinds).isdisjoint(event.earlier_kinds)
        if event.priority > self.lowest_priority or not (was_for_it or event.kind in self.kinds):
            return False
        begins = bool(event.earlier_kinds) and not was_for_it
        return event.action in self.actions or (begins and "opened" in self.actions)


def read_sinks(config: Table, zone: tzinfo | None = None) -> list[SinkParams]:
    """Read `[[sinks]]` of edge.toml.

    Args:
        config: the whole file.
        zone: as for `SinkParams.from_table`.

    Raises:
        ConfigError: as `SinkParams.from_table`, or two have one name.
    """
    sinks = [SinkParams.from_table(table, zone) for table in config.tables("sinks")]
    names = [sink.name for sink in sinks]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{config.where}.sinks: name: expected one sink of a name, got {name!r} twice")
    return sinks


def _sink(kind: str, name: str, table: Table, zone: tzinfo | None) -> Sink:
    """Make a sink; each is imported only where it is configured."""
    if kind == "webhook":
        from shelfgap_edge.alerts.sinks.webhook import Webhook

        return Webhook.from_table(name, table)
    if kind == "mqtt":
        from shelfgap_edge.alerts.sinks.mqtt import Mqtt

        return Mqtt.from_table(name, table)
    if kind == "apprise":
        from shelfgap_edge.alerts.sinks.notify import Notify

        return Notify.from_table(name, table, zone)
    from shelfgap_edge.alerts.sinks.stdout import Stdout

    return Stdout.from_table(name, table)


def _words(table: Table, key: str, known: tuple[Any, ...], default: tuple[Any, ...]) -> tuple[str, ...]:
    words: list[str] | None = table.items(key, str, None)
    if words is None:
        return default
    for word in words:
        if word not in known:
            raise table.wrong(key, f"a list of {', '.join(known)}", word)
    if not words:
        raise table.wrong(key, f"one or more of {', '.join(known)}", words)
    return tuple(words)
