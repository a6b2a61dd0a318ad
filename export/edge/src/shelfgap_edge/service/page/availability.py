"""The section of availability: stores and shelves with their last 24 hours, zones to unfold."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set

from shelfgap_edge.service.page.html import Html, element, unfolding
from shelfgap_edge.service.page.moments import Clock
from shelfgap_edge.service.page.status import AvailabilityStatus

_STRIP_HEIGHT = 26
_MOST_ZONES = 200  # a row has the weight of 4 kB


def availability_section(entries: Sequence[AvailabilityStatus], clock: Clock) -> Html:
    """Return the section; the worst shelf and the worst zone come first, and only the worst zones are shown."""
    texts = clock.texts
    stores = [entry for entry in entries if entry.level == "store"]
    shelves = sorted((entry for entry in entries if entry.level == "shelf"), key=_worst_first)
    zones = sorted((entry for entry in entries if entry.level == "zone"), key=_worst_first)
    shown, left_out = set(zones[:_MOST_ZONES]), len(zones) - _MOST_ZONES
    by_shelf: dict[str | None, list[AvailabilityStatus]] = {shelf.name: [] for shelf in shelves}
    elsewhere: list[AvailabilityStatus] = []
    for zone in zones:
        by_shelf.get(zone.shelf, elsewhere).append(zone)
    rest = (
        _zones(None, elsewhere, shown, clock)
        if stores or shelves
        else _rows([z for z in elsewhere if z in shown], clock)
    )
    body = [
        _rows([*stores, *shelves], clock) if stores or shelves else None,
        *(_zones(f"{texts.shelf} {name}", of_shelf, shown, clock) for name, of_shelf in by_shelf.items()),
        rest if elsewhere else None,
        element("p", texts.fuller_zones.format(left_out), class_="meta") if left_out > 0 else None,
    ]
    return element(
        "section",
        element(
            "h2", texts.availability, " ", element("small", texts.over_24_hours, class_="meta"), id="availability-title"
        ),
        element("div", *body, class_="sheet") if entries else element("p", texts.no_availability, class_="sheet empty"),
        id="availability",
        aria_labelledby="availability-title",
        tabindex="-1",
    )


def _worst_first(entry: AvailabilityStatus) -> tuple[float, str]:
    return (2.0 if entry.share is None else entry.share, entry.name)


def _zones(
    shelf: str | None, zones: Sequence[AvailabilityStatus], shown: Set[AvailabilityStatus], clock: Clock
) -> Html | None:
    if shown.isdisjoint(zones):
        return None
    texts = clock.texts
    count = (texts.one_zone if len(zones) == 1 else texts.many_zones).format(len(zones))
    return unfolding(
        f"{texts.other_zones if shelf is None else shelf}{texts.colon}{count}",
        _rows([zone for zone in zones if zone in shown], clock),
        id="zones-" + re.sub(r"\s", "-", shelf or ""),
    )


def _rows(entries: Sequence[AvailabilityStatus], clock: Clock) -> Html:
    return element("ul", *(_row(entry, clock) for entry in entries), class_="rows wide", role="list")


def _row(entry: AvailabilityStatus, clock: Clock) -> Html:
    texts = clock.texts
    name = {
        "store": entry.name,
        "shelf": f"{texts.shelf} {entry.name}",
        "zone": entry.name if entry.camera_id is None else f"{entry.camera_id} · {entry.name}",
    }[entry.level]
    shown = element("b", name) if entry.level == "store" else element("span", name)
    return element(
        "li",
        shown,
        element("span", clock.percent(entry.share), class_="share"),
        _strip(name, entry.hourly, clock),
    )


def _strip(name: str, hourly: Sequence[float | None], clock: Clock) -> Html:
    """Draw a column an hour; one that was not observed is a hairline."""
    texts = clock.texts
    columns = []
    width = 100 / max(len(hourly), 1)
    for number, share in enumerate(hourly):
        x = f"{number * width:.3f}%"
        if share is None:
            columns.append(_column(x, width, _STRIP_HEIGHT - 1, 1, "base"))
            continue
        height = max(1.0, share * _STRIP_HEIGHT)
        columns.append(_column(x, width, 0, _STRIP_HEIGHT, "base"))
        columns.append(_column(x, width, _STRIP_HEIGHT - height, height, "strip-bar"))
    spoken = ", ".join(texts.not_observed if share is None else clock.percent(share) for share in hourly)
    label = texts.by_hour.format(name, spoken)
    return element("svg", *columns, class_="strip", height=_STRIP_HEIGHT, role="img", aria_label=label)


def _column(x: str, width: float, y: float, height: float, style: str) -> Html:
    return element("rect", x=x, y=f"{y:.1f}", width=f"{width * 0.82:.3f}%", height=f"{height:.1f}", class_=style)
