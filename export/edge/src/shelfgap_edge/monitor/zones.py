"""Zones: the parts of a camera's view that are watched, each with an alert of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

from shelfgap_edge.toml_table import ConfigError, Table

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 as fractions of the frame."""
Point = tuple[float, float]

_MOST_POINTS = 64
_NARROW = 1 / 12  # of the frame: docs/adr/0017-monitor.md
_LEAST_AREA = 1e-4  # of the frame: one pixel in a hundred each way


@dataclass(frozen=True)
class Zone:
    """A polygon in the view of a camera.

    Attributes:
        name: unique within the camera.
        polygon_norm: corners in order, (x, y) as fractions of the frame, no edge crossing another.
        shelf: which shelf it belongs to, for availability; None for that of the camera.
        weight: how much its gaps matter; 1 for an ordinary zone.
    """

    name: str
    polygon_norm: tuple[Point, ...]
    shelf: str | None = None
    weight: float = 1.0

    @classmethod
    def from_box(cls, name: str, box_norm: Box, shelf: str | None = None, weight: float = 1.0) -> Zone:
        """Return a rectangular zone."""
        x1, y1, x2, y2 = box_norm
        return cls(name, ((x1, y1), (x2, y1), (x2, y2), (x1, y2)), shelf, weight)

    @classmethod
    def from_table(cls, table: Table) -> Zone:
        """Read a zone: `name`, `polygon` (corners as [x, y] in fractions of the frame), `shelf`, `weight`.

        Raises:
            ConfigError: a key is missing, unknown or wrong, or the corners make no polygon.
        """
        name = table.text("name")
        points = table.items("polygon", list)
        shelf = table.text("shelf", None)
        weight = table.number("weight", 1.0, low=0.01, high=100)
        table.done()
        if not 3 <= len(points) <= _MOST_POINTS:
            raise table.wrong("polygon", f"3 to {_MOST_POINTS} corners", f"{len(points)}")
        for point in points:
            if not (len(point) == 2 and all(_is_fraction(value) for value in point)):
                raise table.wrong("polygon", "corners [x, y], each number from 0 to 1", point)
        zone = cls(name, tuple((float(x), float(y)) for x, y in points), shelf, weight)
        if zone.area < _LEAST_AREA:
            raise table.wrong("polygon", "corners around an area of the frame, in order", points)
        if _crosses_itself(zone.polygon_norm):
            raise table.wrong("polygon", "corners in order around the zone, no edge crossing another", points)
        return zone

    @cached_property
    def area(self) -> float:
        """Area as a fraction of the frame."""
        return _area(self.polygon_norm)

    @cached_property
    def bounds_norm(self) -> Box:
        """The smallest box around it."""
        xs, ys = zip(*self.polygon_norm, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    @property
    def is_narrow(self) -> bool:
        """Whether it is narrower than a twelfth of the frame, where alerts are less sure."""
        left, _, right, _ = self.bounds_norm
        return right - left < _NARROW

    def shared_area(self, box_norm: Box) -> float:
        """Return the area that a box shares with the zone, as a fraction of the frame.

        Source: clipping by Sutherland and Hodgman (1974, doi:10.1145/360767.360802), area by the shoelace formula.

        >>> triangle = Zone("t", ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)))
        >>> triangle.shared_area((0.0, 0.0, 0.5, 1.0))
        0.375
        """
        x1, y1, x2, y2 = self.bounds_norm
        if box_norm[0] >= x2 or box_norm[2] <= x1 or box_norm[1] >= y2 or box_norm[3] <= y1:
            return 0.0
        corners: Sequence[Point] = self.polygon_norm
        for axis in (0, 1):
            corners = _clip(corners, axis, box_norm[axis], 1.0)
            corners = _clip(corners, axis, box_norm[axis + 2], -1.0)
        return _area(corners)

    def holds(self, box_norm: Box, min_share: float) -> bool:
        """Say whether a box is about this zone: enough of it lies inside, or it covers enough of the zone.

        The second lets one box over several empty facings count for each of them.
        """
        shared = self.shared_area(box_norm)
        box_area = (box_norm[2] - box_norm[0]) * (box_norm[3] - box_norm[1])
        return shared > 0 and (shared >= min_share * box_area or shared >= min_share * self.area)

    def covered_share(self, boxes_norm: Sequence[Box]) -> float:
        """Return which share of the zone boxes cover, at most; where they overlap it counts twice, up to 1."""
        return min(1.0, sum(self.shared_area(box) for box in boxes_norm) / self.area)


WHOLE_VIEW = Zone.from_box("view", (0.0, 0.0, 1.0, 1.0))
"""The only zone of a camera that has none and learns none."""


def zones_from_tables(tables: Sequence[Table]) -> tuple[Zone, ...]:
    """Read the zones of a camera.

    Raises:
        ConfigError: see `Zone.from_table`; or two have the same name.
    """
    zones = tuple(Zone.from_table(table) for table in tables)
    names = [zone.name for zone in zones]
    for table, name in zip(tables, names, strict=True):
        if names.count(name) > 1:
            raise ConfigError(
                f"{table.where}: name: expected another name for each zone of a camera, got {name!r} twice"
            )
    return zones


def _is_fraction(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _area(corners: Sequence[Point]) -> float:
    turned = zip(corners, [*corners[1:], *corners[:1]], strict=True)
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in turned)) / 2


def _clip(corners: Sequence[Point], axis: int, limit: float, sign: float) -> list[Point]:
    """Cut off what lies beyond a line parallel to an axis: below `limit` for sign 1, above it for -1."""
    kept: list[Point] = []
    for index, corner in enumerate(corners):
        before = corners[index - 1]
        is_in, was_in = sign * (corner[axis] - limit) >= 0, sign * (before[axis] - limit) >= 0
        if is_in != was_in:
            along = (limit - before[axis]) / (corner[axis] - before[axis])
            other = before[1 - axis] + along * (corner[1 - axis] - before[1 - axis])
            kept.append((limit, other) if axis == 0 else (other, limit))
        if is_in:
            kept.append(corner)
    return kept


def _crosses_itself(corners: Sequence[Point]) -> bool:
    edges = [(corners[i - 1], corners[i]) for i in range(len(corners))]
    return any(_cross(*one, *other) for one, other in combinations(edges, 2))


def _cross(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Say whether two edges cross inside; edges that share a corner do not."""
    return _side(a, b, c) * _side(a, b, d) < 0 and _side(c, d, a) * _side(c, d, b) < 0


def _side(a: Point, b: Point, c: Point) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
