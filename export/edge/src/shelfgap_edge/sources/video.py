"""Frames of a video stream by PyAV: packets are read all the time, decoded no more than the interval asks for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shelfgap_edge.errors import MissingRuntimeError
from shelfgap_edge.image import MAX_PIXELS
from shelfgap_edge.sources.failure import SourceFailureError
from shelfgap_edge.sources.session import Session

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame

READ_SECONDS = 0.5
"""Longest wait for a packet; then the reader looks whether it should end, and reads on."""
_MOST_ERRORS_IN_A_ROW = 100


def require_pyav(kind: str) -> None:
    """Refuse to go on without PyAV.

    Raises:
        MissingRuntimeError: it is not installed.
    """
    try:
        import av
    except ImportError:
        raise MissingRuntimeError(f"a source of type {kind} needs PyAV: pip install 'shelfgap-edge[streams]'") from None
    del av


class KeyFrameGap:
    """Learns how far apart the key frames of a stream are, and so whether they alone are enough.

    >>> gap = KeyFrameGap(every_s=10.0)
    >>> gap.seen(0.0), gap.seen(2.0), gap.seen(30.0)
    (False, True, False)
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._last: float | None = None

    def seen(self, now: float) -> bool:
        """Note a key frame, monotonic seconds; returns whether those up to the next are to be skipped."""
        enough = self._last is not None and now - self._last <= self._every_s
        self._last = now
        return enough


def read_video(container: InputContainer, camera_id: str, session: Session) -> None:
    """Hand on a frame each interval until the session or the stream ends.

    Raises:
        SourceFailureError: there is no video, it ends, or cannot be decoded.
        av.FFmpegError: reading fails.
    """
    import av

    stream = next(iter(container.streams.video), None)
    if stream is None:
        raise SourceFailureError("no-video")
    decoder = stream.codec_context
    decoder.thread_count = 1  # as few pictures as can be are held back within the decoder
    decoder.options = {**decoder.options, "max_pixels": str(MAX_PIXELS)}
    gap = KeyFrameGap(session.every_s)
    only_keys, errors, started = False, 0, False
    while session.live:
        try:
            packet = next(container.demux(stream))
        except (av.error.ExitError, BlockingIOError):  # nothing within READ_SECONDS, or nothing yet
            session.wait(0.005)
            continue
        except StopIteration:
            raise SourceFailureError("cut") from None
        if packet.size == 0:
            raise SourceFailureError("cut")
        session.heard()
        if packet.is_keyframe:
            only_keys = gap.seen(time.monotonic())
            started = True
        elif only_keys or not started:  # pictures that build on one which was not decoded are of no use
            continue
        if only_keys and not session.is_due():
            continue
        try:
            frames = _decode(decoder, packet, alone=only_keys)
            errors = 0
        except av.FFmpegError:
            session.counts("not-decoded")
            errors += 1
            if errors >= _MOST_ERRORS_IN_A_ROW:
                raise SourceFailureError("not-decoded") from None
            continue
        session.connected()
        if frames and session.is_due():
            session.deliver(camera_id, pixels=_take_pixels(frames[-1]))


def _decode(decoder: VideoCodecContext, packet: Packet[Any], *, alone: bool) -> list[VideoFrame]:
    frames = decoder.decode(packet)
    if alone:  # what it holds back to put pictures in order comes out at once, and it begins anew with the next key
        frames += decoder.decode(None)
        decoder.flush_buffers()
    return frames


def _take_pixels(frame: VideoFrame) -> NDArray[np.uint8]:
    """Return RGB, uint8 (height, width, 3), and overwrite the converted picture that it is copied from."""
    converted = frame.reformat(format="rgb24")
    pixels = np.array(converted.to_ndarray(), np.uint8)  # a copy: what PyAV returns may lie within the picture
    if converted is not frame:
        plane = converted.planes[0]
        plane.update(bytes(plane.buffer_size))
    return pixels
