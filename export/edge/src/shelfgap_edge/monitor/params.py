"""The numbers that decide when frames become an alert; a bundle carries those that were measured with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from shelfgap_edge.monitor.latch import Persistence
from shelfgap_edge.monitor.quiet import QuietHours
from shelfgap_edge.toml_table import Table

_LIMITS: Mapping[str, tuple[float, float]] = {
    "open_frames": (1, 100),
    "open_minutes": (0, 1440),
    "low_frames": (1, 100),
    "low_minutes": (0, 1440),
    "close_frames": (1, 100),
    "close_minutes": (0, 1440),
    "contrary_weight": (0, 10),
    "min_gap_score": (0, 1),
    "min_low_score": (0, 1),
    "min_share": (0.01, 1),
    "max_occluded_share": (0, 1),
    "max_hold_minutes": (0, 1440),
    "min_likeness": (-1, 1),
    "min_spread": (0, 128),
    "min_sharpness_share": (0, 1),
    "camera_frames": (1, 100),
    "camera_minutes": (0, 1440),
    "silent_minutes": (0.1, 100_000),
    "reopen_minutes": (0, 100_000),
    "escalate_minutes": (1, 100_000),
}


@dataclass(frozen=True)
class MonitorParams:
    """When frames become an alert. Why these rules: docs/adr/0017-monitor.md.

    Attributes:
        open_frames, open_minutes: evidence for a gap: so many frames, and so many minutes (see `latch`).
        low_frames, low_minutes: the same for low stock.
        close_frames, close_minutes: the same for a shelf that was filled again.
        contrary_weight: how much a frame that speaks against a change takes away, in steps of one that speaks for it.
        min_gap_score, min_low_score: of a box that is evidence; a zone with less sure ones is neither empty nor full.
            What is below the thresholds of the bundle is not there at all. 1: no such alerts.
        min_share: of a box that must lie in a zone, or of the zone that it must cover, to be about it.
        max_occluded_share: of a zone that occluders may hide; beyond, the frame says nothing about it. 1: any.
        max_hold_minutes: after which a hidden zone, or a changed view, is looked at nevertheless; only what is seen
            counts then, not what is missing.
        min_likeness: of a frame to the usual view, -1 to 1; below, it says nothing of any zone. -1: any frame counts.
        min_spread: of brightness, 0 to 255; a flatter frame is blind.
        min_sharpness_share: of the usual sharpness; a more blurred frame is blind.
        camera_frames, camera_minutes: evidence for a blinded or moved camera, and for its recovery.
        silent_minutes: without a frame make a camera silent.
        reopen_minutes: within which a gap that returns is the same alert again.
        escalate_minutes: after which an alert that nobody acknowledged is raised by one priority, once.
        learn_facings: watch each place where something was found, where no zones are configured; else the whole view
            is one zone.
        quiet_hours: when nothing is opened, reopened or escalated; of a store, never of a bundle.
    """

    open_frames: int = 3
    open_minutes: float = 10.0
    low_frames: int = 4
    low_minutes: float = 20.0
    close_frames: int = 2
    close_minutes: float = 5.0
    contrary_weight: float = 0.5
    min_gap_score: float = 0.0
    min_low_score: float = 0.0
    min_share: float = 0.5
    max_occluded_share: float = 0.1
    max_hold_minutes: float = 60.0
    min_likeness: float = 0.6
    min_spread: float = 6.0
    min_sharpness_share: float = 0.25
    camera_frames: int = 3
    camera_minutes: float = 15.0
    silent_minutes: float = 30.0
    reopen_minutes: float = 30.0
    escalate_minutes: float = 60.0
    learn_facings: bool = True
    quiet_hours: QuietHours | None = None

    @classmethod
    def from_bundle(cls, values: Mapping[str, Any] | None) -> MonitorParams:
        """Return what the `monitor` of a manifest says; None, as in older bundles, gives the defaults.

        Keys that are not known here are left alone: a newer minor version of the format may add some.

        Raises:
            ConfigError: a value is of another type or out of range.
        """
        known = {field.name for field in fields(cls)} - {"quiet_hours"}
        given = {key: value for key, value in (values or {}).items() if key in known}
        return cls.from_table(Table(given, "monitor"))

    @classmethod
    def from_table(cls, table: Table, base: MonitorParams | None = None) -> MonitorParams:
        """Read the table `monitor` of edge.toml; what it leaves out is as in `base`, the bundle's.

        Raises:
            ConfigError: a value is of another type or out of range, or a key unknown.
        """
        base = base or cls()
        values: dict[str, Any] = {}
        for name, (low, high) in _LIMITS.items():
            default = getattr(base, name)
            if isinstance(default, int):
                values[name] = table.integer(name, default, low=int(low), high=int(high))
            else:
                values[name] = table.number(name, default, low=low, high=high)
        values["learn_facings"] = table.flag("learn_facings", base.learn_facings)
        values["quiet_hours"] = QuietHours.from_table(table.table("quiet_hours")) or base.quiet_hours
        table.done()
        return cls(**values)

    def to_bundle(self) -> dict[str, Any]:
        """Return the values for the `monitor` of a manifest."""
        return {key: value for key, value in asdict(replace(self, quiet_hours=None)).items() if key != "quiet_hours"}

    @property
    def min_scores(self) -> dict[str, float]:
        """Least score of a box that counts, by class name; other classes have none."""
        return {"gap": self.min_gap_score, "low": self.min_low_score}

    @property
    def to_open(self) -> Persistence:
        """Evidence for a gap."""
        return Persistence(self.open_frames, self.open_minutes)

    @property
    def to_call_low(self) -> Persistence:
        """Evidence for low stock."""
        return Persistence(self.low_frames, self.low_minutes)

    @property
    def to_close(self) -> Persistence:
        """Evidence for a filled shelf."""
        return Persistence(self.close_frames, self.close_minutes)

    @property
    def of_camera(self) -> Persistence:
        """Evidence for trouble of a camera, and for its end."""
        return Persistence(self.camera_frames, self.camera_minutes)
