"""Bring what waits in the outbox to its sinks: one thread a sink, until each step is acknowledged."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from shelfgap_edge.alerts.lanes import Entry
from shelfgap_edge.alerts.outbox import Outbox
from shelfgap_edge.alerts.sinks.sink import LaterError, RefusedError, Sink

_LOGGER = logging.getLogger(__name__)
_IDLE_S = 1.0  # the outbox looks after its disk this often


@dataclass(frozen=True)
class SinkFigures:
    """What a sink's thread did since its start.

    Attributes:
        attempts: tries to send.
        delivered, refused, failed: how they ended.
        failures_in_a_row: of the sink as a whole, since its last answer.
        trouble: why the last try failed; None if it did not.
    """

    attempts: int = 0
    delivered: int = 0
    refused: int = 0
    failed: int = 0
    failures_in_a_row: int = 0
    trouble: str | None = None


class Dispatcher:
    """Threads that send; stopped once.

    A sink that cannot be reached pauses as a whole, and tries another zone next. A step that it fails to take while it
    answers waits alone, with its zone.

    Args:
        outbox: where steps wait; the sinks are in its audience.
        sinks: each with a name of its own.
        rng: of the jitter.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        outbox: Outbox,
        sinks: Sequence[Sink],
        *,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox, self._sinks, self._clock = outbox, list(sinks), clock
        self._rng = rng or random.Random()
        self._stop = threading.Event()
        self._figures = {sink.name: SinkFigures() for sink in sinks}
        self._threads: dict[str, threading.Thread] = {}

    def start(self) -> None:
        """Begin to send; once more, begin where that failed before.

        Raises:
            RuntimeError: the system allows no more threads.
        """
        for sink in self._sinks:
            if sink.name not in self._threads:
                thread = threading.Thread(target=self._run, args=(sink,), name=f"sink-{sink.name}", daemon=True)
                thread.start()
                self._threads[sink.name] = thread

    def stop(self, grace_s: float) -> bool:
        """Send nothing new, let what is under way end, and close the sinks.

        What was not acknowledged waits in the outbox for the next start.

        Args:
            grace_s: how long to wait for what is under way; then it is broken off.

        Returns:
            Whether all ended by themselves.
        """
        self._stop.set()
        self._outbox.wake()
        deadline = time.monotonic() + grace_s
        for thread in self._threads.values():
            thread.join(max(0.0, deadline - time.monotonic()))
        ended = not any(thread.is_alive() for thread in self._threads.values())
        for sink in self._sinks:
            try:
                sink.close()
            except Exception as error:
                _LOGGER.warning("sink %r could not be closed (%s)", sink.name, type(error).__name__)
        return ended

    def figures(self) -> dict[str, SinkFigures]:
        """Return what each sink's thread did."""
        return dict(self._figures)

    def _run(self, sink: Sink) -> None:
        while not self._stop.is_set():
            now = self._clock()
            entry = self._outbox.next_due(sink.name, now)
            if entry is None:
                self._outbox.wait(sink.name, now, _IDLE_S)
            else:
                self._stop.wait(self._send(sink, entry))

    def _send(self, sink: Sink, entry: Entry) -> float:
        """Try once, note how it ended, and return for how many seconds the whole sink pauses."""
        key, before = entry.event.key, self._figures[sink.name]
        tried = replace(before, attempts=before.attempts + 1)
        try:
            sink.send(entry.event)
        except RefusedError as refusal:
            _LOGGER.error("sink %r refuses alert step %s, which is set aside: %s", sink.name, key, str(refusal))
            self._figures[sink.name] = replace(tried, refused=tried.refused + 1, failures_in_a_row=0)
            self._outbox.refuse(sink.name, key, str(refusal))
            return 0.0
        except LaterError as error:
            later = error
        except Exception as error:  # a defect of one sink must not end its thread
            _LOGGER.exception("sink %r failed", sink.name)
            later = LaterError(f"it failed ({type(error).__name__})", whole_sink=False)
        else:
            if before.trouble is not None:
                _LOGGER.warning("sink %r takes alerts again", sink.name)
            done = tried.delivered + 1
            self._figures[sink.name] = replace(tried, delivered=done, failures_in_a_row=0, trouble=None)
            self._outbox.delivered(sink.name, key)
            return 0.0
        if before.trouble != str(later):
            _LOGGER.warning("sink %r does not take alerts, they wait: %s", sink.name, str(later))
        in_a_row = tried.failures_in_a_row + 1 if later.whole_sink else 0
        self._figures[sink.name] = replace(
            tried, failed=tried.failed + 1, failures_in_a_row=in_a_row, trouble=str(later)
        )
        wait_s = sink.backoff.wait_s(in_a_row if later.whole_sink else entry.attempts + 1, self._rng)
        wait_s = max(wait_s, later.after_s)
        now = self._clock()
        self._outbox.failed(sink.name, key, now if later.whole_sink else now + wait_s)
        return wait_s if later.whole_sink else 0.0
