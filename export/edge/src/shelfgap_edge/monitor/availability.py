"""On-shelf availability: the share of the observed time in which a facing was not empty, by the hour."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

HOUR_S = 3600
_KEPT_HOURS = 24
Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Ledger:
    """Observed time of one zone.

    Attributes:
        hours: (hours since the epoch, available seconds, observed seconds), the last 24, oldest first.
        settled_at: up to when time was entered, seconds; None before the first frame.
    """

    hours: tuple[tuple[int, float, float], ...] = ()
    settled_at: float | None = None

    def settle(self, until: float, is_available: bool) -> Ledger:
        """Enter the time up to a moment; a moment before the last one enters nothing.

        >>> Ledger(settled_at=3000.0).settle(4200.0, True).settle(4800.0, False).hours
        ((0, 600.0, 600.0), (1, 600.0, 1200.0))
        """
        at = until if self.settled_at is None else self.settled_at
        entered = {hour: (available, observed) for hour, available, observed in self.hours}
        at = max(at, until - _KEPT_HOURS * HOUR_S)
        while at < until:
            hour = int(at // HOUR_S)
            seconds = min(until, float((hour + 1) * HOUR_S)) - at
            available, observed = entered.get(hour, (0.0, 0.0))
            entered[hour] = (available + seconds * is_available, observed + seconds)
            at += seconds
        # hours that lie ahead are of a clock that was wrong
        past = sorted(hour for hour in entered if hour * HOUR_S <= at)[-_KEPT_HOURS:]
        return Ledger(tuple((hour, *entered[hour]) for hour in past), max(at, until))

    def skip(self, until: float) -> Ledger:
        """Leave out the time up to a moment: nobody looked."""
        return replace(self, settled_at=until)


@dataclass(frozen=True)
class ObservedHour:
    """An hour of one zone.

    Attributes:
        store, shelf, camera_id, zone: which.
        weight: of the zone.
        hour_at: begin of the hour, seconds since the epoch.
        available_s: of it the zone was not empty.
        observed_s: of it the zone was watched.
    """

    store: str | None
    shelf: str | None
    camera_id: str
    zone: str
    weight: float
    hour_at: int
    available_s: float
    observed_s: float


def share(hours: Iterable[ObservedHour]) -> float | None:
    """Return the availability over hours of any zones, weighted, 0 to 1; None where nothing was observed."""
    listed = list(hours)
    observed = sum(hour.weight * hour.observed_s for hour in listed)
    return sum(hour.weight * hour.available_s for hour in listed) / observed if observed > 0 else None


def shares_by(hours: Iterable[ObservedHour], key: Callable[[ObservedHour], Key]) -> dict[Key, float]:
    """Return the availability of groups of hours: `lambda hour: hour.shelf` for shelves, with `hour_at` over time."""
    groups: dict[Key, list[ObservedHour]] = {}
    for hour in hours:
        groups.setdefault(key(hour), []).append(hour)
    return {name: value for name, members in groups.items() if (value := share(members)) is not None}
