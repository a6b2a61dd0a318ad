"""Bring what the outbox knows into its file, whatever state disk and file are in."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from shelfgap_edge.alerts.aside import set_aside
from shelfgap_edge.alerts.event import AlertEvent
from shelfgap_edge.alerts.limits import OutboxLimits
from shelfgap_edge.alerts.losses import choose_losses
from shelfgap_edge.alerts.memory import Memory
from shelfgap_edge.alerts.records import Batch, Kept, Mark, OutboxError, SpoiltError
from shelfgap_edge.alerts.store import Store, salvage

_LOGGER = logging.getLogger(__name__)
_RETRY_S = 1.0  # between two tries to write to a disk that takes nothing


class Journal:
    """The file and what is not in it yet.

    Args:
        path: the file.
        limits: how much it may hold.
        clock: seconds that never go back.

    Attributes:
        memory: what the outbox knows; at first what the file holds.
        unsaved: what the next write brings into the file.
        trouble: why the file cannot be written; None if it can.
        dropped: deliveries given up for want of room.

    Raises:
        OutboxError: the file cannot be opened, or another process has it. A damaged one is set aside instead.
    """

    def __init__(self, path: Path, limits: OutboxLimits, clock: Callable[[], float]) -> None:
        self._path, self._limits, self._clock = path, limits, clock
        self.memory = Memory(Kept())
        self.unsaved = Batch()
        self.trouble: str | None = None
        self.dropped = 0
        self._sinks: list[str] = []
        self._filed: set[str] = set()  # alerts that are open by the file
        self._next_try = self._next_states = clock()
        self._later: dict[str, bytes] = {}  # states that came without a step
        self._store: Store | None = None
        self._closed = False
        self._open()

    @property
    def size(self) -> tuple[int, int]:
        """Number of steps in the file, and bytes of their text."""
        return (self._store.rows, self._store.text_bytes) if self._store else (0, 0)

    def configure(self, sinks: Iterable[str]) -> None:
        """Say which sinks are configured."""
        self._sinks = list(sinks)

    def take_states(self, states: Mapping[str, bytes], *, is_urgent: bool) -> None:
        """Take packed states of cameras: to be written with the steps that came with them, else at their interval."""
        if is_urgent:
            self._later = {camera_id: state for camera_id, state in self._later.items() if camera_id not in states}
            self.unsaved.states.update(states)
        else:
            self._later.update(states)

    def save_some_time(self) -> None:
        """Write what is due: states at their interval, anything some time after a disk took nothing."""
        if self._clock() >= self._next_states:
            self._take_later()
        if self.unsaved and (self.trouble is None or self._clock() >= self._next_try):
            self.save()

    def save(self, *, now: bool = False) -> None:
        """Write what is unsaved, or keep it for later if that cannot be.

        Args:
            now: try also if it failed a moment ago.
        """
        if self._closed:
            return
        if now:
            self._take_later()
        if self.trouble is None or now or self._clock() >= self._next_try:
            try:
                self._write_and_mend()
            except (OutboxError, sqlite3.Error, OSError) as error:
                self._note_trouble(str(error))
        if self.trouble is not None:
            self._shed_held()

    def read_timeline(self, since: float, limit: int) -> dict[int, AlertEvent]:
        """Return the newest steps of the file from a time on, by position; none if it cannot be read."""
        if self._store is None:
            return {}
        try:
            return dict(self._store.timeline(since, limit))
        except (SpoiltError, OutboxError, sqlite3.Error) as error:
            _LOGGER.warning("outbox %s: the timeline cannot be read: %s", self._path.name, str(error))
            return {}

    def close(self) -> None:
        """Write what is unsaved and close the file; what cannot be written is lost, which is logged."""
        self.save(now=True)
        if self.unsaved.rows:
            _LOGGER.error("outbox %s: %d alert steps could not be saved", self._path.name, len(self.unsaved.rows))
        self._close_store()
        self._closed = True

    def _take_later(self) -> None:
        if self._later:
            self.unsaved.states.update(self._later)
            self._later = {}
            self._next_states = self._clock() + self._limits.state_interval_s

    def _open(self) -> None:
        try:
            self._store = Store(self._path, self._limits.max_bytes)
            self.memory = Memory(self._store.load())
            self._filed = set(self.memory.open_alerts)
        except SpoiltError as error:
            self._close_store()  # else it has the file for itself
            self.memory = Memory(salvage(self._path))
            try:
                self._replace_file(error)
            except OSError as failure:
                raise OutboxError(f"{self._path}: {error}, and cannot be set aside: {failure.strerror}") from None
        except sqlite3.Error as error:
            if self._path.stat().st_size > 0:  # what waits in it must not be passed over
                raise OutboxError(f"{self._path}: {error}; free some room and start again") from None
            self._note_trouble(str(error))

    def _write_and_mend(self) -> None:
        try:
            self._write()
        except SpoiltError as error:
            self._replace_file(error)
            try:
                self._write()
            except SpoiltError as again:
                raise OutboxError(f"{self._path}: {again}") from None

    def _write(self) -> None:
        if self._store is None:
            self._store = Store(self._path, self._limits.max_bytes)
        try:
            self._store.write(self.unsaved)
        except sqlite3.Error:
            if not self._prune(self._store, rows=max(1, self._limits.max_events // 100), text_bytes=0):
                raise
            self._store.write(self.unsaved)  # the file had reached its bound
        if self.trouble is not None:
            _LOGGER.warning("outbox %s: written again, %d held alert steps", self._path.name, len(self.unsaved.rows))
        for alert_id, event in self.unsaved.open_alerts.items():
            (self._filed.discard if event is None else self._filed.add)(alert_id)
        self.unsaved, self.trouble = Batch(), None
        self._make_room(self._store)

    def _make_room(self, store: Store) -> None:
        """Bring the file within its bounds: what nobody waits for goes first, then the least loss."""
        rows, text_bytes = self._excess(store)
        if rows <= 0 and text_bytes <= 0:
            return
        self._prune(store, rows=rows + self._limits.max_events // 100, text_bytes=text_bytes)
        while True:
            rows, text_bytes = self._excess(store)
            if rows <= 0 and text_bytes <= 0:
                return
            count = max(1, rows, text_bytes * store.rows // store.text_bytes)
            waiting = {sink: list(self.memory.lanes[sink]) for sink in self._sinks}
            losses = choose_losses(waiting, self.memory.open_alerts, count)
            if not losses:
                return
            self._give_up(losses, f"the outbox is full ({store.rows} alert steps)")
            store.write(self.unsaved)
            self.unsaved = Batch()
            self._prune(store, rows=count, text_bytes=text_bytes)

    def _excess(self, store: Store) -> tuple[int, int]:
        return store.rows - self._limits.max_events, store.text_bytes - self._limits.max_bytes // 2

    def _prune(self, store: Store, *, rows: int, text_bytes: int) -> bool:
        pruned = store.prune(self._sinks, rows=rows, text_bytes=text_bytes)
        self.memory.forget(pruned.keys)
        if pruned.unsent:
            self.dropped += pruned.unsent
            _LOGGER.error("outbox: dropped %d alert steps of sinks configured no more, for room", pruned.unsent)
        return bool(pruned.keys)

    def _give_up(self, losses: Iterable[tuple[str, str]], why: str) -> None:
        for sink, key in losses:
            entry = self.memory.lanes[sink].remove(key)
            if entry is not None:
                self.dropped += 1
                self.unsaved.marks.append(Mark(sink, entry.position, "done"))
                _LOGGER.error("alert step %s will not reach sink %r: %s", key, sink, why)

    def _shed_held(self) -> None:
        """Keep what is in memory alone within its bound: first what was sent goes, then the least loss."""
        opened = self.unsaved.open_alerts
        for alert_id in [key for key, event in opened.items() if event is None and key not in self._filed]:
            del opened[alert_id]  # the file never heard of it
        rows = self.unsaved.rows
        excess = len(rows) - self._limits.max_held
        if excess <= 0:
            return
        sent = [row for row in rows.values() if not self.memory.waits(row.event.key)][:excess]
        if len(sent) < excess:
            waiting = {sink: [e for e in lanes if e.position in rows] for sink, lanes in self.memory.lanes.items()}
            losses = choose_losses(waiting, self.memory.open_alerts, excess - len(sent))
            self._give_up(losses, f"the disk takes nothing, and memory holds {self._limits.max_held} steps already")
            sent = [row for row in rows.values() if not self.memory.waits(row.event.key)][:excess]
        for row in sent:
            del rows[row.position]
        self.memory.forget(row.event.key for row in sent)
        gone = {row.position for row in sent}
        self.unsaved.marks[:] = [mark for mark in self.unsaved.marks if mark.position not in gone]

    def _note_trouble(self, why: str) -> None:
        self._next_try = self._clock() + _RETRY_S
        if self.trouble != why:
            _LOGGER.error(
                "outbox %s: cannot be written (%s); alerts are sent on, at most %d are held in memory until it can be",
                self._path.name,
                why,
                self._limits.max_held,
            )
        self.trouble = why

    def _close_store(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _replace_file(self, why: SpoiltError) -> None:
        self._close_store()
        _LOGGER.error("outbox %s: %s; %s", self._path.name, why, set_aside(self._path))
        self.unsaved, self._filed = self.memory.everything(), set()
