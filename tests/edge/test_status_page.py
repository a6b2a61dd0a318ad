"""The status page without a browser: what it says, in which language, and that nothing of it can become markup."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shelfgap_edge.alerts.event import ACTIONS, KINDS
from shelfgap_edge.service.page.language import choose_language
from shelfgap_edge.service.page.moments import Clock
from shelfgap_edge.service.page.render import render
from shelfgap_edge.service.page.status import CAMERA_STATES, AvailabilityStatus, CameraStatus, Status
from shelfgap_edge.service.page.style import CONTENT_SECURITY_POLICY
from shelfgap_edge.service.page.texts import TEXTS
from shelfgap_edge.service.page.timeline import spans
from shelfgap_edge.service.trouble import Trouble
from shelfgap_edge.sources.state import SourceState
from shop_status import HOUR, NOW, event, shop_status


class Reader(HTMLParser):
    """Reads a page strictly: every element is closed in order, ids are unique."""

    VOID = ("meta", "link", "input", "br")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []
        ids = [attributes["id"] for _, attributes in self.tags if "id" in attributes]
        assert len(ids) == len(set(ids))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text += data


EMPTY = Status(NOW, NOW, "Box", "0", None, "UTC", (), {}, (), (), (), (), ())


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("status", [shop_status(), EMPTY], ids=["busy", "empty"])
def test_a_page_is_whole_and_asks_for_nothing(language, status):
    page = render(status, language)
    reader = Reader(page)
    names = [tag for tag, _ in reader.tags]
    assert names.count("h1") == names.count("main") == names.count("header") == names.count("footer") == 1
    assert not {"img", "picture", "video", "canvas", "iframe", "object"} & set(names)
    for tag, attributes in reader.tags:
        assert not any(name.startswith("on") or name in ("src", "style") for name in attributes), (tag, attributes)
        for name in ("href", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "?lang=", "data:,", "/alerts/"))
    assert reader.tags[0] == ("html", {"lang": language})


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "3 to acknowledge. Not ready: alerts cannot be stored: disk full, the service is stopping."),
        (
            "fr",
            "3 à prendre en charge. Indisponible : les alertes ne peuvent pas être enregistrées : disk full, "
            "le service s’arrête.",
        ),
    ],
)
def test_what_is_said_of_trouble_is_said_once_and_not_with_each_refresh(language, said):
    status = replace(shop_status(), problems=(Trouble("outbox", "disk full"), Trouble("stopping")))
    assert status.to_dict()["problems"] == ["the outbox cannot be written: disk full", "the service stops"]
    reader = Reader(render(status, language))
    (summary,) = [a["data-summary"] for tag, a in reader.tags if a.get("id") == "content"]
    assert summary.endswith(said)
    assert [a["id"] for _, a in reader.tags if a.get("role") == "alert"] == ["stale"], "new with each refresh"
    assert all("id" in a for tag, a in reader.tags if tag == "summary"), "without it a refresh takes the focus away"


def test_without_an_alert_nothing_is_claimed_of_the_shelves():
    waiting = CameraStatus("a1", "waiting", None, 0, {})
    for language, said in (("en", "No open alert."), ("fr", "Aucune alerte ouverte.")):
        assert f">{said}</p>" in render(replace(EMPTY, cameras=(waiting,)), language)


def test_of_many_zones_the_worst_are_shown():
    zones = tuple(AvailabilityStatus("zone", f"zone-{n}", "a1", None, n / 1000, (n / 1000,) * 24) for n in range(1000))
    page = render(replace(EMPTY, availability=zones[::-1]), "en")
    assert "zone-0<" in page
    assert "zone-199<" in page
    assert "zone-200<" not in page
    on_shelf = tuple(replace(zone, shelf="A" if n % 2 else "B") for n, zone in enumerate(zones))
    shelves = tuple(AvailabilityStatus("shelf", name, None, None, 0.5, (0.5,) * 24) for name in "AB")
    shelved = render(replace(EMPTY, availability=(*shelves, *on_shelf)), "en")
    assert shelved.count("500 zones") == 2
    assert shelved.count("zone-") == page.count("zone-")
    assert "800 fuller zones are in /status.json only" in page
    assert len(page) < 2_000_000


def test_both_languages_say_everything_and_not_the_same():
    english, french = TEXTS["en"], TEXTS["fr"]
    same = {field.name for field in fields(english) if getattr(english, field.name) == getattr(french, field.name)}
    assert same <= {"one_zone", "many_zones", "day_time"}
    for texts in (english, french):
        assert set(texts.kinds) == set(KINDS)
        assert set(texts.actions) == set(ACTIONS)
        assert set(texts.camera_states) == set(CAMERA_STATES)


def test_what_is_urgent_comes_first_and_is_said_in_both_languages():
    english, french = (Reader(render(shop_status(), language)).text for language in ("en", "fr"))
    plain = english.replace("\u00a0", " ")
    order = [plain.index(f"{place}") for place in ("a1 · Cereals left", "a2 · Jam", "b4 · Coffee")]
    assert order == sorted(order)
    for said in ("Priority 1", "for 5 h 12 min", "escalated Tue 11:53", "3 to acknowledge", "96%", "18% of the view"):
        assert said in plain
    for said in ("Rupture", "Priorité 1", "mar. 11:53", "3 à prendre en charge", "96\u202f%", "Caméra muette"):
        assert said in french.replace("\u00a0", " ")
    assert "timeout 42" in english


def test_each_open_alert_has_a_form_unless_somebody_acknowledged_it():
    status = replace(shop_status(), form_token="t0ken")
    reader = Reader(render(status, "fr"))
    actions = [attributes["action"] for tag, attributes in reader.tags if tag == "form"]
    assert actions == [f"/alerts/{number:032x}/acknowledge" for number in (1, 2, 3)]
    hidden = [(a["name"], a["value"]) for tag, a in reader.tags if tag == "input"]
    assert hidden == [("token", "t0ken"), ("lang", "fr")] * 3
    labels = [a["aria-label"] for tag, a in reader.tags if tag == "button" and "aria-label" in a]
    assert labels[0] == "Prendre en charge : Rupture, a1 · Cereals left"
    assert len(set(labels)) == 3


def test_the_token_of_the_forms_is_neither_in_the_json_nor_in_the_repr():
    status = replace(shop_status(), form_token="t0ken")
    assert "t0ken" not in status.to_json() + repr(status)
    document = json.loads(status.to_json())
    assert document["alerts"][0]["zone"] == "Cereals left"
    assert document["sources"][1]["failures"] == {"cut": 2, "refused": 11}
    assert document["availability"][0]["hourly"][0] is None


EVIL = """</title></style></script><script>alert(1)</script><img src=x onerror=alert(1)>"'&<b style=x onclick=y>"""


