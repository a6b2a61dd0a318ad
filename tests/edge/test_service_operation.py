"""The service in operation: reload, bundle switch, stop, watchdog, mutual TLS, streams, what a kill leaves."""

from __future__ import annotations

import dataclasses
import http.client
import signal
import socket
import ssl
import subprocess
import sys
import time
from urllib.parse import urlsplit

import numpy as np
import pytest
from alert_events import step
from certificates import issue_for_a_service
from cryptography.hazmat.primitives import serialization
from published import running_version
from running_service import STAND_IN, edge_toml, start
from shelfgap_edge import cli
from shelfgap_edge.service.assemble import EdgeAssembly
from shelfgap_edge.service.config import TlsConfig, read_config
from shelfgap_edge.service.listener import tls_context
from shelfgap_edge.service.service import Service
from shelfgap_edge.toml_table import ConfigError
from stand_in_parts import StandInAssembly


def test_a_bundle_whose_golden_frames_are_off_does_not_start(tmp_path, bundle, reseal):
    expected = bundle / "golden/expected.json"
    expected.write_text(expected.read_text().replace('"score": 0.9', '"score": 0.7'))
    reseal(bundle)
    running = start(edge_toml(tmp_path, bundle, ["c1"]), tmp_path / "log")
    assert running.process.wait(300) == 1
    assert "a golden frame is off on this machine" in running.log.read_text()


def test_stop_judges_what_waits_and_ends_with_0(tmp_path, bundle, frame):
    cameras = [f"c{number}" for number in range(40)]
    running = start(edge_toml(tmp_path, bundle, cameras), tmp_path / "log").wait_ready()
    for camera in cameras:
        assert running.post(camera, frame, wait=False).status == 202
    assert running.stop() == 0
    stopped = running.lines()[-1]
    assert (stopped["message"], stopped["finished"]) == ("stopped", True)


def test_a_stop_that_may_take_no_time_ends_with_0_where_nothing_waits(tmp_path, bundle):
    running = start(edge_toml(tmp_path, bundle, ["c1"], "stop_seconds = 0"), tmp_path / "log").wait_ready()
    assert running.stop() == 0
    assert running.lines()[-1]["finished"] is True


def test_sinks_hear_of_alerts_that_end_with_a_camera_taken_out_before_a_restart(tmp_path, bundle):
    sink = '[[sinks]]\nname = "lines"\ntype = "stdout"'
    service = Service(read_config(edge_toml(tmp_path, bundle, ["c1", "c2"], sink)), EdgeAssembly())
    service._outbox.put([step(1, camera_id="c2")], [("c2", "null")])
    service._outbox.close()
    service = Service(read_config(edge_toml(tmp_path, bundle, ["c1"], sink)), EdgeAssembly())
    service._outbox.delivered("lines", step(1).key)
    event = service._outbox.next_due("lines", 0.0).event
    assert (event.key, event.action) == (step(1, 2).key, "resolved")
    service._outbox.close()


def test_memory_of_cameras_outlives_a_kill_once_it_was_written(tmp_path, bundle, frame):
    config = edge_toml(tmp_path, bundle, ["c1"])
    running = start(config, tmp_path / "log").wait_ready()
    opened = [alert for _ in range(2) for alert in running.post("c1", frame).body["alerts"]]
    assert [alert["action"] for alert in opened] == ["opened"]
    running.stop(signal.SIGKILL)
    running = start(config, tmp_path / "log2").wait_ready()
    assert running.post("c1", frame).body["alerts"] == [], "the same gap is no second alert"
    assert running.stop() == 0


def test_systemd_is_told_and_a_stuck_worker_ends_the_pings(tmp_path, bundle, frame):
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(address))
        channel.settimeout(60)
        config = edge_toml(tmp_path, bundle, ["c1"])
        running = start(config, tmp_path / "log", NOTIFY_SOCKET=str(address), WATCHDOG_USEC="600000").wait_ready()
        said = []
        while said.count("WATCHDOG=1") < 3:
            said += channel.recv(4096).decode().splitlines()
        assert "READY=1" in said
        running.process.send_signal(signal.SIGHUP)
        while "RELOADING=1" not in said:
            said += channel.recv(4096).decode().splitlines()
        assert running.stop() == 0
        while "STOPPING=1" not in said:
            said += channel.recv(4096).decode().splitlines()


def test_a_worker_without_a_sign_of_life_is_told(tmp_path, bundle, monkeypatch):
    service = Service(read_config(edge_toml(tmp_path, bundle, ["c1"])), StandInAssembly())
    assert [str(trouble) for trouble in service.health()] == ["the worker has ended"]
    monkeypatch.setattr(service._worker, "is_alive", lambda: True)
    assert service.health() == []
    service._worker._alive_at -= 31
    assert str(service.health()[0]) == "the worker shows no sign of life for 31 s"
    service._stopping = True
    assert service.health() == [], "systemd would kill what still delivers half a minute after the last frame"
    service._stopping = False
    service._outbox.trouble = "disk full"
    assert str(service.unreadiness()[1]) == "the outbox cannot be written: disk full"
    service._couriers._missing_dispatchers = list(service._couriers._dispatchers)
    assert str(service.unreadiness()[1]) == "alerts are not sent: the system allows no more threads"
    service._outbox.close()


def test_a_clock_that_is_set_moves_the_time_of_the_start_with_it(tmp_path, bundle):
    service = Service(read_config(edge_toml(tmp_path, bundle, ["c1"])), StandInAssembly())
    before = service.status().started_at
    service._clock._ahead += 86_400  # a board without a clock of its own has found a server of time
    assert service.status().started_at - before == pytest.approx(86_400, abs=1)
    service._outbox.close()


