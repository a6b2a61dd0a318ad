"""Small real parts for tests of the service: a monitor that counts, an outbox in SQLite, a dispatcher to a list."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

from shelfgap_edge.alerts.event import AlertEvent
from shelfgap_edge.alerts.limits import OutboxLimits
from shelfgap_edge.cli_serve import serve
from shelfgap_edge.errors import ShelfgapError

FRAMES_TO_OPEN = 2


class CountingMonitor:
    """Opens an alert at the second frame in a row with a gap, resolves it at the first without."""

    is_held_back = False

    def __init__(self, camera_id: str, shelf: str | None = None) -> None:
        self.camera_id, self.shelf = camera_id, shelf
        self.memory = {"with_gap": 0, "open": None, "sequence": 0, "since": 0.0, "frames": 0}

    def observe(self, reading) -> list[AlertEvent]:
        at, gaps = reading
        memory = self.memory
        memory["frames"] += 1
        memory["with_gap"] = memory["with_gap"] + 1 if gaps else 0
        if memory["with_gap"] >= FRAMES_TO_OPEN and memory["open"] is None:
            memory["open"] = hashlib.sha256(f"{self.camera_id} {at}".encode()).hexdigest()[:32]
            memory["sequence"], memory["since"] = 0, at
            return [self._event("opened", at)]
        if not gaps and memory["open"] is not None:
            event = self._event("resolved", at)
            memory["open"] = None
            return [event]
        return []

    def tick(self, now: float) -> list[AlertEvent]:
        return []

    def resume(self, now: float) -> None:
        pass

    def acknowledge(self, alert_id: str, at: float) -> list[AlertEvent]:
        return [self._event("acknowledged", at)] if alert_id == self.memory["open"] else []

    def open_ids(self) -> set[str]:
        return {self.memory["open"]} - {None}

    def availability(self) -> list:
        return []

    def state(self) -> dict:
        return dict(self.memory)

    def restore(self, state: dict) -> None:
        self.memory = {**self.memory, **state}

    def _event(self, action: str, at: float) -> AlertEvent:
        self.memory["sequence"] += 1
        return AlertEvent(
            self.memory["open"],
            self.memory["sequence"],
            action,
            "gap",
            self.camera_id,
            "view",
            self.shelf,
            None,
            at,
            self.memory["since"],
            3,
            0.1,
        )


@dataclass(frozen=True)
class Figures:
    waiting: dict[str, int]
    refused: dict[str, int] = field(default_factory=dict)
    dropped: int = 0
    held: int = 0
    trouble: str | None = None


class SqliteOutbox:
    """Keeps keys and states in a file with a write-ahead log."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, check_same_thread=False)
        self._lock = threading.Lock()
        self._open: dict[str, AlertEvent] = {}
        self.trouble: str | None = None
        with self._lock:
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("CREATE TABLE IF NOT EXISTS events (key TEXT PRIMARY KEY, action TEXT)")
            self._database.execute("CREATE TABLE IF NOT EXISTS states (camera TEXT PRIMARY KEY, state TEXT)")
            self._database.commit()

    def put(self, events, states=()) -> None:
        with self._lock, self._database:
            rows = [(event.key, event.action) for event in events]
            self._database.executemany("INSERT OR IGNORE INTO events VALUES (?, ?)", rows)
            self._database.executemany("INSERT OR REPLACE INTO states VALUES (?, ?)", list(states))
            for event in events:
                self._open[event.alert_id] = event
                if event.action == "resolved":
                    del self._open[event.alert_id]

    def states(self) -> dict[str, str]:
        with self._lock:
            return dict(self._database.execute("SELECT camera, state FROM states"))

    def open_alerts(self) -> list[AlertEvent]:
        with self._lock:
            return list(self._open.values())

    def timeline(self, since: float) -> list[AlertEvent]:
        return []

    def flush(self) -> bool:
        return True

    def figures(self) -> Figures:
        return Figures({"list": 0}, trouble=self.trouble)

    def close(self) -> None:
        with self._lock:
            self._database.close()


@dataclass
class RecordingDispatcher:
    log: list[str]

    def start(self) -> None:
        self.log.append("started")

    def stop(self, grace_s: float) -> None:
        self.log.append("stopped")


@dataclass
class StandInPlan:
    cameras: dict[str, str | None]
    log: list[str]
    source_list: list = field(default_factory=list)
    limits: OutboxLimits = field(default_factory=OutboxLimits)

    def monitors(self, manifest):
        return {name: CountingMonitor(name, shelf) for name, shelf in self.cameras.items()}

    def reading(self, monitor, seen):
        assert monitor.camera_id == seen.camera_id
        assert seen.pixels.any(), "the pixels are overwritten before the monitor has seen them"
        return seen.at, seen.classes.index("gap") in seen.detections.class_ids

    def dispatchers(self, outbox):
        return [RecordingDispatcher(self.log)]

    def sources(self):
        return self.source_list


@dataclass
class StandInAssembly:
    log: list[str] = field(default_factory=list)
    sources: list = field(default_factory=list)

    def plan(self, config) -> StandInPlan:
        config.rest.done()
        return StandInPlan({name: camera.shelf for name, camera in config.cameras.items()}, self.log, self.sources)

    def outbox(self, config, plan) -> SqliteOutbox:
        return SqliteOutbox(config.state / "outbox.sqlite")


if __name__ == "__main__":
    try:
        sys.exit(serve(Path(sys.argv[1]), StandInAssembly(), check="--check" in sys.argv))
    except ShelfgapError as error:
        print(json.dumps({"refused": str(error)}), file=sys.stderr)
        sys.exit(1)
