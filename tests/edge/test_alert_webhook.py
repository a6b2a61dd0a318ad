"""Webhooks on a real server: signed, acknowledged by 2xx alone, never redirected, and their secrets never shown."""

from __future__ import annotations

import email.utils
import json
import socket
import ssl
import time
from urllib.parse import urlsplit

import pytest
from alert_events import step
from certificates import Authority
from receiver import SECRET, Receiver, verify_of_the_docs
from shelfgap_edge.alerts.cloudevent import to_json
from shelfgap_edge.alerts.sinks.secret import Secret
from shelfgap_edge.alerts.sinks.signing import signature_headers, signing_keys
from shelfgap_edge.alerts.sinks.sink import LaterError, RefusedError
from shelfgap_edge.alerts.sinks.webhook import Webhook
from shelfgap_edge.toml_table import ConfigError, Table

KEYS = signing_keys(Secret(SECRET), "test")
OTHER = "whsec_" + "Bb+/" * 10 + "Bb8="


@pytest.fixture
def receiver():
    receiver = Receiver()
    receiver.start()
    yield receiver
    receiver.stop()


def webhook(receiver, path="/alerts", **options):
    return Webhook("web", urlsplit(f"http://127.0.0.1:{receiver.port}{path}"), KEYS, **{"timeout_s": 20, **options})


def test_the_signature_is_that_of_standard_webhooks():
    # the example of the Standard Webhooks libraries
    headers = signature_headers(KEYS, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_step_is_posted_signed_and_under_the_same_key_each_time(receiver):
    sink = webhook(receiver, "/alerts?shop=1")
    sink.send(step(1))
    sink.send(step(1))
    assert receiver.taken == [to_json(step(1))] * 2
    assert receiver.forged == 0
    for headers in receiver.headers:
        assert headers["webhook-id"] == step(1).key
        assert headers["content-type"].startswith("application/cloudevents+json")
        assert abs(int(headers["webhook-timestamp"]) - time.time()) < 120


def test_the_receiver_of_the_docs_refuses_what_was_altered_or_is_old():
    verify, body, now = verify_of_the_docs(), to_json(step(1)), int(time.time())
    headers = signature_headers(KEYS, step(1).key, now, body)
    assert verify(headers, body, SECRET)
    assert not verify(headers, body + b" ", SECRET)
    assert not verify(headers, body, OTHER)
    assert not verify({**headers, "webhook-id": "another"}, body, SECRET)
    assert not verify({**headers, "webhook-timestamp": str(now + 1)}, body, SECRET)
    assert not verify({}, body, SECRET)
    assert not verify(signature_headers(KEYS, step(1).key, now - 301, body), body, SECRET)


def test_while_a_secret_is_exchanged_both_signatures_are_sent():
    verify, body, now = verify_of_the_docs(), to_json(step(1)), int(time.time())
    keys = signing_keys(Secret(f"{OTHER}\n{SECRET}\n"), "test")
    headers = signature_headers(keys, step(1).key, now, body)
    assert verify(headers, body, SECRET)
    assert verify(headers, body, OTHER)


@pytest.mark.parametrize("status", [400, 401, 404, 410, 413, 422])
def test_a_permanent_refusal_is_told_from_a_passing_one(receiver, status):
    receiver.mode = status
    with pytest.raises(RefusedError, match=f"answered {status}"):
        webhook(receiver).send(step(1))


@pytest.mark.parametrize(
    ("status", "whole_sink"),
    [(408, False), (425, False), (500, False), (507, False), (429, True), (502, True), (503, True), (504, True)],
)
def test_passing_troubles_are_tried_again(receiver, status, whole_sink):
    receiver.mode = status
    with pytest.raises(LaterError, match=f"answered {status}") as caught:
        webhook(receiver).send(step(1))
    assert (caught.value.whole_sink, caught.value.after_s) == (whole_sink, 0)


@pytest.mark.parametrize(
    ("text", "after_s"),
    [
        ("7", 7),
        ("0", 0),
        ("-3", 0),
        ("9" * 30, 86_400),
        (email.utils.formatdate(1_000_060, usegmt=True), 60),
        (email.utils.formatdate(900_000, usegmt=True), 0),
        ("soon", 0),
        ("", 0),
        ("9" * 400, 0),
    ],
)
def test_retry_after_is_obeyed(receiver, text, after_s):
    receiver.mode, receiver.answer_headers = 503, {"Retry-After": text}
    with pytest.raises(LaterError) as caught:
        webhook(receiver, wall_clock=lambda: 1_000_000.0).send(step(1))
    assert caught.value.after_s == after_s
    assert caught.value.whole_sink


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(receiver, status):
    target = Receiver()
    target.start()
    receiver.mode, receiver.answer_headers = status, {"Location": f"http://127.0.0.1:{target.port}/"}
    with pytest.raises(LaterError, match=f"answered {status}; redirects are not followed"):
        webhook(receiver).send(step(1))
    target.stop()
    assert target.headers == []


def test_a_server_that_is_not_there_or_goes_away_is_tried_again(receiver):
    receiver.mode = "vanish"
    with pytest.raises(LaterError, match=r"127\.0\.0\.1: ") as caught:
        webhook(receiver).send(step(1))
    assert caught.value.whole_sink
    receiver.stop()
    with pytest.raises(LaterError, match="refused"):
        webhook(receiver).send(step(1))
    receiver.start()


@pytest.mark.parametrize(("scheme", "port"), [("http", 80), ("https", 443)])
def test_an_ipv6_address_without_a_port_keeps_its_last_part(scheme, port, monkeypatch):
    asked = []

    def refuse(address, *_):
        asked.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)
    tls = ssl.create_default_context() if scheme == "https" else None
    with pytest.raises(LaterError):
        Webhook("web", urlsplit(f"{scheme}://[2001:db8::5]/alerts"), KEYS, tls=tls).send(step(1))
    assert asked == [("2001:db8::5", port)]


