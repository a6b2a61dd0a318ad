"""The section of open alerts, each with the form that acknowledges it."""

from __future__ import annotations

from collections.abc import Sequence

from shelfgap_edge.alerts.event import AlertEvent, Kind
from shelfgap_edge.service.page.html import Html, element, join
from shelfgap_edge.service.page.language import Language
from shelfgap_edge.service.page.moments import Clock
from shelfgap_edge.service.page.texts import TEXTS

ACKNOWLEDGE_PATH = "/alerts/{alert_id}/acknowledge"
"""Where the form of an alert is sent, with the fields `token` and `lang`."""
_SHAPES = {  # a word has a shape beside its colour
    "gap": "M0 0h10v10H0zM3 3v4h4V3z",
    "low": "M0 5h10v5H0z",
    "trouble": "M5 0l5 10H0z",
    "good": "M5 0a5 5 0 1 1 0 10A5 5 0 0 1 5 0z",
    "": "M0 4h10v2H0z",
}


def tone(kind: Kind) -> str:
    """Return the class of style for a kind of alert."""
    return kind if kind in ("gap", "low") else "trouble"


def word(text: str, style: str) -> Html:
    """Return a word in the colour and with the shape of a class of style."""
    shape = element(
        "svg", element("path", d=_SHAPES[style], fill_rule="evenodd"), viewBox="0 0 10 10", aria_hidden="true"
    )
    return element("span", shape, text, class_=f"word {style}".strip())


def place(event: AlertEvent) -> str:
    """Return what an alert is about in a word: its zone, or its camera."""
    return event.camera_id if event.zone is None else f"{event.camera_id} · {event.zone}"


def alerts_section(alerts: Sequence[AlertEvent], clock: Clock, language: Language, form_token: str) -> Html:
    """Return the section; who waits longest for a person comes first."""
    texts = TEXTS[language]
    order = sorted(alerts, key=lambda one: (one.action == "acknowledged", one.priority, one.since))
    cards = [_card(event, clock, language, form_token) for event in order]
    return element(
        "section",
        element("h2", texts.open_alerts, id="alerts-title"),
        element("ul", *cards, class_="cards", role="list")
        if cards
        else element("p", texts.no_alerts, class_="sheet empty"),
        id="alerts",
        aria_labelledby="alerts-title",
        tabindex="-1",
    )


def _card(event: AlertEvent, clock: Clock, language: Language, form_token: str) -> Html:
    texts = clock.texts
    name = f"{texts.kinds[event.kind]}, {place(event)}"
    where = " · ".join(part for part in (event.store, event.shelf) if part)
    facts = [texts.for_so_long.format(clock.duration(clock.now - event.since))]
    if event.gap_width_norm is not None:
        facts.append(texts.gap_width.format(clock.percent(event.gap_width_norm)))
    state = join(texts.actions[event.action], " ", clock.moment(event.at))
    return element(
        "li",
        element(
            "div",
            word(texts.kinds[event.kind], tone(event.kind)),
            element("span", texts.priority.format(event.priority)),
            class_="top",
        ),
        element("h3", place(event)),
        element("p", where) if where else None,
        element("p", " · ".join(facts)),
        element("p", state, class_="meta"),
        None if event.action == "acknowledged" else _form(event, name, language, form_token),
        class_=f"card {tone(event.kind)}",
    )


def _form(event: AlertEvent, name: str, language: Language, form_token: str) -> Html:
    texts = TEXTS[language]
    return element(
        "form",
        element("input", type="hidden", name="token", value=form_token),
        element("input", type="hidden", name="lang", value=language),
        element(
            "button",
            texts.acknowledge,
            type="submit",
            id=f"acknowledge-{event.alert_id}",
            aria_label=texts.acknowledge_what.format(name),
        ),
        method="post",
        action=ACKNOWLEDGE_PATH.format(alert_id=event.alert_id),
    )
