"""Times, durations and shares as people of a language read them."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from shelfgap_edge.service.page.html import Html, element
from shelfgap_edge.service.page.language import Language
from shelfgap_edge.service.page.texts import TEXTS

_NBSP = "\u00a0"


class Clock:
    """Shows times of one page.

    Args:
        now: seconds since the epoch.
        time_zone: IANA name; UTC is shown where the machine does not know it.
        language: of the page.
    """

    def __init__(self, now: float, time_zone: str, language: Language) -> None:
        self.now = now
        self.texts = TEXTS[language]
        self._language = language
        self._zone = _zone(time_zone)

    def local(self, at: float) -> datetime:
        """Return a moment in the zone of the page; one that no calendar holds becomes the begin of time."""
        try:
            return datetime.fromtimestamp(at, self._zone)
        except (ValueError, OverflowError, OSError):
            return datetime.fromtimestamp(0, self._zone)

    def moment(self, at: float) -> Html:
        """Return weekday and time, `Tue 14:05`; the date too where it is more than six days away."""
        local = self.local(at)
        text = self.texts.day_time.format(
            weekday=self.texts.weekdays[local.weekday()], hour=local.hour, minute=local.minute
        )
        if abs(at - self.now) > 6 * 86400:
            text = f"{local:%Y-%m-%d} {local:%H:%M}"
        return element("time", text.replace(" ", _NBSP), datetime=local.isoformat(timespec="seconds"))

    def age(self, at: float | None) -> str:
        """Return how long ago a moment was, `4 min ago`."""
        if at is None:
            return self.texts.never
        template = self.texts.ago if at <= self.now + 1 else self.texts.ahead
        return template.format(self.duration(abs(self.now - at)))

    def duration(self, seconds: float) -> str:
        """Return a duration in its two largest units, `2 h 10 min`.

        >>> clock = Clock(0.0, "UTC", "en")
        >>> [clock.duration(value).replace(chr(160), " ") for value in (0.4, 59, 600, 7800, 200000)]
        ['0 s', '59 s', '10 min', '2 h 10 min', '2 d 7 h']
        """
        day = "j" if self._language == "fr" else "d"
        whole = int(min(max(seconds, 0.0), 1e9))
        if whole < 60:
            return f"{whole}{_NBSP}s"
        if whole < 3600:
            return f"{whole // 60}{_NBSP}min"
        big, small, names = (whole // 3600, whole // 60 % 60, ("h", "min"))
        if whole >= 86400:
            big, small, names = (whole // 86400, whole // 3600 % 24, (day, "h"))
        return f"{big}{_NBSP}{names[0]}" + (f"{_NBSP}{small}{_NBSP}{names[1]}" if small else "")

    def percent(self, share: float | None) -> str:
        """Return a share in percent, never 100 while something is missing; a dash for None."""
        if share is None:
            return "–"
        value = min(100.0 * share, 99.0) if share < 1 else 100.0
        return self.texts.percent.format(value)


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        return UTC
