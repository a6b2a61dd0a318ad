"""Where alerts wait until every sink has them: in memory to be sent, and in a file to outlive a kill or a power cut.

What is put is on disk before a sink sees it. While the disk takes nothing, alerts are held in memory and sent all the
same, and what is unsaved is written as soon as that works again. See docs/adr/0018-outbox.md.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shelfgap_edge.alerts.event import AlertEvent
from shelfgap_edge.alerts.journal import Journal
from shelfgap_edge.alerts.lanes import Entry
from shelfgap_edge.alerts.limits import OutboxLimits
from shelfgap_edge.alerts.memory import Refusal, Wants
from shelfgap_edge.alerts.records import Mark, pack_state, unpack_state

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class OutboxFigures:
    """Where the outbox stands.

    Attributes:
        put: steps put since the start, repeats not counted.
        waiting: by sink, those configured no more included.
        refused: by sink.
        oldest_waiting_at: when the oldest step that waits happened, seconds since the epoch; None if none waits.
        dropped: deliveries given up for want of room since the start.
        held: steps that are in memory alone.
        trouble: why the file cannot be written; None if it can.
        events, text_bytes: in the file.
    """

    put: int
    waiting: Mapping[str, int]
    refused: Mapping[str, int]
    oldest_waiting_at: float | None
    dropped: int
    held: int
    trouble: str | None
    events: int
    text_bytes: int


class Outbox:
    """The outbox of one service; all methods may be called from any thread.

    Args:
        path: its file, in a folder that the service may write to. One process has it.
        audience: sink -> whether it wants a step. It may change later, by `address`.
        limits: how much it may hold.
        clock: seconds that never go back.

    Raises:
        OutboxError: the file cannot be opened, or another process has it. A damaged one is set aside instead.
    """

    def __init__(
        self,
        path: Path,
        audience: Mapping[str, Wants] | None = None,
        limits: OutboxLimits | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._changed = threading.Condition()
        self._audience: dict[str, Wants] = {}
        self._put = 0
        self._journal = Journal(path, limits or OutboxLimits(), clock)
        self._memory = self._journal.memory
        self.address(audience or {})

    def address(self, audience: Mapping[str, Wants]) -> None:
        """Say which sinks there are from now on; what waits for another one is kept until room is needed.

        Args:
            audience: sink -> whether it wants a step.
        """
        with self._changed:
            self._audience = dict(audience)
            self._journal.configure(audience)
            for sink in audience:
                self._memory.lanes_of(sink)
            for sink, lanes in self._memory.lanes.items():
                if lanes and sink not in audience:
                    _LOGGER.warning("%d alert steps wait for sink %r, which is configured no more", len(lanes), sink)
            if self._journal.unsaved:
                self._journal.save()
            self._changed.notify_all()

    def put(self, events: Sequence[AlertEvent], states: Iterable[tuple[str, str]] = ()) -> None:
        """Take steps and the states that the monitors have after them, in one transaction.

        A step whose key is here already is not taken twice. States that come without a step are written at their
        interval only: a kill then forgets frames that decided nothing. A full disk raises nothing, and room is made by
        the rule of docs/alerts.md.

        Args:
            events: in their order; may be empty.
            states: camera id and state; taken one after the other, the last one of a camera counts.
        """
        packed = {camera_id: pack_state(state) for camera_id, state in states}
        with self._changed:
            for event in events:
                if event.key not in self._memory.keys:
                    self._put += 1
                    row = self._memory.accept(event, self._audience)
                    self._journal.unsaved.rows[row.position] = row
                    self._journal.unsaved.open_alerts[event.alert_id] = self._memory.open_alerts.get(event.alert_id)
            self._memory.states.update(packed)
            self._journal.take_states(packed, is_urgent=bool(events))
            if events:
                self._journal.save()
                self._changed.notify_all()
            else:
                self._journal.save_some_time()

    def states(self) -> dict[str, str]:
        """Return the last state of each camera; an empty one where the file held what this program never wrote."""
        with self._changed:
            return {name: unpack_state(packed) for name, packed in self._memory.states.items()}

    def open_alerts(self) -> list[AlertEvent]:
        """Return the latest step of each alert that is not resolved, oldest first."""
        with self._changed:
            return sorted(self._memory.open_alerts.values(), key=lambda event: (event.since, event.alert_id))

    def timeline(self, since: float, limit: int = 1000) -> list[AlertEvent]:
        """Return what happened from a time on, in the order of putting; the newest `limit` steps if there were more.

        Args:
            since: seconds since the epoch.
            limit: at least 1.
        """
        with self._changed:
            found = self._journal.read_timeline(since, limit)
            unsaved = self._journal.unsaved.rows.items()
            found.update({position: row.event for position, row in unsaved if row.event.at >= since})
            return [found[position] for position in sorted(found)][-limit:]

    def next_due(self, sink: str, now: float) -> Entry | None:
        """Return the step that a sink is to be sent now: never one whose zone has an earlier one waiting.

        Args:
            sink: one of the audience.
            now: on the clock of `failed`.
        """
        with self._changed:
            self._journal.save_some_time()
            return self._memory.lanes[sink].next_due(now)

    def wait(self, sink: str, now: float, timeout_s: float) -> None:
        """Wait until something may be due for a sink, but no longer than the timeout."""
        with self._changed:
            lanes = self._memory.lanes[sink]
            if lanes.next_due(now) is None:
                self._changed.wait(max(0.0, min(timeout_s, lanes.next_due_at() - now)))

    def wake(self) -> None:
        """End all waiting."""
        with self._changed:
            self._changed.notify_all()

    def delivered(self, sink: str, key: str) -> None:
        """Note that a sink has acknowledged a step."""
        with self._changed:
            entry = self._memory.lanes[sink].remove(key)
            if entry is not None:
                self._mark(Mark(sink, entry.position, "done"))

    def failed(self, sink: str, key: str, due: float) -> None:
        """Note a try that failed, and when the next one may be made."""
        with self._changed:
            self._memory.lanes[sink].postpone(key, due)

    def refuse(self, sink: str, key: str, reason: str) -> None:
        """Set a step aside that a sink will never take; later ones of its zone go on."""
        with self._changed:
            entry = self._memory.lanes[sink].remove(key)
            if entry is not None:
                self._memory.refused[sink, key] = Refusal(sink, entry.position, entry.event, reason)
                self._mark(Mark(sink, entry.position, "refused", reason))

    def refused(self) -> list[Refusal]:
        """Return the steps that were set aside, oldest first."""
        with self._changed:
            return sorted(self._memory.refused.values(), key=lambda refusal: (refusal.position, refusal.sink))

    def retry_refused(self, sink: str) -> int:
        """Let all that a sink refused wait for it again, as after its password was put right; return how many."""
        with self._changed:
            again = [refusal for refusal in self._memory.refused.values() if refusal.sink == sink]
            for refusal in again:
                del self._memory.refused[sink, refusal.event.key]
                self._memory.lanes[sink].add(refusal.position, refusal.event)
            self._mark(*(Mark(sink, refusal.position, "waiting") for refusal in again))
            return len(again)

    def flush(self) -> bool:
        """Write what is unsaved now, and return whether nothing is left."""
        with self._changed:
            self._journal.save(now=True)
            return not self._journal.unsaved

    def figures(self) -> OutboxFigures:
        """Return where it stands."""
        with self._changed:
            lanes = self._memory.lanes
            refused = dict.fromkeys(lanes, 0)
            for sink, _ in self._memory.refused:
                refused[sink] += 1
            events, text_bytes = self._journal.size
            return OutboxFigures(
                put=self._put,
                waiting={sink: len(those) for sink, those in lanes.items()},
                refused=refused,
                oldest_waiting_at=min((entry.event.at for those in lanes.values() for entry in those), default=None),
                dropped=self._journal.dropped,
                held=len(self._journal.unsaved.rows),
                trouble=self._journal.trouble,
                events=events,
                text_bytes=text_bytes,
            )

    def close(self) -> None:
        """Write what is unsaved and close the file; nothing is kept any more afterwards."""
        with self._changed:
            self._journal.close()
            self._changed.notify_all()

    def _mark(self, *marks: Mark) -> None:
        self._journal.unsaved.marks.extend(marks)
        self._journal.save()
        self._changed.notify_all()
