"""What a monitor remembers, to JSON and back without a loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

from shelfgap_edge.errors import ShelfgapError
from shelfgap_edge.monitor.alert import Alert
from shelfgap_edge.monitor.availability import Ledger
from shelfgap_edge.monitor.clock import Clock
from shelfgap_edge.monitor.latch import Latch
from shelfgap_edge.monitor.silence import Silence
from shelfgap_edge.monitor.view import View
from shelfgap_edge.monitor.watched_zone import WatchedZone
from shelfgap_edge.monitor.zones import Box

STATE_VERSION = 1
_TIMES = {"since", "turning_since", "counted_at", "hidden_since", "changed_at", "settled_at"}
T = TypeVar("T")


class MonitorStateError(ShelfgapError):
    """A kept state is none of this version; the monitor starts without it."""


@dataclass(frozen=True)
class Memory:
    """Everything that a monitor remembers; see `camera.CameraMonitor`.

    `areas` are those of the usual view, see `reading.areas_of`; None in a state of before they were kept.
    """

    clock: Clock
    silence: Silence
    view: View
    alerts: Mapping[Any, Alert | None]
    watched: Mapping[str, WatchedZone]
    gone: Mapping[str, Alert]
    learnt: int
    facings: Mapping[str, Box]
    areas: tuple[Box, ...] | None


def to_json(memory: Memory) -> dict[str, Any]:
    """Return it as JSON values."""
    return {
        "version": STATE_VERSION,
        "clock": asdict(memory.clock),
        "silence": asdict(memory.silence),
        "view": asdict(memory.view),
        "alerts": {kind: asdict(alert) for kind, alert in memory.alerts.items() if alert is not None},
        "watched": {name: asdict(watched) for name, watched in memory.watched.items()},
        "gone": {name: asdict(alert) for name, alert in memory.gone.items()},
        "learnt": memory.learnt,
        "facings": {name: list(box) for name, box in memory.facings.items()},
        "areas": [list(box) for box in memory.areas or ()],
    }


def from_json(state: Mapping[str, Any]) -> Memory:
    """Return what `to_json` was given.

    Raises:
        MonitorStateError: another version, or not what `to_json` wrote.
    """
    version = state.get("version") if isinstance(state, Mapping) else None
    if version != STATE_VERSION:
        raise MonitorStateError(f"the state of a monitor has version {version!r}, expected {STATE_VERSION}")
    try:
        areas = state.get("areas")
        return Memory(
            Clock(**state["clock"]),
            Silence(**state["silence"]),
            _view(state["view"]),
            {kind: Alert(**alert) for kind, alert in state["alerts"].items()},
            {name: _watched(values) for name, values in state["watched"].items()},
            {name: Alert(**alert) for name, alert in state["gone"].items()},
            int(state["learnt"]),
            {name: _box(values) for name, values in state["facings"].items()},
            None if areas is None else tuple(_box(values) for values in areas),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MonitorStateError(f"the state of a monitor is damaged ({type(error).__name__}: {error})") from None


def not_after(value: T, at: float) -> T:
    """Return something remembered with no time after a moment."""
    if not is_dataclass(value) or isinstance(value, type):
        return value
    changed: dict[str, Any] = {}
    for field in fields(value):
        old = getattr(value, field.name)
        if field.name in _TIMES and old is not None:
            changed[field.name] = min(old, at)
        elif is_dataclass(old):
            changed[field.name] = not_after(old, at)
    return replace(value, **changed)


def _box(values: Sequence[float]) -> Box:
    x1, y1, x2, y2 = map(float, values)
    return x1, y1, x2, y2


def _view(values: Mapping[str, Any]) -> View:
    tuples = {"luma": tuple(values["luma"]), "spread": tuple(values["spread"])}
    latches = {"blinded": Latch(**values["blinded"]), "moved": Latch(**values["moved"])}
    return View(**{**values, **tuples, **latches})


def _watched(values: Mapping[str, Any]) -> WatchedZone:
    alert, ledger = values["alert"], values["ledger"]
    hours = tuple((int(hour), float(available), float(observed)) for hour, available, observed in ledger["hours"])
    rebuilt = {
        "empty": Latch(**values["empty"]),
        "short": Latch(**values["short"]),
        "alert": None if alert is None else Alert(**alert),
        "ledger": Ledger(hours, ledger["settled_at"]),
    }
    return WatchedZone(**{**values, **rebuilt})
