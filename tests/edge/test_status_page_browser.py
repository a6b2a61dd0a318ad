"""The status page in a real browser, served as the service serves it: phone, keyboard, contrast, languages, refresh."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pytest
from shelfgap_edge.service.page.routes import status_routes
from shelfgap_edge.service.page.status import Status
from shelfgap_edge.service.trouble import Trouble
from shop_status import shop_status
from taken import wait_until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


@dataclass
class Box:
    """A box that serves the page."""

    status: Status = field(default_factory=shop_status)
    acknowledged: list[str] = field(default_factory=list)
    url: str = ""

    def acknowledge(self, alert_id: str) -> None:
        self.acknowledged.append(alert_id)
        alerts = tuple(
            replace(alert, action="acknowledged") if alert.alert_id == alert_id else alert
            for alert in self.status.alerts
        )
        self.status = replace(self.status, alerts=alerts)


@contextmanager
def serving(box: Box) -> Iterator[Box]:
    import uvicorn
    from starlette.applications import Starlette

    app = Starlette(routes=status_routes(lambda: box.status, box.acknowledge))
    listener = socket.create_server(("127.0.0.1", 0))
    box.url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait_until(lambda: server.started, "the server")
        yield box
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()


@pytest.fixture
def box() -> Iterator[Box]:
    with serving(Box()) as running:
        yield running


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def open_tab(chromium, box, *, width=360, scheme="light", path="", **options):
    context = chromium.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce", **options
    )
    tab = context.new_page()
    tab.said = []
    tab.asked = []
    tab.on("console", lambda message: tab.said.append(message.text))
    tab.on("pageerror", lambda error: tab.said.append(str(error)))
    tab.on("request", lambda request: tab.asked.append(request.url))
    tab.goto(box.url + path)
    return tab


CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * x + .7152 * y + .0722 * z;
  };
  const ground = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const ratio = (a, b) => {
    const [x, y] = [luminance(a), luminance(b)].sort((m, n) => n - m);
    return (x + .05) / (y + .05);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || ["SCRIPT", "STYLE"].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    const colour = element instanceof SVGElement ? style.fill : style.color;
    found.push([ratio(rgba(colour), ground(element)), node.textContent.trim().slice(0, 40)]);
  }
  for (const mark of document.querySelectorAll("svg .bar, svg .strip-bar, .word path"))
    found.push([ratio(rgba(getComputedStyle(mark).fill), ground(mark)) * 1.5, mark.outerHTML.slice(0, 80)]);
  return found;
}"""


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("language", ["en", "fr"])
def test_it_fits_is_readable_and_loads_nothing_else(chromium, box, width, scheme, language):
    tab = open_tab(chromium, box, width=width, scheme=scheme, locale={"en": "en-GB", "fr": "fr-FR"}[language])
    assert tab.locator("html").get_attribute("lang") == language
    assert tab.locator("h2").first.inner_text() == {"en": "Open alerts", "fr": "Alertes ouvertes"}[language]
    if "SHELFGAP_SCREENSHOTS" in os.environ:
        folder = Path(os.environ["SHELFGAP_SCREENSHOTS"])
        tab.screenshot(path=folder / f"status-{language}-{width}-{scheme}.png", full_page=True)
    tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    if "SHELFGAP_SCREENSHOTS" in os.environ:
        tab.screenshot(path=folder / f"status-{language}-{width}-{scheme}-open.png", full_page=True)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    ratios = tab.evaluate(CONTRAST)
    assert len(ratios) > 150
    assert [pair for pair in ratios if pair[0] < 4.5] == []  # WCAG AA for text; 3 for marks, which count half more
    assert tab.evaluate("Math.min(...[...document.querySelectorAll('form button')].map(b => b.offsetHeight))") >= 44
    assert set(tab.asked) == {box.url}  # more than once where the machine is slow: it refreshes itself
    assert tab.said == []
    tab.context.close()


@needs_browser
def test_the_keyboard_reaches_everything_and_shows_where_it_is(chromium, box):
    tab = open_tab(chromium, box)
    wanted = tab.evaluate(
        "[...document.querySelectorAll('a, button, summary')].filter(e => e.checkVisibility()).length"
    )
    reached = []
    for _ in range(wanted):
        tab.keyboard.press("Tab")
        name, outline, inside = tab.evaluate(
            """() => { const e = document.activeElement, b = e.getBoundingClientRect();
            return [e.outerHTML.slice(0, 120), getComputedStyle(e).outlineWidth, b.left >= 0 && b.right <= innerWidth &&
            b.top >= 0 && b.bottom <= innerHeight] }"""
        )
        reached.append(name)
        assert outline == "3px", name
        assert inside, name
    assert len(set(reached)) == wanted
    assert reached[0].startswith('<a class="skip"')
    tab.keyboard.press("Tab")
    tab.reload()
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "alerts"
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Acknowledge"
    tab.keyboard.press("Enter")
    wait_until(lambda: len(box.acknowledged) == 1, "the form")
    tab.context.close()


