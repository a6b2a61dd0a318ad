"""The command as it ships, with its own monitor, outbox, sinks and page: frames in over HTTP, webhooks out."""

from __future__ import annotations

import json
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
from receiver import SECRET, Receiver
from running_service import edge_toml, start

SERVE = (str(Path(sys.executable).with_name("shelfgap-edge")), "serve", "--config")
MORE = """
store = "lyon-3"
time_zone = "Europe/Paris"
[monitor]
open_frames = 3
open_minutes = 0
close_frames = 2
close_minutes = 0
min_likeness = -1
min_spread = 0
min_sharpness_share = 0
[[sinks]]
name = "backoffice"
type = "webhook"
url = "http://127.0.0.1:{port}/"
secret_env = "TEST_WEBHOOK_SECRET"
"""


@pytest.fixture
def receiver():
    receiver = Receiver()
    receiver.start()
    yield receiver
    receiver.stop()


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def steps(receiver):
    """Return what was taken, repeats left out: a kill may come before the service has noted a delivery."""
    return [json.loads(body)["data"]["action"] for body in dict.fromkeys(receiver.taken)]


def test_a_camera_whose_frame_is_held_back_is_shown_as_hidden(tmp_path, bundle, to_jpeg, bright_square):
    config = edge_toml(tmp_path, bundle, ["aisle-3"], "[monitor]\nmin_spread = 30\nmin_sharpness_share = 0\n")
    running = start(config, tmp_path / "log", command=SERVE).wait_ready()

    def state(jpeg):
        assert running.post("aisle-3", jpeg).status == 200
        return running.request("GET", f"{running.admin}/status.json").body["cameras"][0]["state"]

    assert state(to_jpeg(bright_square())) == "watching"
    assert state(to_jpeg(bright_square(level=25))) == "hidden"  # next to no contrast
    assert "View hidden" in running.request("GET", f"{running.admin}/?lang=en").body["text"]
    assert state(to_jpeg(bright_square())) == "watching"
    assert running.metric('shelfgap_frames_held_back_total{camera="aisle-3"}') == 1
    assert running.stop() == 0


def test_from_frames_to_webhooks_through_a_kill(tmp_path, bundle, to_jpeg, bright_square, receiver):
    config = edge_toml(tmp_path, bundle, ["aisle-3"], MORE.format(port=receiver.port))
    with_gap, without = to_jpeg(bright_square()), to_jpeg(bright_square(level=60))

    def serve(log):
        return start(config, tmp_path / log, command=SERVE, TEST_WEBHOOK_SECRET=SECRET).wait_ready()

    running = serve("first")
    waiting = running.request("GET", f"{running.admin}/status.json").body
    assert [(camera["camera_id"], camera["state"]) for camera in waiting["cameras"]] == [("aisle-3", "waiting")]
    assert (waiting["title"], waiting["time_zone"], waiting["problems"]) == ("lyon-3", "Europe/Paris", [])

    for _ in range(3):
        assert running.post("aisle-3", with_gap).status == 200
    until(lambda: steps(receiver) == ["opened"])
    event = json.loads(receiver.taken[0])
    assert (event["data"]["kind"], event["data"]["camera_id"], event["data"]["store"]) == ("gap", "aisle-3", "lyon-3")
    running.stop(signal.SIGKILL)

    running = serve("second")
    for _ in range(4):  # the same gap, known from before the kill
        running.post("aisle-3", with_gap)
    page = running.request("GET", f"{running.admin}/?lang=fr").body["text"]
    assert '<html lang="fr"' in page
    status = running.request("GET", f"{running.admin}/status.json").body
    (alert,) = status["alerts"]
    assert (status["cameras"][0]["state"], status["cameras"][0]["frames"]) == ("watching", 4)
    acknowledged = running.request(
        "POST",
        f"{running.admin}/v1/alerts/{alert['alert_id']}/acknowledge",
        b"{}",
        {"Content-Type": "application/json"},
    )
    assert acknowledged.status == 200
    assert running.metric('shelfgap_frames_held_back_total{camera="aisle-3"}') == 0
    for _ in range(3):
        running.post("aisle-3", without)
    until(lambda: steps(receiver) == ["opened", "acknowledged", "resolved"])
    final = running.request("GET", f"{running.admin}/status.json").body
    assert final["alerts"] == []
    assert [step["action"] for step in final["timeline"]] == ["opened", "acknowledged", "resolved"]
    zones = [row for row in final["availability"] if row["level"] == "zone"]
    assert len(zones) == 1
    assert 0 <= zones[0]["share"] < 1
    assert running.stop() == 0
    assert receiver.forged == 0
    assert len({json.loads(body)["id"] for body in receiver.taken}) == 3


def test_metrics_say_how_sources_fare(tmp_path, bundle):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: refused
        port = nobody.getsockname()[1]
        more = f'[[sources]]\ntype = "mjpeg"\ncamera = "c1"\nurl = "http://127.0.0.1:{port}/stream"\nretry_s = 0.01\n'
        running = start(edge_toml(tmp_path, bundle, ["c1"], more), tmp_path / "log", command=SERVE).wait_ready()
        where = f'where="http://127.0.0.1:{port}"'
        deadline = time.monotonic() + 60
        while (
            not running.metric(f'shelfgap_source_failures_total{{camera="c1",kind="mjpeg",reason="refused",{where}}}')
            > 1
        ):
            assert time.monotonic() < deadline, running.request("GET", f"{running.admin}/metrics").body["text"]
            time.sleep(0.05)
        line = f'shelfgap_sources_connected{{camera="c1",kind="mjpeg",{where}}} 0.0'
        assert line in running.request("GET", f"{running.admin}/metrics").body["text"]
        assert running.stop() == 0
