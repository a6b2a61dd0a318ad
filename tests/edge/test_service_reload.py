"""Reload of the service, and another bundle under way: what is taken, what is refused, no frame lost."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest
from certificates import issue_for_a_service
from running_service import edge_toml, start, token_of
from shelfgap_edge.errors import BundleError
from shelfgap_edge.pull.slots import Slots
from shelfgap_edge.pull.state import Installed, State, Trial, save_state
from shelfgap_edge.service.assemble import EdgeAssembly
from shelfgap_edge.service.bundles import RunningBundle
from shelfgap_edge.service.config import DetectorConfig, read_config
from shelfgap_edge.service.lasting import check_lasting
from shelfgap_edge.service.service import Service
from shelfgap_edge.toml_table import ConfigError
from stand_in_parts import StandInAssembly


def replace(path, old, new):
    path.write_text(path.read_text().replace(old, new))


def test_reload_takes_a_good_configuration_and_refuses_a_bad_one(tmp_path, bundle, frame):
    config = edge_toml(tmp_path, bundle, ["c1"])
    running = start(config, tmp_path / "log").wait_ready()
    assert running.post("c2", frame).status == 401
    edge_toml(tmp_path, bundle, ["c1", "c2"])
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("reloaded")
    assert running.post("c2", frame).status == 200
    for text, said in (
        ("this is no TOML", "reload refused"),
        (config.read_text().replace("port = 0", "port = 1", 1), "http.port changes with a restart only"),
        (config.read_text().replace(str(bundle), str(tmp_path / "none")), "No such file"),
    ):
        config.write_text(text)
        running.process.send_signal(signal.SIGHUP)
        running.wait_for(said)
        edge_toml(tmp_path, bundle, ["c1", "c2"])
    assert running.post("c2", frame).status == 200, "the old configuration goes on"
    assert running.metric('shelfgap_reloads_total{outcome="refused"}') == 3
    edge_toml(tmp_path, bundle, ["c2"])
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("reloaded", 2)
    assert running.post("c1", frame).status == 401, "a camera that was taken out is let in no more"
    assert running.stop() == 0


def test_a_reload_changes_how_many_connections_there_are_how_slow_they_may_be_and_how_long_a_stop_waits(
    tmp_path, bundle, frame
):
    def configure(connections, body_seconds, stop_seconds):
        http = f"connections = {connections}\nbody_seconds = {body_seconds}"
        return edge_toml(tmp_path, bundle, ["c1"], f"stop_seconds = {stop_seconds}", http)

    running = start(configure(1, 0.2, 600), tmp_path / "log").wait_ready()
    address = ("127.0.0.1", urlsplit(running.frames).port)
    head = f"POST /v1/cameras/c1/frames?wait=1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token_of('c1')}\r\n"
    head += f"Content-Type: image/jpeg\r\nContent-Length: {len(frame)}\r\n\r\n"
    configure(3, 300, 1)
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("reloaded")
    with socket.create_connection(address) as slow, socket.create_connection(address) as never:
        for connection in (slow, never):
            connection.sendall(head.encode() + frame[:10])
        time.sleep(3)  # longer than a connection might take before
        assert running.post("c1", frame).status == 200, "a third connection"
        slow.sendall(frame[10:])
        slow.settimeout(300)
        assert slow.recv(1024).startswith(b"HTTP/1.1 200")
        # The upload that never ends is waited for a second, not for ten minutes; nothing that was taken in is lost.
        assert running.stop(timeout=120) == 0


def test_a_reload_refuses_what_is_fixed_at_the_start(tmp_path, bundle):
    issue_for_a_service(tmp_path)
    tls = '[http.tls]\ncertificate = "localhost.pem"\nkey = "localhost.key"\nclient_ca = "authority.pem"'

    def read(more=""):
        config = read_config(edge_toml(tmp_path, bundle, ["c1"], more, http=tls))
        return config, EdgeAssembly().plan(config)

    first = read()
    check_lasting(first, read())
    with pytest.raises(ConfigError, match=r"edge.toml: outbox changes with a restart only"):
        check_lasting(first, read("[outbox]\nmax_events = 500"))
    issue_for_a_service(tmp_path)  # another authority in the same file
    with pytest.raises(ConfigError, match=r"edge.toml: http.tls.client_ca changes with a restart only"):
        check_lasting(first, read())


_FAST = "[limits]\nframes_per_minute = 600000\nburst = 100000\n"


def test_the_bundle_is_switched_under_way_without_losing_a_frame(tmp_path, write_bundle, reseal, frame):
    state = tmp_path / "device"
    (state / "slots").mkdir(parents=True)
    slots = Slots(state)
    write_bundle(slots.path("a"), version="1")
    write_bundle(slots.path("b"), version="2")
    slots.switch("a")
    running = start(edge_toml(tmp_path, slots.current_path, ["c1", "c2"], _FAST), tmp_path / "log").wait_ready()
    statuses, stop = [], threading.Event()

    def send():
        connection = http.client.HTTPConnection(urlsplit(running.frames).netloc, timeout=300)
        headers = {"Content-Type": "image/jpeg", "Authorization": f"Bearer {token_of('c2')}"}
        while not stop.is_set():
            connection.request("POST", "/v1/cameras/c2/frames?wait=1", frame, headers)
            response = connection.getresponse()
            statuses.append((response.status, json.loads(response.read())["status"]))
        connection.close()

    sender = threading.Thread(target=send)
    sender.start()
    installed = {"a": Installed(1, "1"), "b": Installed(2, "2")}
    save_state(state, State(slots=installed, trial=Trial("b", "a")))
    slots.switch("b")
    time.sleep(6)  # longer than it takes to look
    assert 'version="1"' in running.request("GET", f"{running.admin}/metrics").body["text"], "it is on trial"
    save_state(state, State(slots=installed))
    running.wait_for("bundle bright-square 2 runs")
    (slots.path("a") / "model.int8.onnx").write_bytes(b"spoilt")
    slots.switch("a")
    running.wait_for("another bundle was refused")
    assert "model.int8.onnx" in running.request("GET", f"{running.admin}/status.json").body["bundle_failure"]
    assert "Another detector was refused" in running.request("GET", f"{running.admin}/").body["text"]
    slots.switch("b")
    deadline = time.monotonic() + 300
    while running.request("GET", f"{running.admin}/status.json").body["bundle_failure"] is not None:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    stop.set()
    sender.join(60)
    assert set(statuses) == {(200, "seen")}
    assert running.request("GET", f"{running.admin}/readyz").status == 200
    text = running.request("GET", f"{running.admin}/metrics").body["text"]
    assert 'signature="not checked",version="2"} 1.0' in text
    assert 'version="1"' not in text
    assert running.stop() == 0


def test_a_bundle_that_the_monitors_do_not_accept_changes_nothing(tmp_path, write_bundle):
    config = DetectorConfig(precision=None, threads=1, runtime="onnxruntime", keys=None)
    running = RunningBundle(write_bundle(tmp_path / "one", version="1"), config)
    another = write_bundle(tmp_path / "another", version="2")

    def refuse(manifest):
        raise ConfigError(f"not {manifest.version}")

    with pytest.raises(ConfigError, match="not 2"):
        running.changed(another, config, refuse)
    assert (running.detector.manifest.version, running.failure) == ("1", "not 2")
    assert not running.changed(another, config, lambda manifest: None), "it is not loaded again and again"
    with pytest.raises(BundleError, match="none: No such file"):
        running.changed(tmp_path / "none", config, lambda manifest: None)
    assert "No such file" in running.failure
    assert not running.changed(tmp_path / "none", config, lambda manifest: None), "it is said once, not at each look"
    with pytest.raises(BundleError, match="none: No such file"):
        running.changed(tmp_path / "none", config, lambda manifest: None, retry=True)
    assert running.changed(another, config, lambda manifest: None)
    assert (running.detector.manifest.version, running.failure) == ("2", None)


def test_a_bundle_that_a_reload_takes_or_refuses_is_counted(tmp_path, write_bundle):
    config = edge_toml(tmp_path, write_bundle(tmp_path / "one"), ["c1"])
    service = Service(read_config(config), StandInAssembly())

    def reload(bundle):
        edge_toml(tmp_path, bundle, ["c1"])
        service._reload()
        return [
            service.metrics.registry.get_sample_value("shelfgap_bundle_switches_total", {"outcome": outcome})
            for outcome in ("taken", "refused")
        ]

    service._couriers.start()
    assert reload(write_bundle(tmp_path / "two", version="2")) == [1, None]
    assert reload(tmp_path / "none") == [1, 1]
    service._couriers.stop(1)
    service._outbox.close()


def test_a_reload_that_fails_in_an_unforeseen_way_is_over_for_systemd_too(tmp_path, bundle, monkeypatch):
    service = Service(read_config(edge_toml(tmp_path, bundle, ["c1"])), StandInAssembly())
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setattr(service._couriers, "use", lambda plan: 1 / 0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(60)
        with pytest.raises(ZeroDivisionError):
            service._reload()
        assert channel.recv(4096).startswith(b"RELOADING=1")
        assert channel.recv(4096) == b"READY=1\nSTATUS=the last reload failed, see the log"
    service._outbox.close()


def test_a_frame_that_comes_after_a_reload_is_judged_by_what_it_brought(tmp_path, bundle, bright_square):
    config = edge_toml(tmp_path, bundle, ["c1"])
    service = Service(read_config(config), StandInAssembly())
    service._couriers.start()
    service._worker.start()
    time.sleep(0.3)  # it waits for a frame
    edge_toml(tmp_path, bundle, ["c1", "c2"])
    service._reload()
    service.put_frame("c2", None, bright_square(), 1000.0).result(60)
    assert "c2" in service._cameras.last_frames()
    service._mailbox.close()
    service._worker.join(60)
    service._couriers.stop(1)
    service._outbox.close()