@needs_browser
def test_names_and_roles_are_those_that_a_screen_reader_needs(chromium, box):
    tab = open_tab(chromium, box)
    for role in ("banner", "main", "contentinfo", "navigation"):
        assert tab.get_by_role(role).count() == 1
    for name in ("Open alerts", "Availability over 24 hours", "Cameras", "Last 24 hours"):
        assert tab.get_by_role("region", name=name).count() == 1
    levels = tab.eval_on_selector_all("h1, h2, h3", "all => all.map(one => Number(one.tagName[1]))")
    assert levels[0] == 1
    assert all(later - sooner <= 1 for sooner, later in pairwise(levels))
    button = tab.get_by_role("button", name="Acknowledge: Gap, a1 · Cereals left")
    assert button.count() == 1
    assert tab.get_by_role("img", name="Availability of Lyon 3 by hour").count() == 1
    assert tab.evaluate("[...document.querySelectorAll('svg')].every(s => s.closest('[aria-hidden], [aria-label]'))")
    tab.context.close()


@needs_browser
@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_an_alert_is_acknowledged_in_the_language_of_the_page(chromium, box, scripts):
    tab = open_tab(chromium, box, path="?lang=fr", java_script_enabled=scripts)
    tab.get_by_role("button", name="Prendre en charge : Caméra muette, c9").click()
    tab.wait_for_url("**/?lang=fr#alerts")
    assert box.acknowledged == [f"{3:032x}"]
    assert tab.get_by_role("button", name="Prendre en charge : Caméra muette, c9").count() == 0
    assert tab.locator(".tile dd").first.inner_text() == "4 2 à prendre en charge"
    tab.get_by_role("link", name="English").click()
    assert tab.locator("html").get_attribute("lang") == "en"
    assert tab.locator("noscript meta").count() == (0 if scripts else 1)
    tab.context.close()


@needs_browser
def test_it_refreshes_itself_keeps_what_is_open_and_says_when_the_box_is_gone(chromium):
    with serving(Box()) as box:
        context = chromium.new_context(viewport={"width": 360, "height": 800})
        tab = context.new_page()
        tab.clock.install()
        tab.goto(box.url)
        tab.locator("#events summary").click()
        tab.locator("#acknowledge-" + f"{2:032x}").focus()
        box.status = replace(box.status, title="Lyon 3", alerts=box.status.alerts[1:])
        tab.clock.run_for(21_000)
        wait_until(lambda: tab.locator(".card").count() == 3, "3 cards")
        assert tab.locator("#events").get_attribute("open") is not None
        assert tab.evaluate("document.activeElement.id") == "acknowledge-" + f"{2:032x}"
        assert tab.locator("#said").inner_text() == "Open alerts: 3. 2 to acknowledge."
        tab.locator("#events summary").focus()
        box.status = replace(box.status, title="Lyon 4", problems=(Trouble("outbox", "disk full"),))
        tab.clock.run_for(21_000)
        wait_until(lambda: tab.locator(".note", has_text="disk full").count() == 1, "the trouble")
        assert tab.evaluate("document.activeElement.id") == "unfold-events"
        assert tab.locator("#said").inner_text() == (
            "Open alerts: 3. 2 to acknowledge. Not ready: alerts cannot be stored: disk full."
        )
        tab.get_by_role("button", name="Pause updates").click()
        box.status = replace(box.status, alerts=())
        tab.clock.run_for(60_000)
        assert tab.locator(".card").count() == 3
        tab.get_by_role("button", name="Resume updates").click()
        wait_until(lambda: tab.locator(".card").count() == 0, "0 cards")
        assert tab.locator("#stale").is_hidden()
    tab.clock.run_for(21_000)
    tab.locator("#stale").wait_for(state="visible")
    context.close()


def ask(url: str, data: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], str]:
    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *args: object) -> None:
            return None

    request = urllib.request.Request(url, data, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.build_opener(Stay).open(request, timeout=30) as answer:
            return answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read().decode()


def test_the_page_comes_with_its_policy_and_in_the_language_of_the_browser(box):
    status, headers, page = ask(box.url, Accept_Language="fr-CA, en;q=0.5")
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["content-language"] == "fr"
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert '<html lang="fr">' in page
    status, headers, text = ask(box.url + "status.json")
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(text)["title"] == "Lyon 3"
    assert "form_token" not in text


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (b"", "application/x-www-form-urlencoded", 403),
        (b"token=wrong", "application/x-www-form-urlencoded", 403),
        (b"token=%C3%A9", "application/x-www-form-urlencoded", 403),
        (b"token=" + b"x" * 5000, "application/x-www-form-urlencoded", 403),
        (b"&".join([b"a=1"] * 50), "application/x-www-form-urlencoded", 403),
        (b"\xff\xfe", "application/x-www-form-urlencoded", 403),
        (b"TOKEN", "text/plain", 403),
        (b"TOKEN", "application/x-www-form-urlencoded", 303),
    ],
)
def test_only_a_form_of_the_page_acknowledges(box, body, kind, expected):
    token = ask(box.url)[2].partition('name="token" value="')[2].partition('"')[0]
    body = body.replace(b"TOKEN", b"token=%b&lang=fr" % token.encode())
    status, headers, _ = ask(f"{box.url}alerts/{1:032x}/acknowledge", body, Content_Type=kind)
    assert status == expected
    assert len(box.acknowledged) == (expected == 303)
    if expected == 303:
        assert headers["location"] == "/?lang=fr#alerts"
        assert ask(f"{box.url}alerts/..%2Fx/acknowledge", body, Content_Type=kind)[0] == 404
