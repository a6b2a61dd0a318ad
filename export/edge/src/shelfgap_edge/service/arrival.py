"""A frame on its way from a camera to its verdict, and the end of its pixels."""

from __future__ import annotations

from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfgap_edge.overwrite import overwrite


@dataclass(eq=False)
class Arrival:
    """One frame as it came in: a JPEG or decoded pixels.

    Attributes:
        camera_id: a camera of the configuration.
        jpeg: the whole file, None where `pixels` are given. Overwritten by `wipe`.
        at: when it was taken, seconds since the epoch, UTC.
        received: when it came, on the monotonic clock, in seconds.
        pixels: uint8 (height, width, 3) in RGB, writable; None where a JPEG is given. Overwritten by `wipe`.
        waiting_since: when its body was there, the same clock; set by the mailbox.
        verdict: settled with a JSON-ready dict once the frame is judged or shed; its key `status` says which.
    """

    camera_id: str
    jpeg: bytearray | None
    at: float
    received: float
    pixels: NDArray[np.uint8] | None = None
    waiting_since: float = 0.0
    verdict: Future[dict[str, Any]] = field(default_factory=Future)

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return len(self.jpeg or b"") + (0 if self.pixels is None else self.pixels.nbytes)

    def wipe(self) -> None:
        """Overwrite what came and let go of it."""
        if self.jpeg is not None:
            overwrite(self.jpeg)
        if self.pixels is not None:
            overwrite(self.pixels)
        self.jpeg = self.pixels = None

    def settle(self, verdict: dict[str, Any]) -> None:
        """Tell who waits for the verdict; the first one counts."""
        with suppress(InvalidStateError):  # settled, or nobody waits any more
            self.verdict.set_result(verdict)
