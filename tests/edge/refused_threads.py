"""A system that allows no more threads, as far as chosen ones go."""

from __future__ import annotations

import threading

import pytest


class RefusedThreads:
    """Which threads cannot be started now, by how their names begin; and which were, in their order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: tuple[str, ...] = ()
        self.started: list[str] = []
        self.refused: list[str] = []
        start = threading.Thread.start

        def start_or_refuse(thread: threading.Thread) -> None:
            if thread.name.startswith(self.names):
                self.refused.append(thread.name)
                raise RuntimeError("can't start new thread")
            self.started.append(thread.name)
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", start_or_refuse)
