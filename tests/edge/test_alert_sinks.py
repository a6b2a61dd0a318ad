"""Sinks of edge.toml, standard output, and what Apprise says to people."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from datetime import UTC
from http.server import BaseHTTPRequestHandler, HTTPServer
from zoneinfo import ZoneInfo

import pytest
from alert_events import step
from monitor_readings import FIVE_MINUTES, FULL, GAP, LOW, NOON, monitor, reading
from shelfgap_edge.alerts.cloudevent import to_json
from shelfgap_edge.alerts.event import ACTIONS, KINDS
from shelfgap_edge.alerts.outbox import Outbox
from shelfgap_edge.alerts.sinks.notify import Notify
from shelfgap_edge.alerts.sinks.params import read_sinks
from shelfgap_edge.alerts.sinks.secret import Secret
from shelfgap_edge.alerts.sinks.sink import LaterError
from shelfgap_edge.alerts.sinks.stdout import Stdout
from shelfgap_edge.alerts.sinks.wording import body, title
from shelfgap_edge.errors import ShelfgapError
from shelfgap_edge.toml_table import ConfigError, read_toml

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")  # imported by Apprise


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.setenv("HOOK", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    monkeypatch.setenv("CHAT", "json://127.0.0.1:1/hunter2")

    def read(text):
        path = tmp_path / "edge.toml"
        path.write_text(text)
        return read_sinks(read_toml(path))

    return read


EVERY_KIND = """
[[sinks]]
name = "shop"
type = "webhook"
url = "https://alerts.example.com/hook"
secret_env = "HOOK"
[[sinks]]
name = "bus"
type = "mqtt"
host = "localhost"
lowest_priority = 2
[[sinks]]
name = "lines"
type = "stdout"
kinds = ["camera-silent", "camera-moved"]
[[sinks]]
name = "team"
type = "apprise"
address_env = "CHAT"
language = "fr"
"""


def test_every_kind_of_sink_is_read_with_what_is_for_it(read):
    shop, bus, lines, team = read(EVERY_KIND)
    assert [sink.sink.name for sink in (shop, bus, lines, team)] == ["shop", "bus", "lines", "team"]
    assert all(shop.wants(step(1, 1, action, kind=kind)) for action in ACTIONS for kind in KINDS)
    assert [bus.wants(step(1, priority=priority)) for priority in (1, 2, 3)] == [True, True, False]
    assert [lines.wants(step(1, kind=kind)) for kind in KINDS] == [False, False, True, False, True]
    assert [action for action in ACTIONS if not team.wants(step(1, 1, action))] == ["acknowledged"]
    assert "hunter2" not in repr((shop, bus, lines, team))
    assert read("") == []


FILTERED = """
[[sinks]]
name = "lows"
type = "stdout"
kinds = ["low"]
[[sinks]]
name = "gaps"
type = "stdout"
kinds = ["gap"]
actions = ["opened", "reopened", "resolved"]
[[sinks]]
name = "ends"
type = "stdout"
kinds = ["gap"]
actions = ["resolved"]
[[sinks]]
name = "cameras"
type = "stdout"
kinds = ["camera-silent"]
"""


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize(
    ("frames", "heard"),
    [
        (
            [LOW] * 4 + [GAP] * 8 + [FULL] * 6,
            {
                "lows": [("opened", "low"), ("escalated", "gap"), ("resolved", "gap")],
                "gaps": [("escalated", "gap"), ("resolved", "gap")],
                "ends": [("resolved", "gap")],
            },
        ),
        ([LOW] * 4 + [FULL] * 6, {"lows": [("opened", "low"), ("resolved", "low")]}),
        (
            [GAP] * 8 + [FULL] * 6,
            {"gaps": [("opened", "gap"), ("resolved", "gap")], "ends": [("resolved", "gap")]},
        ),
    ],
)
def test_a_sink_that_heard_of_an_alert_hears_its_end_whatever_it_became(read, tmp_path, frames, heard, restarts):
    wants = {params.name: params.wants for params in read(FILTERED)}
    outbox, watched = Outbox(tmp_path / "outbox.db", wants), monitor()
    told = {sink: [] for sink in wants}
    for number, frame in enumerate(frames):
        outbox.put(watched.observe(reading(NOON + FIVE_MINUTES * number, **frame)))
        for sink, those in told.items():
            while (entry := outbox.next_due(sink, 0.0)) is not None:
                those.append((entry.event.action, entry.event.kind))
                outbox.delivered(sink, entry.event.key)
        if restarts:
            outbox.close()
            outbox = Outbox(tmp_path / "outbox.db", wants)
    outbox.close()
    assert {sink: those for sink, those in told.items() if those} == heard


def test_what_an_alert_has_opened_for_a_sink_opens_it_once(read):
    gaps = read(FILTERED)[1]
    assert gaps.wants(step(1, 2, "escalated", earlier_kinds=("low",)))
    assert not gaps.wants(step(1, 3, "escalated", earlier_kinds=("low", "gap")))
    assert not gaps.wants(step(1, 2, "escalated"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('type = "stdout"', r"edge\.toml\.sinks\[0\]: name is missing"),
        ('name = "a"\ntype = "fax"', "type: expected webhook or mqtt or stdout or apprise, got 'fax'"),
        ('name = "a"\ntype = "stdout"\ncolour = 1', "unknown colour; known here: actions"),
        ('name = "a"\ntype = "stdout"\nactions = ["open"]', "actions: expected a list of opened, .*got 'open'"),
        ('name = "a"\ntype = "stdout"\nkinds = []', "kinds: expected one or more of gap"),
        ('name = "a"\ntype = "stdout"\nlowest_priority = 6', "lowest_priority: expected an integer from 1 to 5"),
        ('name = "a"\ntype = "apprise"', "address_env or address_file is missing"),
        ('name = "a"\ntype = "apprise"\naddress_env = "ODD"', "its address is none that Apprise knows"),
        ('name = "a"\ntype = "stdout"\n[[sinks]]\nname = "a"\ntype = "stdout"', "one sink of a name, got 'a' twice"),
    ],
)
def test_what_is_wrong_is_named(read, monkeypatch, text, message):
    monkeypatch.setenv("ODD", "hunter2://secret")
    with pytest.raises(ConfigError, match=message) as caught:
        read(f"[[sinks]]\n{text}\n")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "extra", "text"),
    [("paho", "serve", 'type = "mqtt"\nhost = "a"'), ("apprise", "notify", 'type = "apprise"\naddress_env = "CHAT"')],
)
def test_an_extra_that_is_not_installed_is_named(read, monkeypatch, module, extra, text):
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ShelfgapError, match=rf"not installed: pip install 'shelfgap-edge\[{extra}\]'"):
        read(f'[[sinks]]\nname = "a"\n{text}\n')


def test_the_outbox_loads_no_extra():
    code = (
        "import sys, shelfgap_edge.alerts.dispatcher, shelfgap_edge.alerts.sinks.params;"
        "print([name for name in ('paho', 'apprise', 'numpy', 'cryptography') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_standard_output_is_one_line_a_step():
    stream = io.BytesIO()
    sink = Stdout("lines", stream)
    sink.send(step(1))
    sink.send(step(2))
    assert stream.getvalue().splitlines() == [to_json(step(1)), to_json(step(2))]


def test_standard_output_that_nobody_reads_is_tried_again():
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "wb", buffering=0)
    with pytest.raises(LaterError, match="standard output: Broken pipe"):
        Stdout("lines", stream).send(step(1))
    stream.close()
    with pytest.raises(LaterError, match="standard output: it is closed"):
        Stdout("lines", stream).send(step(1))


def test_people_read_what_happened_where_and_since_when():
    event = step(1, since=0.0, priority=1)
    assert title(event, "en") == "New: empty shelf (Coffee, left)"
    assert body(event, "en", UTC).splitlines() == [
        "Store: lyon-3",
        "Shelf: Coffee",
        "Camera: cam-1",
        "Zone: left",
        "Since: 1970-01-01 00:00",
        "Priority: 1/5",
        "Width of the gap: 12%",
        event.key,
    ]
    silent = step(2, kind="camera-silent", zone=None, shelf=None, store=None, gap_width_norm=None)
    assert title(silent, "fr").replace("\u00a0", " ") == "Nouveau : la caméra n'envoie rien (cam-1)"
    assert "Depuis\u00a0: 01/01/1970 00:00" in body(step(1, since=0.0), "fr", UTC)


@pytest.mark.parametrize("language", ["en", "fr"])
def test_every_step_can_be_said_in_both_languages(language):
    titles = {title(step(1, 1, action, kind=kind), language) for action in ACTIONS for kind in KINDS}
    assert len(titles) == len(ACTIONS) * len(KINDS)


@pytest.fixture
def chat():
    """A server to which Apprise posts JSON."""

    class Handler(BaseHTTPRequestHandler):
        got, status = [], 200

        def do_POST(self):
            self.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(Handler.status)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    Handler.url = f"json://127.0.0.1:{server.server_port}/hunter2"
    yield Handler
    server.shutdown()
    thread.join()
    server.server_close()


def test_apprise_brings_the_text(chat):
    Notify("team", Secret(chat.url), language="fr").send(step(1))
    assert chat.got[0]["title"].replace("\u00a0", " ") == "Nouveau : rayon vide (Coffee, left)"
    assert "Rayon\u00a0: Coffee" in chat.got[0]["message"]


def test_apprise_tells_times_of_the_shop(chat, monkeypatch, tmp_path):
    monkeypatch.setenv("CHAT", chat.url)
    (tmp_path / "edge.toml").write_text('[[sinks]]\nname = "team"\ntype = "apprise"\naddress_env = "CHAT"\n')
    (team,) = read_sinks(read_toml(tmp_path / "edge.toml"), ZoneInfo("Asia/Tokyo"))
    team.sink.send(step(1, since=0.0))
    assert "Since: 1970-01-01 09:00" in chat.got[-1]["message"]


def test_what_apprise_cannot_bring_is_tried_again_without_telling_its_address(chat, caplog):
    chat.status = 500
    sink = Notify("team", Secret(chat.url))
    with pytest.raises(LaterError, match="JSON: did not take it") as caught:
        sink.send(step(1))
    assert "hunter2" not in str(caught.value) + caplog.text + repr(sink)
