"""What the outbox knows without looking into its file: what waits for whom, what is open, what was refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from shelfgap_edge.alerts.event import AlertEvent
from shelfgap_edge.alerts.lanes import Lanes
from shelfgap_edge.alerts.records import Batch, Kept, Mark, Row, pack_state

Wants = Callable[[AlertEvent], bool]


@dataclass(frozen=True)
class Refusal:
    """A step that a sink will never take as it is."""

    sink: str
    position: int
    event: AlertEvent
    reason: str


class Memory:
    """See the module.

    Attributes:
        lanes: sink -> what waits for it; of sinks that are configured no more too.
        refused: (sink, key) -> what was set aside.
        keys: of all steps in the outbox.
        open_alerts: alert id -> latest step of an alert that is not over.
        states: camera id -> packed state of its monitor.
    """

    def __init__(self, kept: Kept) -> None:
        self.lanes: dict[str, Lanes] = {}
        self.refused: dict[tuple[str, str], Refusal] = {}
        self.keys = {event.key for event in kept.events.values()}
        self.open_alerts = kept.open_alerts
        self.states = {
            name: pack_state(state) if isinstance(state, str) else state for name, state in kept.states.items()
        }
        self._position = max(kept.events, default=0)
        for position, sink, refusal in kept.deliveries:
            event = kept.events.get(position)
            if event is None:
                continue
            if refusal is None:
                self.lanes_of(sink).add(position, event)
            else:
                self.lanes_of(sink)
                self.refused[sink, event.key] = Refusal(sink, position, event, refusal)

    def lanes_of(self, sink: str) -> Lanes:
        """Return the lanes of a sink, empty ones for a new sink."""
        return self.lanes.setdefault(sink, Lanes())

    def accept(self, event: AlertEvent, audience: Mapping[str, Wants]) -> Row:
        """Give a step its position and let it wait for each sink that wants it."""
        self._position += 1
        before = self.open_alerts.get(event.alert_id)
        if before is not None:
            event = replace(event, earlier_kinds=tuple(dict.fromkeys((*before.earlier_kinds, before.kind))))
        row = Row(self._position, event, tuple(sink for sink, wants in audience.items() if wants(event)))
        for sink in row.sinks:
            self.lanes[sink].add(row.position, event)
        self.keys.add(event.key)
        if event.action == "resolved":
            self.open_alerts.pop(event.alert_id, None)
        else:
            self.open_alerts[event.alert_id] = event
        return row

    def waits(self, key: str) -> bool:
        """Return whether a step waits for any sink."""
        return any(key in lanes for lanes in self.lanes.values())

    def forget(self, keys: Iterable[str]) -> None:
        """Take steps out of everything but the open alerts."""
        for key in keys:
            self.keys.discard(key)
            for sink, lanes in self.lanes.items():
                lanes.remove(key)
                self.refused.pop((sink, key), None)

    def everything(self) -> Batch:
        """Return what a new file is to hold: all but the steps that everybody has."""
        rows: dict[int, Row] = {}
        marks = [Mark(one.sink, one.position, "refused", one.reason) for one in self.refused.values()]
        deliveries = [(entry.position, sink, entry.event) for sink, lanes in self.lanes.items() for entry in lanes]
        deliveries += [(one.position, one.sink, one.event) for one in self.refused.values()]
        for position, sink, event in deliveries:
            others = rows[position].sinks if position in rows else ()
            rows[position] = Row(position, event, (*others, sink))
        return Batch(dict(sorted(rows.items())), marks, dict(self.open_alerts), dict(self.states))
