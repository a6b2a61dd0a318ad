"""The outbox's file: one SQLite database that one process has for itself, changed in whole transactions."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from shelfgap_edge.alerts.event import AlertEvent
from shelfgap_edge.alerts.records import Batch, Kept, OutboxError, Pruned, SpoiltError, pack, unpack

_VERSION = 1
_PAGE_BYTES = 4096
_SCHEMA = (
    "CREATE TABLE events (position INTEGER PRIMARY KEY, key TEXT UNIQUE, at REAL NOT NULL, body TEXT NOT NULL)",
    "CREATE TABLE deliveries (sink TEXT, position INTEGER, refusal TEXT, PRIMARY KEY (position, sink)) WITHOUT ROWID",
    "CREATE TABLE open_alerts (alert_id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE states (camera_id TEXT PRIMARY KEY, state BLOB NOT NULL)",
    f"PRAGMA user_version = {_VERSION}",
)
# Nobody waits for these: delivered everywhere, else refused, else meant for a sink that is configured no more.
_FINISHED = """
    SELECT position, key, length(body) AS size, max(coalesce(rank, 0)) AS worst
    FROM events LEFT JOIN (
        SELECT position, CASE WHEN refusal IS NOT NULL THEN 1 WHEN sink NOT IN (SELECT value FROM json_each(:sinks))
            THEN 2 ELSE 3 END AS rank FROM deliveries) USING (position)
    GROUP BY position HAVING worst < 3 ORDER BY worst, position
