"""The one place that knows which monitor, outbox, sinks and sources the service is put together from."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from shelfgap_edge.alerts.dispatcher import Dispatcher as SinkDispatcher
from shelfgap_edge.alerts.limits import OutboxLimits
from shelfgap_edge.alerts.outbox import Outbox as SqliteOutbox
from shelfgap_edge.alerts.sinks.params import read_sinks
from shelfgap_edge.contract import Manifest
from shelfgap_edge.monitor.camera import CameraMonitor
from shelfgap_edge.monitor.params import MonitorParams
from shelfgap_edge.monitor.reading import FrameReading, glance
from shelfgap_edge.monitor.zones import zones_from_tables
from shelfgap_edge.service.config import EdgeConfig
from shelfgap_edge.service.parts import Assembly, Dispatcher, Monitor, Outbox, Plan, Seen, Source
from shelfgap_edge.sources.params import SourceParams

OUTBOX_FILE = "outbox.sqlite"
_MOST_NAMED = 5  # zones in a warning

logger = logging.getLogger(__name__)


class EdgePlan(Plan):
    """The parts of one `edge.toml`, read.

    Args:
        config: the configuration, whose rest is read here.

    Raises:
        ConfigError: a table of another part is wrong.
    """

    def __init__(self, config: EdgeConfig) -> None:
        rest = config.rest
        self._config = config
        self._monitor_table = rest.table("monitor")
        MonitorParams.from_table(copy.deepcopy(self._monitor_table))  # what is wrong is said now
        self._zones = {name: zones_from_tables(camera.zones) for name, camera in config.cameras.items()}
        self._warn_of_narrow_zones()
        self.limits = OutboxLimits.from_table(rest.table("outbox"))
        self._sinks = read_sinks(rest, None if config.time_zone is None else ZoneInfo(config.time_zone))
        sources = [SourceParams.from_table(table) for table in rest.tables("sources")]
        rest.done()
        self._sources = [params.source(config.cameras.keys()) for params in sources]

    def _warn_of_narrow_zones(self) -> None:
        narrow = [f"{name}/{zone.name}" for name, zones in self._zones.items() for zone in zones if zone.is_narrow]
        if narrow:
            named, more = ", ".join(narrow[:_MOST_NAMED]), len(narrow) - _MOST_NAMED
            logger.warning(
                "zones narrower than a twelfth of the frame, of which alerts are less sure (docs/monitor.md): %s%s",
                named,
                f" and {more} more" if more > 0 else "",
            )

    def monitors(self, manifest: Manifest) -> Mapping[str, Monitor]:
        """Return a new monitor for each camera: by the bundle's values where `[monitor]` says nothing."""
        base = MonitorParams.from_bundle(manifest.monitor)
        params = MonitorParams.from_table(copy.deepcopy(self._monitor_table), base)
        return {
            name: CameraMonitor(name, self._zones[name], params, shelf=camera.shelf, store=self._config.store)
            for name, camera in self._config.cameras.items()
        }

    def reading(self, monitor: Any, seen: Seen) -> Any:
        """Return what a monitor is told of a frame."""
        return FrameReading(
            camera_id=seen.camera_id,
            at=seen.at,
            detections=seen.detections,
            frame_size=seen.frame_size,
            glance=glance(seen.pixels, monitor.glance_zones),
            classes=seen.classes,
        )

    def dispatchers(self, outbox: Any) -> Sequence[Dispatcher]:
        """Return one for all sinks, and tell the outbox of them; what they refused before is tried once more."""
        outbox.address({params.name: params.wants for params in self._sinks})
        for params in self._sinks:
            outbox.retry_refused(params.name)
        return [SinkDispatcher(outbox, [params.sink for params in self._sinks])]

    def sources(self) -> Sequence[Source]:
        """Return the sources."""
        return self._sources


class EdgeAssembly(Assembly):
    """Makes the parts of this distribution."""

    def plan(self, config: EdgeConfig) -> EdgePlan:
        """Read the tables of other parts.

        Raises:
            ConfigError: one of them is wrong.
        """
        return EdgePlan(config)

    def outbox(self, config: EdgeConfig, plan: Any) -> Outbox:
        """Open the outbox in the state folder, with the bounds of its table."""
        outbox: Outbox = SqliteOutbox(config.state / OUTBOX_FILE, limits=plan.limits)
        return outbox