def test_pixels_of_a_source_are_judged_and_overwritten(tmp_path, bundle, bright_square):
    service = Service(read_config(edge_toml(tmp_path, bundle, ["c1"])), StandInAssembly())
    service._worker.start()
    pixels, stranger = bright_square(), bright_square()
    service.put_frame("c1", None, pixels, 1000.0)
    service.put_frame("unknown", None, stranger, 1000.0)
    assert not stranger.any()
    deadline = time.monotonic() + 60
    while service.metrics.registry.get_sample_value("shelfgap_frames_total", {"camera": "c1", "outcome": "seen"}) != 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not pixels.any()
    broken = np.zeros((4, 4), np.uint8) + 7
    service.put_frame("c1", None, broken, 1000.0)
    service._mailbox.close()
    service._worker.join(60)
    assert not broken.any(), "also after an error"
    service._outbox.close()


def test_check_reads_all_and_listens_on_nothing(tmp_path, bundle):
    config = edge_toml(tmp_path, bundle, ["c1"])
    done = subprocess.run([sys.executable, STAND_IN, config, "--check"], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert "good; 1 cameras, bundle bright-square 1" in done.stdout
    assert not (tmp_path / "state").exists()


def test_check_loads_certificates_too(tmp_path, bundle):
    issue_for_a_service(tmp_path)
    (tmp_path / "c2.pem").replace(tmp_path / "localhost.pem")
    tls = '[http.tls]\ncertificate = "localhost.pem"\nkey = "localhost.key"'
    config = edge_toml(tmp_path, bundle, ["c1"], http=tls)
    done = subprocess.run([sys.executable, STAND_IN, config, "--check"], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (1, "")
    key, certificate = tmp_path / "localhost.key", tmp_path / "localhost.pem"
    assert f"http.tls: key: {key} is not the key of certificate {certificate}" in done.stderr


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(tmp_path, bundle):
    issue_for_a_service(tmp_path)
    key = serialization.load_pem_private_key((tmp_path / "localhost.key").read_bytes(), None)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    secured = key.private_bytes(*form, serialization.BestAvailableEncryption(b"hunter2"))
    (tmp_path / "localhost.key").write_bytes(secured)
    tls = TlsConfig(tmp_path / "localhost.pem", tmp_path / "localhost.key", None, None)
    with pytest.raises(ConfigError, match=r"http\.tls: key: .*localhost\.key is encrypted; expected a key without"):
        tls_context(tls)


def test_check_as_restart_of_a_pull_refuses_what_the_service_would_refuse(tmp_path, shop):
    device = shop.device("device")
    current = device.state / "current"
    config = edge_toml(tmp_path, current, ["c1"])
    command = (sys.executable, "-m", "shelfgap_edge.cli", "serve", "--config", str(config), "--check")
    device = dataclasses.replace(device, restart=command, self_test_seconds=300)
    shop.release("1")
    assert shop.pull(device).status == "updated"
    edge_toml(tmp_path, current, ["c1"], '[detector]\nprecision = "fp32"')
    shop.release("2")
    refused = shop.pull(device)
    assert refused.status == "rejected"
    assert "--check" in refused.reason
    assert "fp32" in refused.reason
    assert running_version(device) == "1"


def test_a_port_that_is_taken_is_said_in_one_line(tmp_path, bundle):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = edge_toml(tmp_path, bundle, ["c1"], f"[http]\nport = {port}\n")
        running = start(config, tmp_path / "log")
        assert running.process.wait(300) == 1
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in running.log.read_text()
    assert "Traceback" not in running.log.read_text()


def test_one_port_for_frames_and_operators_is_refused_in_one_line(tmp_path, bundle):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    more = f"[http]\nport = {port}\n[admin]\nport = {port}\n"
    running = start(edge_toml(tmp_path, bundle, ["c1"], more), tmp_path / "log")
    assert running.process.wait(300) == 1
    assert f"admin: cannot listen on 127.0.0.1 port {port}: Address already in use" in running.log.read_text()


def test_no_configuration_no_traceback(tmp_path, capsys):
    assert cli.main(["serve", "--config", str(tmp_path / "edge.toml")]) == 1
    assert "No such file" in capsys.readouterr().err


def test_mutual_tls_lets_a_camera_in_by_its_certificate_only(tmp_path, bundle, frame):
    issue_for_a_service(tmp_path)
    tls = '[http.tls]\ncertificate = "localhost.pem"\nkey = "localhost.key"\nclient_ca = "authority.pem"'
    config = edge_toml(tmp_path, bundle, [], http=tls)
    config.write_text(config.read_text() + "[cameras.c1]\n[cameras.c2]\n")
    running = start(config, tmp_path / "log").wait_ready()
    port = urlsplit(running.frames).port

    def post(camera, certificate):
        context = ssl.create_default_context(cafile=str(tmp_path / "authority.pem"))
        if certificate:
            context.load_cert_chain(tmp_path / f"{certificate}.pem", tmp_path / f"{certificate}.key")
        connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=300)
        try:
            path = f"/v1/cameras/{camera}/frames?wait=1"
            connection.request("POST", path, frame, {"Content-Type": "image/jpeg"})
            return connection.getresponse().status
        finally:
            connection.close()

    assert post("c1", "c1") == 200
    assert post("c2", "c1") == 401
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
        post("c1", None)
    assert running.frames.startswith("https://")
    (tmp_path / "c2.pem").replace(tmp_path / "localhost.pem")
    running.process.send_signal(signal.SIGHUP)  # certificate and key do not belong together
    running.wait_for("reload refused")
    (tmp_path / "authority.pem").write_bytes((tmp_path / "c1.pem").read_bytes())
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("http.tls.client_ca changes with a restart only")
    assert running.stop() == 0
