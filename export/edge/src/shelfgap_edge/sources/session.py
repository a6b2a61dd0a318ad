"""One connection of a source: how the code that reads it hands on frames and learns that it must end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shelfgap_edge.overwrite import overwrite

Put = Callable[[str, bytearray | None, NDArray[np.uint8] | None, float], "Future[Any] | None"]
"""Takes (camera id, JPEG or None, RGB pixels or None, time of the frame); the buffer is the taker's from then on.

What it returns is done once the frame is judged or given up; None where that is not known."""

logger = logging.getLogger(__name__)


class Ledger(Protocol):
    """What a source writes down of its sessions."""

    def connected(self) -> None:
        """The connection stands."""

    def counted(self, reason: str) -> None:
        """Something failed."""

    def delivered(self) -> None:
        """A frame was handed on."""


class Sampler:
    """Says when the next frame of a stream is due; a late one does not move those after it.

    >>> sampler = Sampler(10.0)
    >>> [moment for moment in (0.0, 4.0, 10.1, 19.9, 20.0, 55.0, 60.0) if sampler.is_due(moment, take=True)]
    [0.0, 10.1, 20.0, 55.0]
    """

    def __init__(self, every_s: float) -> None:
        self.every_s = every_s
        self._next: float | None = None

    def is_due(self, now: float, *, take: bool = False) -> bool:
        """Say whether a frame is due, monotonic seconds; `take` says that it is used."""
        due = self._next is None or now >= self._next
        if due and take:
            planned = (now if self._next is None else self._next) + self.every_s
            self._next = planned if planned > now else now + self.every_s
        return due


class Session:
    """One connection, from the attempt to its end; used by the thread that reads it and by the one that watches."""

    def __init__(self, put: Put, stop: threading.Event, ledger: Ledger, sampler: Sampler) -> None:
        self._put = put
        self._stop = stop
        self._ledger = ledger
        self._sampler = sampler
        self._ended = threading.Event()
        self._hook: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self.cut_reason: str | None = None
        self.last_sign = time.monotonic()

    @property
    def live(self) -> bool:
        """Whether to go on reading."""
        return not (self._ended.is_set() or self._stop.is_set())

    @property
    def every_s(self) -> float:
        """Seconds between two frames that are wanted."""
        return self._sampler.every_s

    def connected(self) -> None:
        """Note that the other end answers as it should."""
        if self.live:
            self._ledger.connected()

    def heard(self) -> None:
        """Note that the other end sends, though perhaps nothing that is wanted."""
        self.last_sign = time.monotonic()

    def is_due(self) -> bool:
        """Say whether a frame is wanted now."""
        return self.live and self._sampler.is_due(time.monotonic())

    def counts(self, reason: str) -> None:
        """Count a frame that cannot be used; the connection goes on."""
        self._ledger.counted(reason)

    def deliver(
        self,
        camera_id: str,
        jpeg: bytearray | None = None,
        pixels: NDArray[np.uint8] | None = None,
        at: float | None = None,
        *,
        sampled: bool = True,
        is_awaited: bool = False,
    ) -> bool:
        """Hand on a frame, or overwrite it where none is wanted.

        Args:
            camera_id: its camera.
            jpeg: the frame, or
            pixels: the frame; neither is to be touched by the caller afterwards.
            at: when it was taken, seconds since the epoch; None for now.
            sampled: whether only one frame an interval is wanted.
            is_awaited: return only once it is judged or given up, or the session ends.

        Returns:
            Whether it was handed on.
        """
        self.heard()
        now = self.last_sign
        if not self.live or (sampled and not self._sampler.is_due(now, take=True)):
            overwrite(jpeg)
            overwrite(pixels)
            return False
        try:
            judged = self._put(camera_id, jpeg, pixels, time.time() if at is None else at)
        except Exception as error:
            overwrite(jpeg)
            overwrite(pixels)
            logger.warning("a frame of %s was not taken: %s", camera_id, type(error).__name__)
            self._ledger.counted("not-taken")
            return False
        self._ledger.delivered()
        while is_awaited and judged is not None and self.live and not judged.done():
            wait([judged], timeout=0.25)
        return True

    def wait(self, seconds: float) -> bool:
        """Wait unless the session ends meanwhile; returns whether it lives on."""
        deadline = time.monotonic() + seconds
        while self.live and (left := deadline - time.monotonic()) > 0:
            self._stop.wait(min(left, 0.25))
        return self.live

    def on_cut(self, hook: Callable[[], None]) -> None:
        """Have `hook` called, from another thread, when the session must end at once; errors of it are ignored.

        It takes the place of the one before: a camera that is asked for single pictures is one session for weeks.
        """
        with self._lock:
            self._hook = hook

    def cut(self, reason: str | None) -> None:
        """End the session: nothing that still arrives is handed on."""
        with self._lock:
            if not self._ended.is_set():
                self.cut_reason = reason
            self._ended.set()
            hook, self._hook = self._hook, None
        if hook is not None:
            with suppress(Exception):  # it was closing already
                hook()
