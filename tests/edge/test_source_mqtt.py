"""MQTT from a real mosquitto on loopback: camera topics, limits, a broker that goes and comes back."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from taken import Taken, make_source, running, wait_until

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="needs mosquitto: apt-get install mosquitto")

JPEG = b"\xff\xd8\xff" + b"a picture" * 20 + b"\xff\xd9"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@contextmanager
def broker(folder: Path, port: int, extra: str = "allow_anonymous true") -> Iterator[None]:
    config = folder / f"mosquitto-{port}.conf"
    config.write_text(f"listener {port} 127.0.0.1\npersistence false\n{extra}\n")
    process = subprocess.Popen([MOSQUITTO, "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(port), "mosquitto")
        yield
    finally:
        process.terminate()
        process.wait(30)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def publish(port: int, *messages: tuple[str, bytes], retain: bool = False, **login: str) -> None:
    from paho.mqtt.publish import multiple

    multiple(
        [{"topic": topic, "payload": payload, "qos": 1, "retain": retain} for topic, payload in messages],
        hostname="127.0.0.1",
        port=port,
        auth=login or None,
    )


def mqtt(port: int, **options: object):
    given = {"type": "mqtt", "url": f"mqtt://127.0.0.1:{port}", **options}
    return make_source({key: value for key, value in given.items() if value is not None}, ("a1", "b2"))


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_each_camera_has_its_topic_and_others_have_none(tmp_path, protocol):
    port = free_port()
    with broker(tmp_path, port):
        publish(port, ("shop/a1/jpeg", JPEG), retain=True)
        source = mqtt(port, topic="shop/{camera}/jpeg", protocol=protocol, max_bytes=2000)
        with running(source, taken := Taken()):
            wait_until(lambda: source.state().connected, "the connection")
            publish(
                port,
                ("shop/a1/jpeg", JPEG),
                ("shop/b2/jpeg", JPEG + b"2"),
                ("shop/c3/jpeg", JPEG),
                ("shop/../jpeg", JPEG),
                ("shop/a1/other", JPEG),
                ("shop/a1/jpeg", b"<svg/>"),
                ("shop/a1/jpeg", b""),
                ("shop/a1/jpeg", JPEG + bytes(8000)),
                ("shop/b2/jpeg", JPEG + b"last"),
            )
            frames = taken.wait_for(3)
            state = source.state()
    assert [(frame.camera_id, bytes(frame.jpeg)) for frame in frames] == [
        ("a1", JPEG),
        ("b2", JPEG + b"2"),
        ("b2", JPEG + b"last"),
    ]
    assert all(abs(frame.at - time.time()) < 600 for frame in frames)
    dropped = {"retained": 1, "unknown-camera": 2, "not-jpeg": 2}
    # a broker that speaks version 5 keeps what is too large to itself
    assert state.failures == (dropped if protocol == "5" else dropped | {"too-large": 1})


def test_a_broker_that_restarts_is_found_again(tmp_path):
    port = free_port()
    source = mqtt(port)
    with running(source, taken := Taken()):
        wait_until(lambda: "refused" in source.state().failures, "an attempt without a broker")
        for count in (1, 2):
            with broker(tmp_path, port):
                wait_until(lambda: source.state().connected, "the connection")
                publish(port, ("shelfgap/a1/frame", JPEG))
                taken.wait_for(count)
            wait_until(lambda: not source.state().connected, "the cut to be seen")
    assert source.state().failures["cut"] >= 1


def test_passwords_come_from_a_file_and_a_wrong_one_is_counted(tmp_path):
    port = free_port()
    users = tmp_path / "users"
    subprocess.run(["mosquitto_passwd", "-b", "-c", users, "edge", "pass:word/"], check=True, capture_output=True)
    secret = tmp_path / "broker.url"
    secret.write_text(f"mqtt://edge:pass%3Aword%2F@127.0.0.1:{port}\n")
    secret.chmod(0o600)
    with broker(tmp_path, port, f"allow_anonymous false\npassword_file {users}\nuser root"):
        source = mqtt(port, url=None, url_file=str(secret))
        with running(source, taken := Taken()):
            wait_until(lambda: source.state().connected, "the connection")
            publish(port, ("shelfgap/a1/frame", JPEG), username="edge", password="pass:word/")
            taken.wait_for(1)
        assert "pass" not in f"{source!r} {source.state()}"
        stranger = mqtt(port)
        with running(stranger, Taken()):
            wait_until(lambda: "not-authorised" in stranger.state().failures, "the refusal")


def test_stopping_does_not_wait_for_a_broker_that_says_nothing():
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        source = mqtt(mute.getsockname()[1], timeout_s=0.4)
        with running(source, Taken()):
            wait_until(lambda: "timeout" in source.state().failures, "the timeout")
        assert not source.state().connected