@pytest.mark.parametrize("language", ["en", "fr"])
def test_no_name_becomes_markup(language):
    evil = replace(event(1, 1, "opened", "gap", "x/y", 1), camera_id=EVIL, zone=EVIL, shelf=EVIL, store=EVIL)
    status = replace(
        EMPTY,
        title=EVIL,
        version=EVIL,
        bundle=EVIL,
        time_zone=EVIL,
        problems=(Trouble("outbox", EVIL),),
        waiting={EVIL: 1},
        form_token=EVIL,
        cameras=(CameraStatus(EVIL, "watching", NOW, 1, {EVIL: 1}, EVIL, EVIL),),
        sources=(
            SourceState("mqtt", EVIL, None, True, NOW, NOW, 1, {EVIL: 1}, EVIL, False),
            SourceState("rtsp", EVIL, EVIL, False, NOW, NOW, 1, {EVIL: 1}, EVIL, False),
        ),
        availability=tuple(
            AvailabilityStatus(level, EVIL, EVIL, shelf, 0.5, (0.5, None))
            for level, shelf in (("store", None), ("shelf", None), ("zone", EVIL), ("zone", None))
        ),
        alerts=(evil,),
        timeline=(evil,),
    )
    page = render(status, language)
    reader = Reader(page)
    plain = Reader(render(replace(EMPTY, cameras=shop_status().cameras), language))
    assert {tag for tag, _ in reader.tags} <= {tag for tag, _ in plain.tags} | {
        *("form", "input", "strong", "svg", "rect", "text", "details", "summary", "ol", "b", "dl", "dt", "dd", "h3")
    }
    assert page.count("<script") == 1
    assert page.count("<img") == 0
    assert reader.text.count("alert(1)") >= 20


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 1), st.text(max_size=30))
@settings(deadline=None, max_examples=50)
def test_odd_times_and_names_give_a_page(at, share, name):
    status = replace(
        shop_status(),
        started_at=at,
        time_zone=name,
        title=name,
        cameras=(CameraStatus(name, "silent", at, 0, {}),),
        availability=(AvailabilityStatus("shelf", name, None, None, share, (share,)),),
        alerts=(event(1, 1, "opened", "gap", "a/b", 0, at=at, since=at),),
        timeline=(event(1, 1, "opened", "gap", "a/b", 0, at=at, since=at),),
    )
    Reader(render(status, "fr"))


