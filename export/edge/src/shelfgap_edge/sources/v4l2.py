"""Cameras of the machine itself: V4L2, read by PyAV."""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shelfgap_edge.sources.session import Session
from shelfgap_edge.sources.source import Backoff, Source
from shelfgap_edge.sources.video import READ_SECONDS, read_video, require_pyav
from shelfgap_edge.toml_table import Table


@dataclass(frozen=True)
class V4l2Params:
    """A camera below /dev.

    Attributes:
        camera_id: the camera.
        device: "/dev/video0", or one of the lasting names in "/dev/v4l/by-id/".
        size: (width, height) in pixels to ask for; None for what the camera is set to.
        input_format: pixel format to ask for, as ffmpeg names it ("mjpeg", "yuyv422"); None for the camera's own.
        every_s: seconds between two frames that are wanted.
        timeout_s: seconds without a frame after which the device is opened anew.
        backoff: between attempts.
    """

    camera_id: str
    device: str
    size: tuple[int, int] | None
    input_format: str | None
    every_s: float
    timeout_s: float
    backoff: Backoff

    @classmethod
    def from_table(cls, table: Table) -> V4l2Params:
        """Read a table with `type = "v4l2"`."""
        device = table.text("device", "/dev/video0")
        if not re.fullmatch(r"/dev/[\w.:/-]+", device) or ".." in device:
            raise table.wrong("device", "a device such as /dev/video0", device)
        size = table.text("size", None)
        if size is not None and not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", size):
            raise table.wrong("size", "width and height such as 1280x720", size)
        input_format = table.text("input_format", None)
        if input_format is not None and not re.fullmatch(r"\w{1,20}", input_format):
            raise table.wrong("input_format", "a format such as mjpeg or yuyv422", input_format)
        width, _, height = (size or "").partition("x")
        return cls(
            camera_id=table.text("camera"),
            device=device,
            size=(int(width), int(height)) if size else None,
            input_format=input_format,
            every_s=table.number("every_s", 10.0, low=0.0, high=86400),
            timeout_s=table.number("timeout_s", 15.0, low=0.2, high=3600),
            backoff=Backoff.from_table(table),
        )

    def source(self) -> Source:
        """Return the source.

        Raises:
            MissingRuntimeError: PyAV is not installed.
        """
        require_pyav("v4l2")
        return Source(
            "v4l2",
            self.device,
            self.camera_id,
            self._read,
            backoff=self.backoff,
            every_s=self.every_s,
            silent_s=self.timeout_s,
        )

    def _read(self, session: Session) -> None:
        import av

        options: dict[str, str] = {}
        if self.size is not None:
            options["video_size"] = "{}x{}".format(*self.size)
        if self.input_format is not None:
            options["input_format"] = self.input_format
        with av.open(self.device, format="v4l2", options=options, timeout=(self.timeout_s, READ_SECONDS)) as container:
            do_not_block(self.device)
            session.heard()
            read_video(container, self.camera_id, session)


def do_not_block(device: str) -> None:
    """Let reads of a device that this process has open return at once where there is nothing to read.

    A camera that delivers nothing would else block its thread for good, and PyAV cannot open it otherwise.
    """
    wanted = Path(device).resolve()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # another thread closed it meanwhile
            if entry.resolve() == wanted:
                descriptor = int(entry.name)
                fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_NONBLOCK)
