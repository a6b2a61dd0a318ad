"""Availability of the last 24 hours for the status page: summed in one pass, and kept for some seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from shelfgap_edge.monitor.availability import HOUR_S, ObservedHour
from shelfgap_edge.service.page.status import HOURS, AvailabilityStatus, Level

_KEPT_SECONDS = 30.0  # of 24 hours; an open page asks every 20


class RecentAvailability:
    """The availability of now or of a moment ago, so that many open pages cost no more than one.

    Args:
        observed_hours: returns those of all zones.
        clock: seconds that never go back.
    """

    def __init__(
        self, observed_hours: Callable[[], Iterable[ObservedHour]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._observed_hours, self._clock = observed_hours, clock
        self._lock = threading.Lock()
        self._rows: tuple[AvailabilityStatus, ...] = ()
        self._made_at: float | None = None

    def rows(self, now: float) -> tuple[AvailabilityStatus, ...]:
        """Return what `availability_of` does, up to 30 seconds old."""
        with self._lock:
            if self._made_at is None or self._clock() - self._made_at >= _KEPT_SECONDS:
                self._rows = availability_of(self._observed_hours(), now)
                self._made_at = self._clock()
            return self._rows


class _Sums:
    """Weighted seconds of each hour, of a store, a shelf or a zone."""

    def __init__(self, level: Level, name: str, camera_id: str | None, shelf: str | None) -> None:
        self._level, self._name, self._camera_id, self._shelf = level, name, camera_id, shelf
        self.available = [0.0] * HOURS
        self.observed = [0.0] * HOURS

    def status(self) -> AvailabilityStatus:
        hourly = tuple(map(_share, self.available, self.observed))
        share = _share(sum(self.available), sum(self.observed))
        return AvailabilityStatus(self._level, self._name, self._camera_id, self._shelf, share, hourly)


def availability_of(hours: Iterable[ObservedHour], now: float) -> tuple[AvailabilityStatus, ...]:
    """Return the availability of each store, shelf and zone over the last 24 hours, and of each of these hours.

    Args:
        hours: of any zones; none gives nothing.
        now: seconds since the epoch.
    """
    first = int(now // HOUR_S) - HOURS + 1
    stores: dict[str, _Sums] = {}
    shelves: dict[str, _Sums] = {}
    zones: dict[tuple[str, str], _Sums] = {}
    all_of_zone: dict[tuple[str, str], list[_Sums]] = {}  # its own, and those of its shelf and its store
    for hour in hours:
        number = hour.hour_at // HOUR_S - first
        if not 0 <= number < HOURS:
            continue
        key = (hour.camera_id, hour.zone)
        if key not in all_of_zone:
            zones[key] = _Sums("zone", hour.zone, hour.camera_id, hour.shelf)
            all_of_zone[key] = [zones[key]]
            if hour.shelf:
                all_of_zone[key].append(shelves.setdefault(hour.shelf, _Sums("shelf", hour.shelf, None, None)))
            if hour.store:
                all_of_zone[key].append(stores.setdefault(hour.store, _Sums("store", hour.store, None, None)))
        available, observed = hour.weight * hour.available_s, hour.weight * hour.observed_s
        for sums in all_of_zone[key]:
            sums.available[number] += available
            sums.observed[number] += observed
    return tuple(sums.status() for level in (stores, shelves, zones) for sums in level.values())


def _share(available: float, observed: float) -> float | None:
    return available / observed if observed > 0 else None
