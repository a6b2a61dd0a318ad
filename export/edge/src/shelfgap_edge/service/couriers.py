"""The threads around the service: sources that bring frames, dispatchers that take alerts away."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from shelfgap_edge.service.parts import Dispatcher, Outbox, Plan, PutFrame, Source
from shelfgap_edge.sources.source import NO_THREAD
from shelfgap_edge.sources.state import SourceState

_log = logging.getLogger(__name__)


class Couriers:
    """Runs the sources and dispatchers of a plan; `use` replaces them.

    What the system gives no thread to waits for the next `start_missing`.

    Args:
        plan: which ones.
        outbox: what dispatchers deliver from.
        put: where sources bring frames.
    """

    def __init__(self, plan: Plan, outbox: Outbox, put: PutFrame) -> None:
        self._outbox, self._put = outbox, put
        self._sources, self._dispatchers = plan.sources(), plan.dispatchers(outbox)
        self._missing_dispatchers: list[Dispatcher] = []
        self._missing_sources: list[Source] = []
        self._threads: list[threading.Thread] = []
        self._stop_sources = threading.Event()
        self._starting = threading.Lock()

    @property
    def delivers(self) -> bool:
        """Whether all dispatchers run that should."""
        return not self._missing_dispatchers

    def start(self) -> None:
        """Start all."""
        with self._starting:
            self._stop_sources = threading.Event()
            self._threads = []
            self._missing_dispatchers, self._missing_sources = list(self._dispatchers), list(self._sources)
        self.start_missing()
        missing = len(self._missing_dispatchers), len(self._missing_sources)
        if any(missing):
            _log.error("the system allows no threads for %d dispatchers and %d sources; they are tried again", *missing)

    def start_missing(self) -> None:
        """Start what does not run yet: dispatchers first, for alerts must go out whatever comes in."""
        with self._starting:
            self._missing_dispatchers = [one for one in self._missing_dispatchers if not _starts(one.start)]
            self._missing_sources = [source for source in self._missing_sources if not self._start_source(source)]

    def use(self, plan: Plan) -> None:
        """Stop all, and start those of another plan."""
        self.stop(5.0)
        self._sources, self._dispatchers = plan.sources(), plan.dispatchers(self._outbox)
        self.start()

    def stop_sources(self) -> None:
        """Tell the sources to end."""
        self._stop_sources.set()

    def stop(self, timeout_seconds: float) -> None:
        """End the sources, then the dispatchers, within that time."""
        deadline = time.monotonic() + timeout_seconds
        self.stop_sources()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        stopping = [
            threading.Thread(target=dispatcher.stop, args=(max(0.1, deadline - time.monotonic()),), daemon=True)
            for dispatcher in self._dispatchers
        ]
        for thread in stopping:
            if not _starts(thread.start):
                thread.run()  # in this thread, one after another
        for thread in stopping:
            if thread.ident is not None:
                thread.join(max(0.1, deadline - time.monotonic()))

    def source_states(self) -> list[SourceState]:
        """Return how each source stands."""
        return [source.state() for source in self._sources]

    def _start_source(self, source: Source) -> bool:
        name = f"source-{len(self._threads)}"
        thread = threading.Thread(target=self._run, args=(source, self._stop_sources), name=name, daemon=True)
        if _starts(thread.start):
            self._threads.append(thread)
            return True
        source.counted(NO_THREAD)
        return False

    def _run(self, source: Source, stop: threading.Event) -> None:
        try:
            source.run(self._put, stop)
        except Exception as error:
            _log.error("a source ended", exc_info=error)


def _starts(start: Callable[[], None]) -> bool:
    """Start a thread; returns whether the system allowed it."""
    try:
        start()
    except RuntimeError:
        return False
    return True