def test_a_big_shop_stays_a_page():
    cameras = tuple(CameraStatus(f"c{n:04d}", "watching", NOW, n, {}) for n in range(1500))
    many = tuple(event(n, 1, "opened", "gap", f"c{n:04d}/z", 1 + n / 300) for n in range(2000))
    page = render(replace(shop_status(), cameras=cameras, timeline=many, alerts=()), "en")
    assert len(page) < 2_000_000
    text = Reader(page).text
    assert "1500 cameras without trouble" in text
    assert "1800 older ones are not listed" in text
    assert "more zones and cameras are in the list only" in text


def test_bars_reach_from_begin_to_end_of_each_time_that_an_alert_was_open():
    found = spans(shop_status().timeline, shop_status().alerts, NOW)
    jam = [(span.start, span.end) for span in found if span.place == "a2 · Jam"]
    assert jam == [(NOW - 9 * HOUR - 600, NOW - 7.9 * HOUR), (NOW - 0.4 * HOUR, NOW)]
    (cereals,) = (span for span in found if span.place == "a1 · Cereals left")
    assert (cereals.kind, cereals.end) == ("gap", NOW)
    old = event(9, 1, "opened", "gap", "a9/Old", 50)
    assert [(s.start, s.end) for s in spans((), (old,), NOW)] == [(NOW - 24 * HOUR, NOW)]


@pytest.mark.parametrize(
    ("asked", "header", "language"),
    [
        (None, None, "en"),
        (None, "fr-FR,fr;q=0.9,en;q=0.8", "fr"),
        (None, "en-GB, fr;q=0.9", "en"),
        (None, "en;q=0, fr;q=0.1", "fr"),
        (None, "de, it", "en"),
        (None, "*;q=0.5, FR", "fr"),
        (None, ";;;,q=,fr;q=9, \xff", "en"),
        ("fr", "en", "fr"),
        ("en", "fr", "en"),
        ("<script>", "fr", "fr"),
    ],
)
def test_language_is_as_asked_or_as_the_browser_prefers(asked, header, language):
    assert choose_language(asked, header) == language


def test_times_are_those_of_the_shop_also_around_a_change_of_the_clocks():
    before, after = 1761438600.0, 1761442200.0  # 2025-10-26: 02:30 twice in Paris
    clock = Clock(after, "Europe/Paris", "fr")
    assert "02:30" in clock.moment(before)
    assert "02:30" in clock.moment(after)
    assert "+02:00" in clock.moment(before)
    assert "+01:00" in clock.moment(after)
    assert "2025-10-01" in clock.moment(after - 25 * 86400)
    assert clock.age(None) == "jamais"
    assert clock.age(after + 7200).startswith("dans 2")
    assert Clock(0.0, "Mars/Olympus", "en").moment(0.0).count("Thu") == 1


def test_percent_is_whole_only_when_nothing_is_missing():
    clock = Clock(0.0, "UTC", "en")
    assert [clock.percent(share) for share in (None, 0.0, 0.9999, 1.0)] == ["–", "0%", "99%", "100%"]


def test_the_policy_lets_nothing_in_from_elsewhere():
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert "http" not in CONTENT_SECURITY_POLICY
    assert "default-src 'none'" in CONTENT_SECURITY_POLICY
