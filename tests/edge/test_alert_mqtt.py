"""MQTT with a real mosquitto: acknowledged by PUBACK alone, and it outlives the broker."""

from __future__ import annotations

import socket
import subprocess
import threading
import time

import pytest
from alert_events import step
from broker import Broker, Subscriber, free_port, need_mosquitto, send_until_taken, trouble_with
from shelfgap_edge.alerts.cloudevent import to_json
from shelfgap_edge.alerts.sinks.mqtt import Mqtt
from shelfgap_edge.alerts.sinks.secret import Secret
from shelfgap_edge.alerts.sinks.sink import LaterError, RefusedError
from shelfgap_edge.toml_table import ConfigError, Table


@pytest.fixture
def broker(tmp_path):
    broker = Broker(tmp_path / "broker")
    broker.start()
    yield broker
    broker.stop()


def sink_for(port, **options):
    return Mqtt("bus", "127.0.0.1", port, "shelfgap/alerts", "edge-1", **{"timeout_s": 30, **options})


def until(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_steps_arrive_in_order_below_their_camera_and_zone(broker, version):
    subscriber, sink = Subscriber(broker.port), sink_for(broker.port, version=version)
    events = [step(1), step(2, zone=None, kind="camera-silent"), step(3, camera_id="a/b", zone="+#")]
    for event in events:
        sink.send(event)
    until(lambda: len(subscriber.messages) == 3)
    topics = ["shelfgap/alerts/cam-1/zones/left", "shelfgap/alerts/cam-1/camera", "shelfgap/alerts/a%2Fb/zones/%2B%23"]
    assert subscriber.messages == list(zip(topics, map(to_json, events), strict=True))
    sink.close()
    subscriber.close()


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_broker_that_restarts_gets_what_it_missed(broker, version):
    subscriber, sink = Subscriber(broker.port), sink_for(broker.port, version=version, timeout_s=1.0)
    send_until_taken(sink, step(1))
    broker.stop()
    with pytest.raises(LaterError, match=r"the connection broke|Connection refused|no PUBACK"):
        sink.send(step(2))
    broker.start()
    send_until_taken(sink, step(2))
    send_until_taken(sink, step(3))
    until(lambda: len({body for _, body in subscriber.messages}) == 3)
    assert list(dict.fromkeys(body for _, body in subscriber.messages)) == [to_json(step(n)) for n in (1, 2, 3)]
    sink.close()
    subscriber.close()


# the client leaves two sockets of the thread that ended to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_broker_that_refuses_the_protocol_and_goes_away_is_found_again(tmp_path, monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda failure: ended.set())
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        sink = sink_for(port, version="3.1.1", timeout_s=1.0)
        sending = threading.Thread(target=lambda: trouble_with(sink, step(1), ""))
        sending.start()
        connection = server.accept()[0]
    with connection:
        connection.recv(1000)
        connection.sendall(b"\x20\x02\x00\x01")  # not this version; the client tries another one at once
        assert ended.wait(60), "what this test is about does not happen with this version of the client"
    sending.join()
    broker = Broker(tmp_path / "broker", port=port)
    broker.start()
    try:
        send_until_taken(sink, step(1))
    finally:
        sink.close()
        broker.stop()


def test_without_a_puback_nothing_is_acknowledged(broker):
    sink = sink_for(broker.port, timeout_s=30)
    sink.send(step(1))
    process = broker._process
    process.send_signal(19)  # SIGSTOP: it takes bytes and answers nothing
    sink._timeout_s = 0.5
    with pytest.raises(LaterError, match=r"no PUBACK within 0\.5 s"):
        sink.send(step(2))
    process.send_signal(18)
    sink._timeout_s = 30
    subscriber = Subscriber(broker.port)
    sink.send(step(2))
    sink.send(step(3))
    until(lambda: to_json(step(3)) in [body for _, body in subscriber.messages])
    assert [body for _, body in subscriber.messages].count(to_json(step(2))) <= 1, "it was published once, not again"
    sink.close()
    subscriber.close()


def test_a_broker_that_is_not_there_is_tried_again_and_closing_breaks_off_the_wait():
    sink = sink_for(free_port(), timeout_s=0.2)
    trouble_with(sink, step(1), "Connection refused")
    sink.close()
    sink = sink_for(free_port(), timeout_s=300)
    threading.Timer(0.2, sink.close).start()
    with pytest.raises(LaterError):
        sink.send(step(1))


def test_users_passwords_and_refusals_of_the_broker(tmp_path, caplog):
    need_mosquitto()
    passwords, rights = tmp_path / "passwords", tmp_path / "rights"
    subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, "edge", "hunter2"], check=True, capture_output=True)
    rights.write_text("user edge\ntopic write shelfgap/alerts/cam-1/#\n")
    broker = Broker(tmp_path / "broker", "allow_anonymous false", f"password_file {passwords}", f"acl_file {rights}")
    broker.start()
    sink = sink_for(broker.port, user="edge", password=Secret("hunter2"))
    sink.send(step(1))
    with pytest.raises(RefusedError, match=r"the broker refuses it \(reason code 0x87\)"):
        sink.send(step(2, camera_id="cam-2"))
    sink.send(step(3))
    sink.close()
    stranger = sink_for(broker.port, user="edge", password=Secret("wrong-hunter3"), timeout_s=3)
    trouble_with(stranger, step(1), "the broker refuses the connection")
    stranger.close()
    broker.stop()
    assert "hunter" not in caplog.text


def test_mqtt_is_read_from_a_table(monkeypatch):
    monkeypatch.setenv("BUS", "hunter2")
    values = {"host": "bus", "user": "edge", "password_env": "BUS", "tls": True, "client_id": "edge-1"}
    sink = Mqtt.from_table("bus", Table(values, "t"))
    assert sink._address == ("bus", 8883)
    assert "hunter2" not in repr(sink) + repr(vars(sink))


def test_two_sinks_that_are_given_no_client_id_do_not_throw_each_other_out():
    ids = {Mqtt.from_table(name, Table({"host": "bus"}, "t"))._client._client_id for name in ("gaps", "cameras")}
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "host is missing"),
        ({"host": "a..b"}, "host: expected the name or address of a host"),
        ({"host": "a", "port": 0}, "port: expected an integer from 1"),
        ({"host": "a", "topic": "a/#"}, "topic: expected a topic without"),
        ({"host": "a", "topic": "/a"}, "topic: expected a topic without"),
        ({"host": "a", "ca_file": "x"}, "ca_file: expected tls = true beside it"),
        ({"host": "a", "cert_file": "x", "key_file": "y"}, "cert_file: expected tls = true beside it"),
        ({"host": "a", "tls": True, "key_file": "y"}, "cert_file and key_file: expected both or neither"),
        ({"host": "a", "version": "4"}, "version: expected 5 or 3.1.1"),
        ({"host": "a", "password_env": "BUS"}, "user: expected the name that the password belongs to"),
    ],
)
def test_what_is_wrong_with_mqtt_is_named(values, message, monkeypatch):
    monkeypatch.setenv("BUS", "hunter2")
    with pytest.raises(ConfigError, match=message) as caught:
        Mqtt.from_table("bus", Table(values, "edge.toml.sinks[0]"))
    assert "hunter2" not in str(caught.value)
