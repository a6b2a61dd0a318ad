"""Quiet hours: when nobody shall be told, by the clock on the wall of the store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

from shelfgap_edge.toml_table import Table


@dataclass(frozen=True)
class QuietHours:
    """From a time of day to another, which may lie past midnight; the first belongs to it, the last does not.

    Attributes:
        start, end: local times of day.
        zone: the time zone of the store.
    """

    start: time
    end: time
    zone: ZoneInfo

    @classmethod
    def from_table(cls, table: Table) -> QuietHours | None:
        """Read `from`, `to` ("21:30") and `time_zone` ("Europe/Paris"); None where all three are left out.

        Raises:
            ConfigError: one is missing, unknown or wrong.
        """
        names = ("from", "to", "time_zone")
        given = [table.text(name, None) for name in names]
        table.done()
        if given == [None, None, None]:
            return None
        for name, value in zip(names, given, strict=True):
            if value is None:
                raise table.wrong(name, "a value beside the other two of from, to and time_zone", None)
        try:
            zone = ZoneInfo(given[2])
        except (KeyError, OSError, ValueError):  # not found, a folder of the database, not a name
            raise table.wrong("time_zone", "a name of the IANA time zone database", given[2]) from None
        return cls(_time_of_day(table, "from", given[0]), _time_of_day(table, "to", given[1]), zone)

    def covers(self, at: float) -> bool:
        """Say whether a moment (seconds since the epoch) is quiet; equal times of day are never quiet.

        The moment is converted to local time, never a local time to a moment: an hour that a change of the clocks
        leaves out or repeats needs no rule.
        """
        now = datetime.fromtimestamp(at, UTC).astimezone(self.zone).time()
        if self.start <= self.end:
            return self.start <= now < self.end
        return now >= self.start or now < self.end


def _time_of_day(table: Table, key: str, text: str) -> time:
    try:
        return datetime.strptime(text, "%H:%M").time()
    except ValueError:
        raise table.wrong(key, 'a time of day such as "21:30"', text) from None
