"""A real mosquitto on loopback, which tests stop and start, and a subscriber that misses nothing meanwhile."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest
from paho.mqtt.client import Client, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from shelfgap_edge.alerts.event import AlertEvent
from shelfgap_edge.alerts.sinks.sink import LaterError, Sink


def need_mosquitto() -> str:
    """Return the program, or skip the test."""
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None:
        pytest.skip("mosquitto is not installed (apt-get install mosquitto)")
    return program


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Broker:
    """See the module; what it has acknowledged it keeps over a stop."""

    def __init__(self, folder: Path, *extra: str, port: int | None = None) -> None:
        self.port = port or free_port()
        folder.mkdir(exist_ok=True)
        self._program, self._config = need_mosquitto(), folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", "persistence true", f"persistence_location {folder}/", "user root"]
        lines += ["max_queued_messages 0", *(extra or ["allow_anonymous true"])]
        self._config.write_text("\n".join(lines) + "\n")
        self._log = folder / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([self._program, "-c", self._config], stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(self._log.read_text())

    def log(self) -> str:
        """Return what it wrote since it was made."""
        return self._log.read_text()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None


class Subscriber:
    """Keeps all messages below shelfgap/ in the order in which they came."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, "subscriber", clean_session=False, protocol=MQTTv311)
        self._client.reconnect_delay_set(1, 1)
        if tls is not None:
            self._client.tls_set_context(tls)
        self._client.on_connect = lambda client, *rest: client.subscribe("shelfgap/#", qos=1)
        self._client.on_subscribe = lambda *rest: self.subscribed.set()
        self._client.on_message = lambda client, data, message: self.messages.append((message.topic, message.payload))
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self.subscribed.wait(60)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def send_until_taken(sink: Sink, event: AlertEvent) -> None:
    """Try again, as the dispatcher does, until a step is acknowledged."""
    deadline = time.monotonic() + 120
    while True:
        try:
            sink.send(event)
            return
        except LaterError:
            assert time.monotonic() < deadline


def trouble_with(sink: Sink, event: AlertEvent, said: str) -> str:
    """Send until it fails for this reason; another may come first, such as a connection that broke."""
    deadline = time.monotonic() + 60
    while True:
        with pytest.raises(LaterError) as caught:
            sink.send(event)
        if said in str(caught.value):
            return str(caught.value)
        assert time.monotonic() < deadline, str(caught.value)
