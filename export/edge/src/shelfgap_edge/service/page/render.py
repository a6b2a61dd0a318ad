"""The status page as one self-contained HTML document."""

from __future__ import annotations

from shelfgap_edge.service.page.alerts import alerts_section
from shelfgap_edge.service.page.availability import availability_section
from shelfgap_edge.service.page.cameras import cameras_section, is_well
from shelfgap_edge.service.page.html import Html, element, join
from shelfgap_edge.service.page.language import Language
from shelfgap_edge.service.page.moments import Clock
from shelfgap_edge.service.page.status import Status
from shelfgap_edge.service.page.style import REFRESH_SECONDS, SCRIPT, STYLE
from shelfgap_edge.service.page.texts import TEXTS
from shelfgap_edge.service.page.timeline import timeline_section


def render(status: Status, language: Language) -> str:
    """Return the page.

    Args:
        status: what it shows.
        language: "en" or "fr".
    """
    texts = TEXTS[language]
    clock = Clock(status.at, status.time_zone, language)
    waiting = sum(alert.action != "acknowledged" for alert in status.alerts)
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("title", f"({waiting}) " if waiting else "", f"{texts.page} · {status.title}"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),
        element("noscript", element("meta", http_equiv="refresh", content=REFRESH_SECONDS)),
        element("style", Html(STYLE)),
    )
    body = element(
        "body",
        element("a", texts.skip, class_="skip", href="#alerts"),
        _header(status, language),
        element(
            "main",
            element("p", texts.unreachable, class_="note", id="stale", role="alert", hidden=True),
            element("p", id="said", class_="skip", role="status"),
            _content(status, clock, language, waiting),
        ),
        _footer(status, clock),
        element("script", Html(SCRIPT)),
    )
    return "<!doctype html>\n" + element("html", head, body, lang=language)


def _header(status: Status, language: Language) -> Html:
    texts = TEXTS[language]
    other = "fr" if language == "en" else "en"
    names = {
        "alerts": texts.open_alerts,
        "availability": texts.availability,
        "cameras": texts.cameras,
        "timeline": texts.timeline,
    }
    links = [element("li", element("a", name, href=f"#{section}")) for section, name in names.items()]
    return element(
        "header",
        element("h1", element("small", texts.page), status.title),
        element(
            "div",
            element(
                "button",
                texts.pause,
                type="button",
                class_="quiet",
                id="pause",
                hidden=True,
                data_pause=texts.pause,
                data_resume=texts.resume,
            ),
            element("a", texts.other_language, href=f"?lang={other}", lang=other, hreflang=other),
            class_="tools",
        ),
        element("nav", element("ul", *links, role="list"), aria_label=texts.sections),
    )


def _content(status: Status, clock: Clock, language: Language, waiting: int) -> Html:
    """Return what the script replaces when it refreshes the page."""
    texts = clock.texts
    not_ready = ", ".join(texts.problems[problem.kind].format(problem.detail) for problem in status.problems)
    problems = (
        element("p", element("strong", f"{texts.not_ready}{texts.colon}"), not_ready, class_="note")
        if not_ready
        else None
    )
    summary = f"{texts.open_alerts}{texts.colon}{len(status.alerts)}. {texts.to_acknowledge.format(waiting)}."
    refused = (
        element("p", element("strong", f"{texts.bundle_refused}{texts.colon}"), status.bundle_failure, class_="note")
        if status.bundle_failure is not None
        else None
    )
    undelivered = {sink: count for sink, count in status.waiting.items() if count}
    listed = ", ".join(f"{sink} {count}" for sink, count in sorted(undelivered.items()))
    backlog = element("p", f"{texts.undelivered}{texts.colon}{listed}", class_="note") if undelivered else None
    return element(
        "div",
        element("p", _updated(clock), class_="meta"),
        problems,
        refused,
        backlog,
        _tiles(status, clock, waiting),
        alerts_section(status.alerts, clock, language, status.form_token),
        availability_section(status.availability, clock),
        cameras_section(status.cameras, status.sources, clock),
        timeline_section(status.timeline, status.alerts, clock),
        id="content",
        # Said when it changes; an element of role alert would be said with each refresh.
        data_summary=f"{summary} {texts.not_ready}{texts.colon}{not_ready}." if not_ready else summary,
    )


def _tiles(status: Status, clock: Clock, waiting: int) -> Html:
    texts = clock.texts
    well = sum(is_well(camera) for camera in status.cameras)
    stores = [entry for entry in status.availability if entry.level == "store" and entry.share is not None]
    shown = min((entry.share for entry in stores if entry.share is not None), default=None)
    of = texts.of_cameras.format(len(status.cameras))
    return element(
        "dl",
        _tile(texts.open_alerts, str(len(status.alerts)), texts.to_acknowledge.format(waiting), bad=waiting > 0),
        _tile(texts.store_availability, clock.percent(shown), texts.over_24_hours),
        _tile(texts.cameras_watching, str(well), of, bad=well < len(status.cameras)),
        class_="tiles",
    )


def _tile(name: str, value: str, about: str, *, bad: bool = False) -> Html:
    return element(
        "div",
        element("dt", name),
        element("dd", value, " ", element("small", about), class_="bad" if bad else None),
        class_="tile",
    )


def _updated(clock: Clock) -> Html:
    before, after = clock.texts.updated.split("{}")
    return join(before, clock.moment(clock.now), after)


def _footer(status: Status, clock: Clock) -> Html:
    texts = clock.texts
    before, after = texts.running_since.split("{}")
    return element(
        "footer",
        element(
            "p",
            f"shelfgap-edge {status.version} · {status.bundle or texts.no_bundle} · ",
            join(before, clock.moment(status.started_at), after),
            f" · {status.time_zone}",
        ),
    )
