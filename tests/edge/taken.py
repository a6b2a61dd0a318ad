"""What a source hands on, collected as the service would take it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shelfgap_edge.sources.params import SourceParams
from shelfgap_edge.sources.source import Source
from shelfgap_edge.toml_table import Table


@dataclass(frozen=True)
class Frame:
    camera_id: str
    jpeg: bytearray | None
    pixels: NDArray[np.uint8] | None
    at: float


class Taken:
    """Takes frames, and waits for what is to come."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.fault: Exception | None = None

    def __call__(self, camera_id: str, jpeg: bytearray | None, pixels: NDArray[np.uint8] | None, at: float) -> None:
        if self.fault is not None:
            raise self.fault
        self.frames.append(Frame(camera_id, jpeg, pixels, at))

    def wait_for(self, count: int, seconds: float = 30.0) -> list[Frame]:
        wait_until(lambda: len(self.frames) >= count, f"{count} frames, got {len(self.frames)}", seconds)
        return self.frames[:count]


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


def make_source(table: dict[str, object], cameras: tuple[str, ...] = ("a1",)) -> Source:
    fast = {} if table.get("type") == "replay" else {"retry_s": 0.05, "retry_max_s": 0.2}
    return SourceParams.from_table(Table({**fast, **table}, "edge.toml: sources[0]")).source(cameras)


@contextmanager
def running(source: Source, taken: Taken) -> Iterator[threading.Thread]:
    """Run a source in a thread until the end of the block; it must then end, whatever its camera does.

    That takes 1.3 seconds at most where the machine has time for it, and the least that it could wait for instead 10.
    """
    stop = threading.Event()
    faults: list[BaseException] = []

    def run() -> None:
        try:
            source.run(taken, stop)
        except BaseException as error:
            faults.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(8)
        late = thread.is_alive()
        count = len(taken.frames)
        thread.join(30)
    assert not late, "the source did not stop within 8 s"
    assert faults == []
    assert not source.state().connected
    time.sleep(0.05)
    assert len(taken.frames) == count, "a frame was handed on after the end"
