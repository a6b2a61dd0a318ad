"""Replay: pictures of a dataset or a shelf-day, with the times at which they were taken, at any speed."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from shelfgap_edge.image import MAX_BODY_BYTES
from shelfgap_edge.overwrite import overwrite
from shelfgap_edge.sources.failure import SourceFailureError, reason_of
from shelfgap_edge.sources.recording import Picture, read_recording
from shelfgap_edge.sources.session import Session
from shelfgap_edge.sources.source import Backoff, Source
from shelfgap_edge.toml_table import ConfigError, Table

MAX_SPEED = "max"
_PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class ReplayParams:
    """A recording.

    Attributes:
        folder: of a dataset, a shelf-day or JPEGs.
        camera_id: the camera that the pictures are taken for; None for the one that each picture names.
        recorded_as: only pictures of this camera of the recording; None for all.
        speed: seconds of the recording in a second; None for as fast as frames are taken.
        every_s: seconds between pictures of a recording that has no times; it then starts now.
        loop: begin anew at the end, the times moved on by its length.
        max_bytes: larger files are left out.
    """

    folder: Path
    camera_id: str | None
    recorded_as: str | None
    speed: float | None
    every_s: float
    loop: bool
    max_bytes: int

    @classmethod
    def from_table(cls, table: Table) -> ReplayParams:
        """Read a table with `type = "replay"`."""
        return cls(
            folder=table.path("folder"),
            camera_id=table.text("camera", None),
            recorded_as=table.text("recorded_as", None),
            speed=_speed(table),
            every_s=table.number("every_s", 60.0, low=0.01, high=86400),
            loop=table.flag("loop", False),
            max_bytes=table.integer("max_bytes", 4 * 2**20, low=1024, high=MAX_BODY_BYTES),
        )

    def source(self, cameras: Collection[str]) -> Source:
        """Return the source.

        Args:
            cameras: those that are configured.

        Raises:
            ConfigError: the recording cannot be read, or is of a camera that is not configured.
        """
        pictures = read_recording(self.folder, camera=self.recorded_as)
        for camera in dict.fromkeys(picture.camera for picture in pictures):
            if self.camera_id is not None:
                break
            if camera is None:
                raise ConfigError(f"{self.folder}: some pictures name no camera; say which with `camera`")
            if camera not in cameras:
                raise ConfigError(
                    f"{self.folder}: is of camera {camera!r}, which is not configured; say whose it is with `camera`"
                )
        return Source(
            "replay",
            str(self.folder),
            self.camera_id,
            lambda session: _replay(self, pictures, session),
            backoff=Backoff(),
        )


def _speed(table: Table) -> float | None:
    given = table.text_or_number("speed", 1.0)
    if given == MAX_SPEED:
        return None
    if isinstance(given, str) or not 0.001 <= given <= 1e6:
        raise table.wrong("speed", 'a number from 0.001 to 1000000, or "max"', given)
    return float(given)


def _replay(params: ReplayParams, pictures: tuple[Picture, ...], session: Session) -> None:
    session.connected()
    begun = time.monotonic()
    first = pictures[0].at
    start = time.time() if first is None else first
    times = [start + number * params.every_s if p.at is None else p.at for number, p in enumerate(pictures)]
    length_s = times[-1] - start + params.every_s
    turn = 0
    while session.live:
        is_there = False
        for picture, taken in zip(pictures, times, strict=True):
            at = taken + turn * length_s
            if params.speed is not None:
                session.wait(begun + (at - start) / params.speed - time.monotonic())
            if not session.live:
                return
            camera = params.camera_id or picture.camera
            assert camera is not None  # checked before
            try:
                frame = _read(picture.path, params.max_bytes)
            except (OSError, SourceFailureError) as error:
                session.counts(reason_of(error))
                continue
            is_there = True
            session.deliver(camera, frame, at=at, sampled=False, is_awaited=params.speed is None)
        turn += 1
        if not params.loop:
            return
        if not is_there:  # its disk was taken out, say
            session.wait(_PAUSE_SECONDS)


def _read(path: Path, max_bytes: int) -> bytearray:
    size = path.stat().st_size
    if size > max_bytes:
        raise SourceFailureError("too-large")
    frame = bytearray(size)
    with path.open("rb", buffering=0) as file:
        if file.readinto(frame) != size or not frame.startswith(b"\xff\xd8\xff"):
            overwrite(frame)
            raise SourceFailureError("not-jpeg")
    return frame
