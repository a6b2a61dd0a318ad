"""MQTT over TLS with a real mosquitto that asks for client certificates, as a source of frames and as a sink."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alert_events import step
from broker import Broker, Subscriber, send_until_taken, trouble_with
from certificates import Authority
from shelfgap_edge.alerts.cloudevent import to_json
from shelfgap_edge.alerts.sinks.mqtt import Mqtt
from shelfgap_edge.alerts.sinks.secret import Secret
from shelfgap_edge.tls import TlsParams
from shelfgap_edge.toml_table import Table
from taken import Taken, make_source, running, wait_until

JPEG = b"\xff\xd8\xff" + b"a picture" * 20 + b"\xff\xd9"
ACCEPTED = "New client connected"  # in the log of mosquitto
DAY = timedelta(days=1)


class Shop:
    """An authority, a broker that it certified and that wants certificates of it, and clients."""

    def __init__(self, folder):
        self.folder, self.brokers = folder, []
        self.authority = Authority(folder / "certificates")
        self.own = self.authority.issue("edge-1")
        self.broker = self.start(self.authority.issue("127.0.0.1"), "require_certificate true")

    def start(self, certificate, *extra, port=None):
        lines = [f"cafile {self.authority.file}", f"certfile {certificate.file}", f"keyfile {certificate.key_file}"]
        folder = self.folder / f"broker-{len(self.brokers)}"
        self.brokers.append(Broker(folder, "allow_anonymous true", *lines, *extra, port=port))
        self.brokers[-1].start()
        return self.brokers[-1]

    def start_impostor(self, name):
        """Start a broker that takes every client, with another certificate, where the real one was."""
        until = {"expired": datetime.now(UTC) - DAY / 24, "early": datetime.now(UTC) + 3 * DAY}.get(name)
        issuer = Authority(self.folder / "elsewhere") if name == "authority" else self.authority
        host = "broker.elsewhere.lan" if name == "name" else "127.0.0.1"
        certificate = issuer.issue(host, until=until, stem="impostor")
        self.broker.stop()
        return self.start(certificate, port=self.broker.port)

    def keys(self, **changes):
        files = {"ca_file": self.authority.file, "cert_file": self.own.file, "key_file": self.own.key_file, **changes}
        return {key: str(file) for key, file in files.items() if file is not None}

    def tls(self, **changes):
        return TlsParams(**{key: Path(file) for key, file in self.keys(**changes).items()})

    def sink(self, **changes):
        table = {"host": "127.0.0.1", "port": self.broker.port, "client_id": "edge-1", "timeout_s": 1.0, "tls": True}
        return Mqtt.from_table("bus", Table({**table, **self.keys(**changes)}, "edge.toml.sinks[0]"))

    def source(self, host="127.0.0.1", **changes):
        url = f"mqtts://{host}:{self.broker.port}"
        return make_source({"type": "mqtt", "url": url, **self.keys(**changes)}, ("a1",))

    def publish(self, topic, payload):
        from paho.mqtt.publish import single

        tls = {"ca_certs": self.authority.file, "certfile": self.own.file, "keyfile": self.own.key_file}
        single(topic, payload, qos=1, hostname="127.0.0.1", port=self.broker.port, tls=tls)


@pytest.fixture
def shop(tmp_path):
    shop = Shop(tmp_path)
    yield shop
    for broker in shop.brokers:
        broker.stop()


def test_steps_arrive_and_a_broker_that_restarts_with_a_new_certificate_gets_what_it_missed(shop):
    subscriber, sink = Subscriber(shop.broker.port, shop.tls().context("test")), shop.sink()
    send_until_taken(sink, step(1))
    assert ACCEPTED in shop.broker.log()
    shop.broker.stop()
    trouble_with(sink, step(2), "Connection refused")
    shop.authority.issue("127.0.0.1")
    shop.broker.start()
    send_until_taken(sink, step(2))
    wait_until(lambda: len({body for _, body in subscriber.messages}) == 2, "both steps", 120)
    assert list(dict.fromkeys(body for _, body in subscriber.messages)) == [to_json(step(1)), to_json(step(2))]
    sink.close()
    subscriber.close()


@pytest.mark.parametrize(
    ("impostor", "said"),
    [
        ("authority", "unable to get local issuer certificate"),
        ("name", "IP address mismatch"),
        ("expired", "certificate has expired"),
        ("early", "certificate is not yet valid"),
    ],
)
def test_a_sink_sends_nothing_to_a_broker_whose_certificate_does_not_hold_and_says_why(shop, impostor, said):
    subscriber, sink = Subscriber(shop.broker.port, shop.tls().context("test")), shop.sink()
    send_until_taken(sink, step(1))
    other = shop.start_impostor(impostor)
    text = trouble_with(sink, step(2), "its certificate does not hold")
    assert said in text
    assert text.startswith(f"127.0.0.1:{shop.broker.port}: ")
    wait_until(lambda: "Client connection from 127.0.0.1 failed" in other.log(), "the broker to log the failure")
    other.stop()
    assert ACCEPTED not in other.log()
    shop.broker.start()
    send_until_taken(sink, step(2))
    wait_until(lambda: to_json(step(2)) in [body for _, body in subscriber.messages], "the second step", 120)
    sink.close()
    subscriber.close()


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("shown", ["none", "of-another-authority"])
def test_a_sink_without_a_certificate_of_the_authority_is_refused_and_says_so(shop, tmp_path, version, shown):
    other = Authority(tmp_path / "elsewhere").issue("edge-1")
    files = (None, None) if shown == "none" else (other.file, other.key_file)
    context = shop.tls(cert_file=files[0], key_file=files[1]).context("test")
    context.maximum_version = ssl.TLSVersion[version]
    password = Secret("hunter2")
    sink = Mqtt(
        "bus",
        "127.0.0.1",
        shop.broker.port,
        "shelfgap",
        "edge-1",
        tls=context,
        timeout_s=1.0,
        user="edge",
        password=password,
    )
    text = trouble_with(sink, step(1), "it does not accept this client (")
    alert = {"none": {"TLSv1_2": "handshake failure", "TLSv1_3": "certificate required"}[version]}
    assert alert.get(shown, "unknown ca") in text
    assert text.endswith("; see cert_file and key_file")
    assert "hunter2" not in text
    sink.close()
    assert ACCEPTED not in shop.broker.log()


def test_frames_arrive_and_a_broker_that_restarts_is_found_again(shop):
    source = shop.source()
    with running(source, taken := Taken()):
        for count in (1, 2):
            wait_until(lambda: source.state().connected, "the connection")
            shop.publish("shelfgap/a1/frame", JPEG + bytes([count]))
            taken.wait_for(count)
            shop.broker.stop()
            wait_until(lambda: not source.state().connected, "the cut to be seen")
            shop.broker.start()
    assert [bytes(frame.jpeg) for frame in taken.frames] == [JPEG + b"\1", JPEG + b"\2"]
    assert set(source.state().failures) <= {"cut", "refused"}


@pytest.mark.parametrize(
    ("impostor", "host", "reason"),
    [
        ("authority", "127.0.0.1", "certificate"),
        ("name", "127.0.0.1", "certificate-name"),
        ("name", "localhost", "certificate-name"),
        ("expired", "127.0.0.1", "certificate-expired"),
        ("early", "127.0.0.1", "certificate-not-yet-valid"),
    ],
)
def test_a_source_tells_a_broker_nothing_whose_certificate_does_not_hold_and_counts_why(shop, impostor, host, reason):
    other = shop.start_impostor(impostor)
    source = shop.source(host)
    with running(source, taken := Taken()):
        wait_until(lambda: source.state().failures.get(reason, 0) >= 2, reason)
    other.stop()
    assert ACCEPTED not in other.log()
    assert source.state().last_failure == reason
    assert taken.frames == []


@pytest.mark.parametrize("shown", ["none", "of-another-authority"])
def test_a_source_without_a_certificate_of_the_authority_counts_that(shop, tmp_path, shown):
    other = Authority(tmp_path / "elsewhere").issue("edge-1")
    files = (None, None) if shown == "none" else (other.file, other.key_file)
    source = shop.source(cert_file=files[0], key_file=files[1])
    with running(source, Taken()):
        wait_until(lambda: "client-certificate" in source.state().failures, "the refusal")
        assert not source.state().connected
    assert ACCEPTED not in shop.broker.log()
