"""Shelf-days: their frames, and when each facing was empty, low or full, from `timeline.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shelfgap_datasets.frames import read_frame
from shelfgap_datasets.pictures import read_picture
from shelfgap_datasets.schema import DatasetError
from shelfgap_edge.errors import FrameError
from shelfgap_edge.image import decode_jpeg, frame_from_array
from shelfgap_edge.monitor.zones import Zone

TIMELINE_FILE = "timeline.json"
_LEAST_WIDTH, _LEAST_HEIGHT = 0.03, 0.08  # of the frame: slivers at its border are no facing that anybody would watch


@dataclass(frozen=True)
class Span:
    """A time in which a facing was in one state: [start, end), seconds since the epoch."""

    start: float
    end: float
    state: str

    @property
    def minutes(self) -> float:
        """Its length."""
        return (self.end - self.start) / 60


@dataclass(frozen=True)
class ShelfDay:
    """A day before one camera.

    Attributes:
        name: unique among the days that are evaluated.
        files: frames in order, as paths below the dataset's images.
        times: when they were taken, seconds since the epoch; the clock of the store read as UTC.
        zones: one for each facing that is large enough in the frame.
        spans: of each zone by name, from the first frame to the last, without holes.
        looks_empty: of each zone by name, when low stock stays hidden behind its neighbours.
    """

    name: str
    files: tuple[str, ...]
    times: tuple[float, ...]
    zones: tuple[Zone, ...]
    spans: Mapping[str, tuple[Span, ...]]
    looks_empty: Mapping[str, tuple[Span, ...]]

    @property
    def frame_s(self) -> float:
        """Time between frames, seconds: the median."""
        steps = sorted(b - a for a, b in zip(self.times, self.times[1:], strict=False))
        return steps[len(steps) // 2]

    def gaps(self, min_minutes: float) -> list[tuple[str, Span]]:
        """Return (zone, span) of each gap that lasted longer."""
        return self.times_of("gap", min_minutes)

    def times_of(self, state: str, min_minutes: float) -> list[tuple[str, Span]]:
        """Return (zone, span) of each time in a state that lasted longer."""
        return [
            (name, span)
            for name, spans in self.spans.items()
            for span in spans
            if span.state == state and span.minutes > min_minutes
        ]

    def shown(self, zone: str, states: frozenset[str], start: float, end: float) -> bool:
        """Say whether a zone was in one of some states at any time in [start, end], or looked like it."""
        spans = (*self.spans[zone], *self.looks_empty[zone])
        return any(s.state in states and s.start <= end and s.end > start for s in spans)

    def availability(self) -> float:
        """Return the true share of time and zones that were not empty."""
        spans = [span for spans in self.spans.values() for span in spans]
        return sum(s.minutes for s in spans if s.state != "gap") / sum(s.minutes for s in spans)


def read_days(root: Path) -> list[ShelfDay]:
    """Read the days of a dataset that `shelfgap data synth-days` wrote, or that is laid out like it.

    Raises:
        DatasetError: no timeline, or none that can be read; or the first frame of a day cannot.
    """
    path = root / TIMELINE_FILE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        days = [_read_day(day, _size_of(root, day["frames"][0]["file_name"])) for day in raw["days"]]
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file; shelf-days have one: shelfgap data synth-days DIR") from None
    except (OSError, UnicodeDecodeError, ValueError, LookupError, TypeError) as error:
        raise DatasetError(f"{path}: cannot be read as a timeline ({type(error).__name__}: {error})") from None
    if not days or not all(len(day.files) > 1 and day.zones for day in days):
        raise DatasetError(f"{path}: expected days of two frames and one facing at least, got {len(days)} days")
    return days


def _size_of(root: Path, file_name: str) -> tuple[int, int]:
    try:
        frame = read_frame(read_picture(root, file_name))
        return (decode_jpeg(frame) if isinstance(frame, bytes) else frame_from_array(frame)).full_size
    except (FrameError, OSError) as error:
        raise DatasetError(f"{root}: {file_name}, the first frame of a day, cannot be read: {error}") from None


def _read_day(raw: Mapping[str, Any], size: tuple[int, int]) -> ShelfDay:
    times = tuple(_seconds(frame["time"]) for frame in raw["frames"])
    zones: list[Zone] = []
    spans: dict[str, tuple[Span, ...]] = {}
    looks_empty: dict[str, tuple[Span, ...]] = {}
    for facing in raw["facings"]:
        if facing["box_xyxy"] is None:
            continue
        x1, y1, x2, y2 = facing["box_xyxy"]
        box = (x1 / size[1], y1 / size[0], x2 / size[1], y2 / size[0])
        if box[2] - box[0] < _LEAST_WIDTH or box[3] - box[1] < _LEAST_HEIGHT:
            continue
        zone = Zone.from_box(f"facing-{facing['facing']}", box, shelf=str(facing["shelf"]))
        zones.append(zone)
        spans[zone.name] = _spans([(_seconds(c["time"]), c["state"]) for c in facing["changes"]], times[0], times[-1])
        looks_empty[zone.name] = tuple(
            Span(_seconds(first), _seconds(last) + 1, "gap") for first, last in facing.get("looks_empty", ())
        )
    files = tuple(f["file_name"] for f in raw["frames"])
    return ShelfDay(f"day-{raw['day']:02d}", files, times, tuple(zones), spans, looks_empty)


def _spans(changes: list[tuple[float, str]], first: float, last: float) -> tuple[Span, ...]:
    """Turn changes into spans within [first, last]; neighbours in one state are one."""
    found: list[Span] = []
    for index, (start, state) in enumerate(changes):
        end = changes[index + 1][0] if index + 1 < len(changes) else last
        start, end = max(start, first), min(end, last)
        if end <= start:
            continue
        if found and found[-1].state == state:
            found[-1] = Span(found[-1].start, end, state)
        else:
            found.append(Span(start, end, state))
    return tuple(found)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