"""


class Store:
    """An open database.

    Args:
        path: of the file; made if it is not there, for its owner alone.
        max_bytes: of the file, the states of cameras aside, which are as many as there are cameras.

    Raises:
        OutboxError: it cannot be opened, or another process has it.
        SpoiltError: it is damaged or of another version.
        sqlite3.OperationalError: a new one cannot be made for want of room.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path, self._max_bytes = path, max_bytes
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.close(descriptor)
        except OSError as error:
            raise OutboxError(f"{path}: {error.strerror}; the outbox needs a folder that it may write to") from None
        self._db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            # Alone, SQLite needs no file of shared memory, and a second service finds out at once.
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA cell_size_check = ON")
            self._db.execute("PRAGMA wal_autocheckpoint = 256")
            self._db.execute("PRAGMA cache_size = -256")  # KiB: it is written, and hardly read
            self._db.execute(f"PRAGMA journal_size_limit = {1024 * _PAGE_BYTES}")
            self._make_tables()
            self._state_bytes: dict[str, int] = dict(self._db.execute("SELECT camera_id, length(state) FROM states"))
            self._bound()
            self.rows, self.text_bytes = self._db.execute(
                "SELECT count(*), coalesce(sum(length(body)), 0) FROM events"
            ).fetchone()
        except sqlite3.Error as error:
            self._db.close()
            raise self._failure(error) from None
        except BaseException:
            self._db.close()
            raise
        self._inode = path.stat().st_ino

    def load(self) -> Kept:
        """Return all that the file holds.

        Raises:
            SpoiltError: it holds what this program never wrote.
        """
        return _read(self._db)

    def write(self, batch: Batch) -> None:
        """Change all of it, or nothing.

        Raises:
            SpoiltError: the file is damaged, or is not there any more.
            sqlite3.Error: it cannot be written now.
        """
        self._check_presence()
        rows = list(batch.rows.values())
        bodies = [pack(row.event) for row in rows]
        if batch.states:
            self._state_bytes |= {name: len(state) for name, state in batch.states.items()}
            self._bound()
        with self._transaction():
            added = self._db.executemany(
                "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?)",
                [(row.position, row.event.key, row.event.at, body) for row, body in zip(rows, bodies, strict=True)],
            ).rowcount
            self._db.executemany(
                "INSERT OR IGNORE INTO deliveries VALUES (?, ?, NULL)",
                [(sink, row.position) for row in rows for sink in row.sinks],
            )
            for mark in batch.marks:
                if mark.what == "done":
                    self._db.execute(
                        "DELETE FROM deliveries WHERE position = ? AND sink = ?", (mark.position, mark.sink)
                    )
                else:
                    self._db.execute(
                        "UPDATE deliveries SET refusal = ? WHERE position = ? AND sink = ?",
                        (mark.text, mark.position, mark.sink),
                    )
            for alert_id, event in batch.open_alerts.items():
                if event is None:
                    self._db.execute("DELETE FROM open_alerts WHERE alert_id = ?", (alert_id,))
                else:
                    self._db.execute("INSERT OR REPLACE INTO open_alerts VALUES (?, ?)", (alert_id, pack(event)))
            self._db.executemany(
                "INSERT INTO states VALUES (?, ?) ON CONFLICT (camera_id) DO UPDATE SET state = excluded.state",
                list(batch.states.items()),
            )
        self.rows += added
        self.text_bytes += sum(map(len, bodies))

    def prune(self, sinks: Iterable[str], *, rows: int, text_bytes: int) -> Pruned:
        """Delete steps that nobody waits for until so much is free, or none is left.

        Delivered ones go first, then refused ones, then those meant for sinks that are configured no more.

        Args:
            sinks: the configured ones.
            rows: how many are to go.
            text_bytes: how much text is to go.

        Raises:
            SpoiltError: the file is damaged.
            sqlite3.Error: it cannot be written now.
        """
        gone: list[tuple[int, str]] = []
        freed_bytes = unsent = 0
        with self._transaction():
            for position, key, size, rank in self._db.execute(_FINISHED, {"sinks": json.dumps(list(sinks))}).fetchall():
                if len(gone) >= rows and freed_bytes >= text_bytes:
                    break
                gone.append((position, key))
                freed_bytes += size
                unsent += rank == 2
            positions = [(position,) for position, _ in gone]
            self._db.executemany("DELETE FROM events WHERE position = ?", positions)
            self._db.executemany("DELETE FROM deliveries WHERE position = ?", positions)
        self.rows -= len(gone)
        self.text_bytes -= freed_bytes
        return Pruned([key for _, key in gone], unsent)

    def timeline(self, since: float, limit: int) -> list[tuple[int, AlertEvent]]:
        """Return steps from a time on with their positions, the newest `limit` of them, in order.

        Raises:
            SpoiltError: the file is damaged.
        """
        try:
            newest = self._db.execute(
                "SELECT position, body FROM events WHERE at >= ? ORDER BY position DESC LIMIT ?", (since, limit)
            ).fetchall()
        except sqlite3.Error as error:
            raise self._failure(error) from None
        return [(position, unpack(body)) for position, body in reversed(newest)]

    def close(self) -> None:
        """Close it; the write-ahead log goes into the file."""
        self._db.close()

    def _bound(self) -> None:
        """Let the file hold its bytes and the states, in the pages that they may take."""
        pages = self._max_bytes // _PAGE_BYTES + sum(2 + size // _PAGE_BYTES for size in self._state_bytes.values())
        self._db.execute(f"PRAGMA max_page_count = {max(16, pages)}")

    def _make_tables(self) -> None:
        with closing(self._db.execute("PRAGMA user_version")) as cursor:
            version = cursor.fetchone()[0]
        if version == 0 and not self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            with self._transaction():
                for statement in _SCHEMA:
                    self._db.execute(statement)
        elif version != _VERSION:
            raise SpoiltError(f"is of version {version}, this program writes version {_VERSION}")
        found = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise SpoiltError(f"is damaged: {found}")

    def _check_presence(self) -> None:
        try:
            inode = self._path.stat().st_ino
        except FileNotFoundError:
            inode = None
        if inode != self._inode:
            raise SpoiltError("was deleted or replaced while the service ran")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise self._failure(error) from None
            raise

    def _failure(self, error: sqlite3.Error) -> Exception:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return SpoiltError(f"is damaged: {error}")
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return OutboxError(f"{self._path}: another process has it; one service, one state folder")
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            return OutboxError(f"{self._path}: {error}; the outbox needs a folder that it may write to")
        return error


def salvage(path: Path) -> Kept:
    """Return what can still be read of a damaged file, which may be nothing."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as db:
        db.text_factory = _text  # else what is no UTF-8 ends the reading of its table
        return _read(db, tolerant=True)
    return Kept()


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return ""


def _read(db: sqlite3.Connection, *, tolerant: bool = False) -> Kept:
    def rows(statement: str) -> Generator[tuple[Any, ...]]:
        try:
            yield from db.execute(statement)
        except sqlite3.Error as error:
            if not tolerant:
                raise SpoiltError(f"is damaged: {error}") from None

    def event(body: Any) -> AlertEvent | None:
        try:
            return unpack(body)
        except SpoiltError:
            if not tolerant:
                raise
            return None

    kept = Kept()
    with closing(rows("SELECT position, body FROM events ORDER BY position")) as found:
        kept.events.update((position, known) for position, body in found if (known := event(body)) is not None)
    with closing(rows("SELECT alert_id, body FROM open_alerts")) as found:
        kept.open_alerts.update((alert_id, known) for alert_id, body in found if (known := event(body)) is not None)
    kept.deliveries += [
        (position, sink, refusal) for position, sink, refusal in rows("SELECT position, sink, refusal FROM deliveries")
    ]
    kept.states.update(rows("SELECT camera_id, state FROM states"))
    return kept
