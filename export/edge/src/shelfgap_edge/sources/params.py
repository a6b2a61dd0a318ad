"""The `[[sources]]` tables of edge.toml."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from shelfgap_edge.sources.mjpeg import MjpegParams
from shelfgap_edge.sources.mqtt import MqttParams
from shelfgap_edge.sources.replay import ReplayParams
from shelfgap_edge.sources.rtsp import RtspParams
from shelfgap_edge.sources.source import Source
from shelfgap_edge.sources.v4l2 import V4l2Params
from shelfgap_edge.toml_table import ConfigError, Table

SOURCE_TYPES = ("mqtt", "mjpeg", "rtsp", "v4l2", "replay")


@dataclass(frozen=True)
class SourceParams:
    """One source.

    Attributes:
        where: file and table, for messages.
        of: what its type asks for.
    """

    where: str
    of: MqttParams | MjpegParams | RtspParams | V4l2Params | ReplayParams

    @classmethod
    def from_table(cls, table: Table) -> SourceParams:
        """Read one table of `[[sources]]`.

        Raises:
            ConfigError: a key is missing, unknown or has no usable value; no message tells a password.
        """
        of: MqttParams | MjpegParams | RtspParams | V4l2Params | ReplayParams
        match table.choice("type", SOURCE_TYPES):
            case "mqtt":
                of = MqttParams.from_table(table)
            case "mjpeg":
                of = MjpegParams.from_table(table)
            case "rtsp":
                of = RtspParams.from_table(table)
            case "v4l2":
                of = V4l2Params.from_table(table)
            case _:
                of = ReplayParams.from_table(table)
        table.done()
        return cls(table.where, of)

    def source(self, cameras: Collection[str]) -> Source:
        """Return the source, ready to run.

        Args:
            cameras: ids of the configured cameras; a source serves no other.

        Raises:
            ConfigError: its camera is not configured, or a file that it needs cannot be used.
            MissingRuntimeError: a library is not installed; the message names the command that does.
        """
        if isinstance(self.of, MqttParams | ReplayParams):
            camera = self.of.camera_id if isinstance(self.of, ReplayParams) else None
        else:
            camera = self.of.camera_id
        if camera is not None and camera not in cameras:
            known = ", ".join(sorted(cameras)[:10]) or "none"
            raise ConfigError(f"{self.where}: camera: {camera!r} is not configured; configured are: {known}")
        return self.of.source(cameras) if isinstance(self.of, MqttParams | ReplayParams) else self.of.source()
