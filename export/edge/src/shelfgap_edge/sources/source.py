"""A source: keeps one connection, restores it after a cut, and says how it fares."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from shelfgap_edge.sources.failure import reason_of
from shelfgap_edge.sources.session import Put, Sampler, Session
from shelfgap_edge.sources.state import SourceState
from shelfgap_edge.toml_table import ConfigError, Table

_WATCH_SECONDS = 0.25
_END_SECONDS = 1.0  # that the reading thread gets to end by itself when told to stop
NO_THREAD = "no-thread"  # the reason of a source to which the system gives no thread
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backoff:
    """How long to wait before the next attempt.

    Attributes:
        first_s: after the first failure in a row; it doubles from then on.
        most_s: never longer.
    """

    first_s: float = 1.0
    most_s: float = 60.0

    @classmethod
    def from_table(cls, table: Table) -> Backoff:
        """Read `retry_s` and `retry_max_s`."""
        first = table.number("retry_s", cls.first_s, low=0.01, high=3600)
        most = table.number("retry_max_s", max(cls.most_s, first), low=0.01, high=86400)
        if most < first:
            raise ConfigError(f"{table.where}: retry_max_s: expected at least retry_s ({first:g}), got {most:g}")
        return cls(first, most)

    def delay_s(self, failures: int, chance: float) -> float:
        """Return the wait after so many failures in a row; `chance` in [0, 1) spreads those that failed together.

        >>> Backoff(1.0, 60.0).delay_s(1, 0.0), Backoff(1.0, 60.0).delay_s(4, 0.5), Backoff().delay_s(1000, 0.5)
        (0.5, 6.0, 45.0)
        """
        whole = min(self.most_s, self.first_s * 2.0 ** min(max(failures - 1, 0), 40))
        return whole * (0.5 + chance / 2)


class Source:
    """One entry of `[[sources]]`, running.

    Args:
        kind, where, camera_id: see `SourceState`.
        read: reads one connection until the session ends, and raises what cut it; returning while the session lives
            says that there is no more to come.
        backoff: waits between attempts.
        every_s: seconds between two frames that are wanted; 0 for all.
        silent_s: seconds without a frame after which the connection counts as cut; None where silence is no sign.
    """

    def __init__(
        self,
        kind: str,
        where: str,
        camera_id: str | None,
        read: Callable[[Session], None],
        *,
        backoff: Backoff,
        every_s: float = 0.0,
        silent_s: float | None = None,
    ) -> None:
        self.kind = kind
        self.where = where
        self.camera_id = camera_id
        self._read = read
        self._backoff = backoff
        self._sampler = Sampler(every_s)
        self._silent_s = silent_s
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._connected = False
        self._since = time.time()
        self._last_frame: float | None = None
        self._frames = 0
        self._failures: Counter[str] = Counter()
        self._last_failure: str | None = None
        self._finished = False

    def __repr__(self) -> str:
        return f"Source({self.kind}, {self.where}, camera {self.camera_id})"

    def run(self, put: Put, stop: threading.Event) -> None:
        """Hand on frames until told to stop or, for a recording, until its end; raises nothing.

        The reading itself happens in a second thread: a library that hangs in a system call cannot be interrupted. It
        gets a second to end; what it still brings after that is overwritten.
        """
        reader = self._start_reader(put, stop)
        if reader is None:
            return
        while reader.is_alive() and not stop.wait(_WATCH_SECONDS):
            session = self._session
            if session is not None and self._is_silent(session):
                session.cut("silent")
        if (session := self._session) is not None:
            session.cut(None)
        reader.join(_END_SECONDS)
        self._set_connected(False)

    def state(self) -> SourceState:
        """Return how it fares now."""
        with self._lock:
            return SourceState(
                kind=self.kind,
                where=self.where,
                camera_id=self.camera_id,
                connected=self._connected,
                since=self._since,
                last_frame=self._last_frame,
                frames=self._frames,
                failures=dict(self._failures),
                last_failure=self._last_failure,
                finished=self._finished,
            )

    def connected(self) -> None:
        """Note that the connection stands (called by the session)."""
        self._set_connected(True)

    def counted(self, reason: str) -> None:
        """Count a failure (called by the session, and where the source cannot be started)."""
        with self._lock:
            self._failures[reason] += 1
            self._last_failure = reason

    def delivered(self) -> None:
        """Note a frame that was handed on (called by the session)."""
        self._set_connected(True)
        with self._lock:
            self._frames += 1
            self._last_frame = time.time()

    def _start_reader(self, put: Put, stop: threading.Event) -> threading.Thread | None:
        """Return the running reader; None if told to stop before the system allowed another thread."""
        failures = 0
        while not stop.is_set():
            reader = threading.Thread(target=self._keep, args=(put, stop), name=f"{self.kind}-reader", daemon=True)
            try:
                reader.start()
            except RuntimeError:
                failures += 1
                self._pause(NO_THREAD, failures, stop)
            else:
                return reader
        return None

    def _keep(self, put: Put, stop: threading.Event) -> None:
        failures = 0
        while not stop.is_set():
            before = self._frames
            session = Session(put, stop, self, self._sampler)
            self._session = session
            reason = self._attempt(session)
            self._set_connected(False)
            if reason is None or stop.is_set():
                return
            failures = 1 if self._frames > before else failures + 1
            self._pause(reason, failures, stop)

    def _pause(self, reason: str, failures: int, stop: threading.Event) -> None:
        """Count and tell a failure, and wait as is due after so many in a row."""
        delay_s = self._backoff.delay_s(failures, random.random())
        self.counted(reason)
        _log.warning("%s %s: %s; next attempt in %.1f s", self.kind, self.where, reason, delay_s)
        stop.wait(delay_s)

    def _attempt(self, session: Session) -> str | None:
        """Return why the connection ended; None if there is no more to come."""
        try:
            self._read(session)
        except Exception as error:
            reason = reason_of(error)
        else:
            if session.live:
                with self._lock:
                    self._finished = True
                return None
            reason = "cut"
        reason = session.cut_reason or reason
        session.cut(reason)
        return reason

    def _is_silent(self, session: Session) -> bool:
        return self._silent_s is not None and time.monotonic() - session.last_sign > self._silent_s

    def _set_connected(self, connected: bool) -> None:
        with self._lock:
            if connected != self._connected:
                self._connected = connected
                self._since = time.time()