def test_an_answer_that_drips_ends_with_the_timeout(receiver):
    receiver.mode = "slow"
    with pytest.raises(LaterError, match=r"127\.0\.0\.1: ") as caught:
        webhook(receiver, timeout_s=1.0).send(step(1))
    assert caught.value.whole_sink


def test_a_first_address_that_leads_nowhere_costs_time_and_no_delivery(receiver, monkeypatch):
    connect = socket.create_connection

    def connect_late(*arguments):
        time.sleep(4.2)  # as long as an address may take, before the second one answers
        return connect(*arguments)

    monkeypatch.setattr(socket, "create_connection", connect_late)
    webhook(receiver, timeout_s=4.0).send(step(1))
    assert receiver.taken == [to_json(step(1))]


def table(**values):
    return Table({"type": "webhook", "name": "web", **values}, "edge.toml.sinks[0]")


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def secure_receiver(authority):
    own = authority.issue("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.file, own.key_file)
    receiver = Receiver(tls=context)
    receiver.start()
    yield receiver
    receiver.stop()


@pytest.fixture
def secure_sink(secure_receiver, monkeypatch):
    monkeypatch.setenv("HOOK", SECRET)
    url = f"https://127.0.0.1:{secure_receiver.port}/"
    return lambda **files: Webhook.from_table(
        "web", table(url=url, secret_env="HOOK", **{key: str(file) for key, file in files.items()})
    )


def test_certificates_are_verified_against_the_system_or_an_authority_of_ones_own(
    tmp_path, authority, secure_receiver, secure_sink
):
    secure_sink(ca_file=authority.file).send(step(1))
    assert secure_receiver.forged == 0
    assert len(secure_receiver.taken) == 1
    for bad in (secure_sink(), secure_sink(ca_file=Authority(tmp_path, "other").file)):
        with pytest.raises(LaterError, match="its certificate does not hold"):
            bad.send(step(1))
    assert len(secure_receiver.headers) == 1
    with pytest.raises(ConfigError, match=r"edge\.toml\.sinks\[0\]: ca_file: .*nowhere: No such file"):
        secure_sink(ca_file=tmp_path / "nowhere")


def test_a_receiver_may_ask_for_a_client_certificate(authority, secure_receiver, secure_sink):
    secure_receiver.tls.verify_mode = ssl.CERT_REQUIRED
    secure_receiver.tls.maximum_version = ssl.TLSVersion.TLSv1_2  # which refuses before a byte of the step is sent
    secure_receiver.tls.load_verify_locations(authority.file)
    own = authority.issue("edge-1")
    with pytest.raises(
        LaterError, match=r"127\.0\.0\.1: it does not accept this client .*; see cert_file and key_file"
    ):
        secure_sink(ca_file=authority.file).send(step(1))
    secure_sink(ca_file=authority.file, cert_file=own.file, key_file=own.key_file).send(step(1))
    assert len(secure_receiver.taken) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "url is missing"),
        ({"url": "ftp://a/b"}, "url: expected http://host/path or https://host/path"),
        ({"url": "https://"}, "url: expected"),
        ({"url": "https://host:port/"}, "url: expected"),
        ({"url": "https://host/a b"}, "url: expected"),
        ({"url": "https://host/a\x01b"}, "url: expected"),
        ({"url": "https://shop..example/"}, "url: expected"),
        ({"url": f"https://{'a' * 64}.example/"}, "url: expected"),
        ({"url": "https://user:hunter2@host/"}, "url: holds a user or password"),
        ({"url": "https://host/"}, "secret_env or secret_file is missing; secrets do not stand in the configuration"),
        ({"url": "https://host/", "secret_env": "NOT_SET"}, "the environment variable NOT_SET is not set"),
        ({"url": "https://host/", "secret_env": "A", "secret_file": "b"}, "expected one of them, got both"),
        ({"url": "https://host/", "secret_file": "/nowhere/secret"}, "/nowhere/secret: No such file"),
        ({"url": "https://host/", "secret_env": "SHORT"}, "a signing secret is whsec_ and 24 to 64 bytes"),
        (
            {"url": "http://host/", "secret_env": "GOOD", "ca_file": "x"},
            "ca_file: expected a url of https:// beside it",
        ),
        ({"url": "http://host/", "secret_env": "GOOD", "key_file": "x"}, "key_file: expected a url of https://"),
        ({"url": "https://host/", "secret_env": "GOOD", "cert_file": "x"}, "cert_file and key_file: expected both"),
        ({"url": "https://host/", "secret_env": "PLAIN"}, "a signing secret is whsec_ and 24 to 64 bytes"),
    ],
)
def test_what_is_wrong_with_a_webhook_is_named_without_its_secret(values, message, monkeypatch):
    monkeypatch.setenv("SHORT", "whsec_aHVudGVyMg==")
    monkeypatch.setenv("PLAIN", "hunter2")
    monkeypatch.setenv("GOOD", SECRET)
    with pytest.raises(ConfigError, match=message) as caught:
        Webhook.from_table("web", table(**values))
    assert "hunter2" not in str(caught.value)
    assert "aHVudGVyMg" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_secret_comes_from_a_file_that_only_its_owner_reads(tmp_path, receiver, mode):
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    file.chmod(mode)
    sink = Webhook.from_table("web", table(url=f"http://127.0.0.1:{receiver.port}/", secret_file=str(file)))
    sink.send(step(1))
    assert receiver.forged == 0
    assert json.loads(receiver.taken[0])["id"] == step(1).key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_secret_that_others_may_read_is_refused(tmp_path, mode):
    file = tmp_path / "secret"
    file.write_text(SECRET)
    file.chmod(mode)
    with pytest.raises(ConfigError, match=f"secret_file: .*its mode is 0{mode:o}, expected 0600 or 0400"):
        Webhook.from_table("web", table(url="https://host/", secret_file=str(file)))


@pytest.mark.parametrize(("content", "message"), [(b"", "empty"), (b"\xff\xfe", "not UTF-8 text")])
def test_a_secret_that_is_no_text_is_refused(tmp_path, content, message):
    file = tmp_path / "secret"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(ConfigError, match=message):
        Webhook.from_table("web", table(url="https://host/", secret_file=str(file)))


def test_secrets_are_shown_nowhere(receiver, caplog):
    secret = Secret(SECRET)
    assert SECRET not in f"{secret!r}{secret}{[secret]}"
    sink = webhook(receiver)
    assert SECRET not in repr(vars(sink) | {"_keys": None})
    receiver.mode = 500
    with pytest.raises(LaterError) as caught:
        sink.send(step(1))
    assert "/alerts" not in str(caught.value), "the path of an address may be a secret too"
