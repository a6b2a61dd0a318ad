"""The threads around the service: sources that bring frames, dispatchers that take alerts away."""

from __future__ import annotations

import logging
import threading
import time

from shelfgap_edge.service.parts import Outbox, Plan, PutFrame, Source
from shelfgap_edge.sources.state import SourceState

_log = logging.getLogger(__name__)


class Couriers:
    """Runs the sources and dispatchers of a plan; `use` replaces them.

    Args:
        plan: which ones.
        outbox: what dispatchers deliver from.
        put: where sources bring frames.
    """

    def __init__(self, plan: Plan, outbox: Outbox, put: PutFrame) -> None:
        self._outbox, self._put = outbox, put
        self._sources, self._dispatchers = plan.sources(), plan.dispatchers(outbox)
        self._threads: list[threading.Thread] = []
        self._stop_sources = threading.Event()

    def start(self) -> None:
        """Start all."""
        self._stop_sources = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(source, self._stop_sources), name=f"source-{n}", daemon=True)
            for n, source in enumerate(self._sources)
        ]
        for thread in self._threads:
            thread.start()
        for dispatcher in self._dispatchers:
            dispatcher.start()

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
            thread.start()
        for thread in stopping:
            thread.join(max(0.1, deadline - time.monotonic()))

    def source_states(self) -> list[SourceState]:
        """Return how each source stands."""
        return [source.state() for source in self._sources]

    def _run(self, source: Source, stop: threading.Event) -> None:
        try:
            source.run(self._put, stop)
        except Exception as error:
            _log.error("a source ended", exc_info=error)
