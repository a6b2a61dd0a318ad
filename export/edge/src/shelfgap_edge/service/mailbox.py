"""Where frames wait: at most one a camera, the newest; a bounded number of them; cameras served by turns."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from shelfgap_edge.service.arrival import Arrival

OnShed = Callable[[Arrival, str], None]

_log = logging.getLogger(__name__)


class Mailbox:
    """Hands frames from many threads to one.

    The camera whose last turn is longest ago comes first. If there are too many frames or bytes, the camera that had
    its turn last loses its frame. So under any load every camera that goes on sending is served again and again. A
    frame that would not fit in alone displaces nothing.

    Args:
        frames: most that wait.
        megabytes: most that they hold together.
        max_wait_seconds: a frame that waited longer is not worth a verdict.
        on_shed: called with a frame that will not be judged, its bytes overwritten already, and why: "replaced" by a
            newer one, "too-large" for the mailbox, "overflow", "stale", "removed" camera, "stopping".
    """

    def __init__(
        self, *, frames: int, megabytes: float, max_wait_seconds: float, on_shed: OnShed = lambda arrival, why: None
    ) -> None:
        self._on_shed = on_shed
        self._waiting: dict[str, Arrival] = {}
        self._turns: dict[str, int] = {}  # camera -> number of its last turn
        self._turn = 0
        self._bytes = 0
        self._closed = False
        self._told_too_large: set[str] = set()
        self._changed = threading.Condition()
        self.limit(frames=frames, megabytes=megabytes, max_wait_seconds=max_wait_seconds)

    def limit(self, *, frames: int, megabytes: float, max_wait_seconds: float) -> None:
        """Set other bounds; they count from the next frame on."""
        self._max_frames = frames
        self._max_bytes = int(megabytes * 2**20)
        self._max_wait_seconds = max_wait_seconds
        self._told_too_large.clear()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the frames that wait."""
        return self._bytes

    def put(self, arrival: Arrival) -> bool:
        """Take a frame in; what it displaces is shed. Returns False, with the frame shed, after `close`."""
        shed: list[tuple[Arrival, str]] = []
        arrival.waiting_since = time.monotonic()  # a slow upload is no reason to judge nothing
        with self._changed:
            if self._closed:
                shed.append((arrival, "stopping"))
            elif arrival.size > self._max_bytes:
                shed.append((arrival, "too-large"))
                self._tell_too_large(arrival)
            else:
                older = self._waiting.get(arrival.camera_id)
                if older is not None:
                    self._bytes -= older.size
                    shed.append((older, "replaced"))
                self._waiting[arrival.camera_id] = arrival
                self._bytes += arrival.size
                while len(self._waiting) > self._max_frames or self._bytes > self._max_bytes:
                    shed.append((self._remove(max(self._waiting, key=self._last_turn)), "overflow"))
                self._changed.notify()
        self._shed(shed)
        return not shed or shed[0][1] != "stopping"

    def take(self, timeout: float) -> Arrival | None:
        """Return the frame whose turn it is; None if none came in time, or the mailbox is closed and empty."""
        shed: list[tuple[Arrival, str]] = []
        deadline = time.monotonic() + timeout
        taken: Arrival | None = None
        with self._changed:
            while taken is None:
                if not self._waiting:
                    left = deadline - time.monotonic()
                    if self._closed or left <= 0:
                        break
                    self._changed.wait(left)  # a frame may come as the time runs out: look once more
                    continue
                candidate = self._remove(min(self._waiting, key=self._last_turn))
                if time.monotonic() - candidate.waiting_since > self._max_wait_seconds:
                    shed.append((candidate, "stale"))
                    continue
                self._turn += 1
                self._turns[candidate.camera_id] = self._turn
                taken = candidate
        self._shed(shed)
        return taken

    def keep_only(self, camera_ids: set[str]) -> None:
        """Shed the frames of cameras that are not configured any more, and forget their turns."""
        with self._changed:
            gone = [self._remove(camera_id) for camera_id in list(self._waiting) if camera_id not in camera_ids]
            self._turns = {camera_id: turn for camera_id, turn in self._turns.items() if camera_id in camera_ids}
        self._shed([(arrival, "removed") for arrival in gone])

    def close(self) -> None:
        """Take nothing more in; what waits can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def shed_all(self) -> None:
        """Overwrite what still waits."""
        with self._changed:
            left = [self._remove(camera_id) for camera_id in list(self._waiting)]
        self._shed([(arrival, "stopping") for arrival in left])

    def _tell_too_large(self, arrival: Arrival) -> None:
        if arrival.camera_id not in self._told_too_large:
            self._told_too_large.add(arrival.camera_id)
            sizes = arrival.size / 2**20, self._max_bytes / 2**20
            _log.error("%s: frames of %.1f MiB are not judged, queue.megabytes is %g", arrival.camera_id, *sizes)

    def _last_turn(self, camera_id: str) -> int:
        return self._turns.get(camera_id, 0)

    def _remove(self, camera_id: str) -> Arrival:
        arrival = self._waiting.pop(camera_id)
        self._bytes -= arrival.size
        return arrival

    def _shed(self, arrivals: list[tuple[Arrival, str]]) -> None:
        for arrival, why in arrivals:
            arrival.wipe()
            self._on_shed(arrival, why)
            arrival.settle({"status": "shed", "reason": why})
