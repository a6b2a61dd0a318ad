"""The section of the last 24 hours: a bar for each alert, drawn without a script, and the same as a list."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from shelfgap_edge.alerts.event import AlertEvent, Kind
from shelfgap_edge.service.page.alerts import place, tone, word
from shelfgap_edge.service.page.html import Html, element, unfolding
from shelfgap_edge.service.page.moments import Clock

DAY_SECONDS = 86400.0
_MOST_LANES = 24
_MOST_EVENTS = 200
_LANE_HEIGHT = 14
_AXIS_HEIGHT = 18


@dataclass(frozen=True)
class Span:
    """An alert from its begin to its end, cut to the last 24 hours.

    Attributes:
        place: its zone or camera.
        kind: the gravest it was.
        start, end: seconds since the epoch.
    """

    place: str
    kind: Kind
    start: float
    end: float


def spans(timeline: Sequence[AlertEvent], open_alerts: Sequence[AlertEvent], now: float) -> list[Span]:
    """Return one for each time that an alert was open within the last 24 hours, oldest first."""
    by_alert: defaultdict[str, dict[int, AlertEvent]] = defaultdict(dict)
    for event in (*timeline, *open_alerts):
        by_alert[event.alert_id][event.sequence] = event
    found = []
    for numbered in by_alert.values():
        steps = [numbered[number] for number in sorted(numbered)]
        start: float | None = steps[0].since
        kind = steps[0].kind
        for step in steps:
            if start is None:
                start = step.at if step.action == "reopened" else step.since
            kind = "gap" if step.kind == "gap" else kind
            if step.action == "resolved":
                found.append(Span(place(step), kind, start, step.at))
                start, kind = None, step.kind
        if start is not None:
            found.append(Span(place(steps[-1]), kind, start, now))
    first = now - DAY_SECONDS
    cut = [Span(one.place, one.kind, max(one.start, first), min(one.end, now)) for one in found]
    return sorted((one for one in cut if one.end > first and one.start <= one.end), key=lambda one: one.start)


def timeline_section(timeline: Sequence[AlertEvent], open_alerts: Sequence[AlertEvent], clock: Clock) -> Html:
    """Return the section."""
    texts = clock.texts
    recent = sorted((event for event in timeline if event.at > clock.now - DAY_SECONDS), key=lambda event: -event.at)
    lanes: defaultdict[str, list[Span]] = defaultdict(list)
    for span in spans(timeline, open_alerts, clock.now):
        lanes[span.place].append(span)
    latest = sorted(lanes, key=lambda name: (-max(span.end for span in lanes[name]), name))
    left_out = len(latest) - _MOST_LANES
    drawn = [_lane(name, lanes[name], clock) for name in latest[:_MOST_LANES]]
    return element(
        "section",
        element("h2", texts.timeline, id="timeline-title"),
        element(
            "div",
            element("p", texts.timeline_about, class_="meta"),
            element("ul", _axis(clock), *drawn, class_="lanes", role="list", aria_hidden="true") if drawn else None,
            element("p", texts.more_rows.format(left_out), class_="meta") if left_out > 0 else None,
            _list(recent, clock),
            class_="sheet",
        )
        if recent or drawn
        else element("p", texts.no_events, class_="sheet empty"),
        id="timeline",
        aria_labelledby="timeline-title",
        tabindex="-1",
    )


def _lane(name: str, of_lane: Sequence[Span], clock: Clock) -> Html:
    bars = [
        element(
            "rect",
            x=f"{_percent(span.start, clock.now):.2f}%",
            width=f"{max(0.4, _percent(span.end, clock.now) - _percent(span.start, clock.now)):.2f}%",
            y=0 if tone(span.kind) == "gap" else _LANE_HEIGHT / 2,
            height=_LANE_HEIGHT if tone(span.kind) == "gap" else _LANE_HEIGHT / 2,
            rx=2,
            class_=f"bar {tone(span.kind)}",
        )
        for span in of_lane
    ]
    base = element("rect", x=0, y=0, width="100%", height=_LANE_HEIGHT, rx=2, class_="base")
    return element("li", element("span", name), element("svg", base, *bars, class_="bars", height=_LANE_HEIGHT))


def _axis(clock: Clock) -> Html:
    """Write the hours above the bars: every sixth of the clock on the wall."""
    begin = clock.now - DAY_SECONDS
    hour = clock.local(begin).replace(minute=0, second=0, microsecond=0)
    marks = []
    for step in range(1, 26):
        moment = clock.local(hour.timestamp() + timedelta(hours=step).total_seconds())
        x = _percent(moment.timestamp(), clock.now)
        if moment.hour % 6 == 0 and 4 < x < 96:
            marks.append(element("text", f"{moment.hour:02d}:00", x=f"{x:.2f}%", y=13, text_anchor="middle"))
    return element("li", element("span"), element("svg", *marks, class_="bars", height=_AXIS_HEIGHT))


def _list(recent: Sequence[AlertEvent], clock: Clock) -> Html | None:
    if not recent:
        return None
    texts = clock.texts
    left_out = len(recent) - _MOST_EVENTS
    return unfolding(
        f"{texts.events} ({len(recent)})",
        element("ol", *(_event(event, clock) for event in recent[:_MOST_EVENTS]), class_="log", role="list"),
        element("p", texts.older_left_out.format(left_out), class_="meta") if left_out > 0 else None,
        id="events",
    )


def _event(event: AlertEvent, clock: Clock) -> Html:
    texts = clock.texts
    what = element(
        "span", word(texts.kinds[event.kind], tone(event.kind)), f" {texts.actions[event.action]}, {place(event)}"
    )
    return element("li", clock.moment(event.at), what)


def _percent(at: float, now: float) -> float:
    return min(100.0, max(0.0, 100 * (at - (now - DAY_SECONDS)) / DAY_SECONDS))
