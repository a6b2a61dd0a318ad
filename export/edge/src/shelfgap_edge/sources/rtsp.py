"""RTSP over TCP, read by PyAV."""

from __future__ import annotations

from dataclasses import dataclass

from shelfgap_edge.sources.address import Address
from shelfgap_edge.sources.session import Session
from shelfgap_edge.sources.source import Backoff, Source
from shelfgap_edge.sources.video import READ_SECONDS, read_video, require_pyav
from shelfgap_edge.toml_table import Table

_OPTIONS = {
    "rtsp_transport": "tcp",
    "allowed_media_types": "video",
    "analyzeduration": "1",  # microseconds: what it is stands in the answer to DESCRIBE; do not decode to find out
    "protocol_whitelist": "rtsp,rtsps,rtp,srtp,tcp,tls",  # the server must not name files
    "codec_whitelist": "h264,hevc,av1,mjpeg,mpeg4",
}


@dataclass(frozen=True)
class RtspParams:
    """A camera that streams over RTSP.

    Attributes:
        camera_id: the camera.
        address: rtsp or rtsps.
        every_s: seconds between two frames that are wanted. Where key frames come at least as often, they alone are
            decoded.
        timeout_s: seconds for the stream to open, and without any video after which it is opened anew.
        backoff: between attempts.
    """

    camera_id: str
    address: Address
    every_s: float
    timeout_s: float
    backoff: Backoff

    @classmethod
    def from_table(cls, table: Table) -> RtspParams:
        """Read a table with `type = "rtsp"`."""
        return cls(
            camera_id=table.text("camera"),
            address=Address.from_table(table, ("rtsp", "rtsps")),
            every_s=table.number("every_s", 10.0, low=0.0, high=86400),
            timeout_s=table.number("timeout_s", 15.0, low=0.2, high=3600),
            backoff=Backoff.from_table(table),
        )

    def source(self) -> Source:
        """Return the source.

        Raises:
            MissingRuntimeError: PyAV is not installed.
        """
        require_pyav("rtsp")
        return Source(
            "rtsp",
            str(self.address),
            self.camera_id,
            self._read,
            backoff=self.backoff,
            every_s=self.every_s,
            silent_s=self.timeout_s + READ_SECONDS,
        )

    def _read(self, session: Session) -> None:
        import av

        timeouts = (self.timeout_s, READ_SECONDS)
        with av.open(self.address.reveal(), format="rtsp", options=dict(_OPTIONS), timeout=timeouts) as container:
            session.heard()
            read_video(container, self.camera_id, session)
