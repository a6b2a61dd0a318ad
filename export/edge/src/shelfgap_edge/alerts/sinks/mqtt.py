"""MQTT with QoS 1: a step is acknowledged by the broker's PUBACK and by nothing else."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from shelfgap_edge.alerts.backoff import Backoff
from shelfgap_edge.alerts.cloudevent import subject_of, to_json
from shelfgap_edge.alerts.event import AlertEvent
from shelfgap_edge.alerts.sinks.secret import Secret, read_secret
from shelfgap_edge.alerts.sinks.sink import LaterError, RefusedError
from shelfgap_edge.errors import ShelfgapError
from shelfgap_edge.tls import TlsParams, describe
from shelfgap_edge.toml_table import Table

_KEEPALIVE_S = 30
_SESSION_S = 7 * 86_400  # how long a broker is to remember this client
_FIRST_FAILURE = 0x80
_NEVER = (0x87, 0x90, 0x95, 0x99)  # not authorized, topic name invalid, packet too large, payload format invalid


class Mqtt:
    """Publishes to `<topic>/<camera>/zones/<zone>`, or `<topic>/<camera>/camera` for the camera itself.

    The connection is made in the background, and made again whenever it breaks; the session is kept by the broker.

    Args:
        name: of the sink.
        host, port: of the broker.
        topic: without wildcards.
        client_id: of this device alone; a second client of that name would throw it out.
        version: of the protocol, "5" or "3.1.1". With 3.1.1 a broker cannot say that it refuses a step.
        timeout_s: to wait for a PUBACK.
        user, password: for the broker.
        tls: None for a connection in the clear.
        backoff: between tries.

    Raises:
        ShelfgapError: paho-mqtt is not installed.
    """

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        topic: str,
        client_id: str,
        *,
        version: str = "5",
        timeout_s: float = 10.0,
        user: str | None = None,
        password: Secret | None = None,
        tls: ssl.SSLContext | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        try:
            from paho.mqtt.client import Client, MQTTv5, MQTTv311
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError:
            raise ShelfgapError(
                f"sink {name!r}: MQTT needs paho-mqtt, which is not installed: pip install 'shelfgap-edge[serve]'"
            ) from None
        self.name = name
        self.backoff = backoff or Backoff()
        self._where, self._topic, self._timeout_s = f"{host}:{port}", topic, timeout_s
        self._address, self._is_v5 = (host, port), version == "5"
        self._changed = threading.Condition()
        self._started = self._connected = self._closed = False
        self._why = "not connected yet"
        self._is_explained = False  # whether `_why` is about the present attempt to connect
        self._message_ids: dict[str, int] = {}
        self._answers: dict[int, int] = {}
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=None if self._is_v5 else False,
            protocol=MQTTv5 if self._is_v5 else MQTTv311,
        )
        self._client.reconnect_delay_set(1, 30)
        self._client.connect_timeout = timeout_s
        if user is not None:
            self._client.username_pw_set(user, password.reveal() if password else None)
        if tls is not None:
            self._client.tls_set_context(tls)
        self._client.on_pre_connect = self._on_attempt
        self._client.on_connect_fail = self._client.on_log = self._on_error
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish

    @classmethod
    def from_table(cls, name: str, table: Table) -> Mqtt:
        """Read the keys of MQTT in `[[sinks]]`."""
        encrypted = table.flag("tls", False)
        params = TlsParams.from_table(table, is_used=encrypted, used_with="tls = true")
        host = table.text("host")
        try:
            host.encode("idna")
        except UnicodeError:  # it would end the client's thread
            raise table.wrong("host", "the name or address of a host", host) from None
        topic = table.text("topic", "shelfgap/alerts")
        if set(topic) & set("+#\0") or topic.startswith(("/", "$")) or topic.endswith("/"):
            raise table.wrong("topic", "a topic without + # $ and without / at either end", topic)
        user, password = table.text("user", None), read_secret(table, "password")
        if password is not None and user is None:
            raise table.wrong("user", "the name that the password belongs to", user)
        return cls(
            name,
            host,
            table.integer("port", 8883 if encrypted else 1883, low=1, high=65535),
            topic,
            table.text("client_id", f"shelfgap-alerts-{socket.gethostname()}-{name}"),  # two sinks, two clients
            version=table.choice("version", ("5", "3.1.1"), "5"),
            timeout_s=table.number("timeout_s", 10.0, low=0.1, high=300),
            user=user,
            password=password,
            tls=params.context(table.where) if encrypted else None,
            backoff=Backoff.from_table(table),
        )

    def send(self, event: AlertEvent) -> None:
        """Publish a step and wait for its PUBACK; see `Sink.send`."""
        deadline = time.monotonic() + self._timeout_s
        self._start()
        self._wait(lambda: self._connected, deadline)
        number = self._message_ids.get(event.key)
        if number is None:  # else the client repeats what it has published already, as MQTT wants it
            topic = f"{self._topic}/{quote(event.camera_id, safe='')}/{subject_of(event)}"
            number = self._client.publish(topic, to_json(event), qos=1, properties=self._properties()).mid
            self._message_ids[event.key] = number
        self._wait(lambda: number in self._answers, deadline, f"no PUBACK within {self._timeout_s:g} s")
        del self._message_ids[event.key]
        reason = self._answers.pop(number)
        if reason in _NEVER:
            raise RefusedError(f"{self._where}: the broker refuses it (reason code 0x{reason:02x})")
        if reason >= _FIRST_FAILURE:
            raise LaterError(
                f"{self._where}: the broker did not take it (reason code 0x{reason:02x})", whole_sink=False
            )

    def close(self) -> None:
        """Disconnect, and break off a wait that is under way."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._client.disconnect()
        if self._started:
            self._client.loop_stop()

    def _wait(self, condition: Callable[[], bool], deadline: float, why: str = "") -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or condition(), deadline - time.monotonic())
            if not condition():
                raise LaterError(f"{self._where}: {self._why if not self._connected else why}")

    def _start(self) -> None:
        if not self._started:
            self._connect()
            self._started = True
        if not self._closed:
            self._client.loop_start()  # nothing where it runs; an error that the client does not expect ends it

    def _connect(self) -> None:
        options: dict[str, Any] = {}
        if self._is_v5:
            from paho.mqtt.packettypes import PacketTypes
            from paho.mqtt.properties import Properties

            session = Properties(PacketTypes.CONNECT)
            session.SessionExpiryInterval = _SESSION_S
            options = {"clean_start": False, "properties": session}
        self._client.connect_async(*self._address, keepalive=_KEEPALIVE_S, **options)

    def _properties(self) -> Any:
        if not self._is_v5:
            return None
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        properties = Properties(PacketTypes.PUBLISH)
        properties.ContentType = "application/cloudevents+json"
        return properties

    def _on_attempt(self, *_: Any) -> None:
        self._is_explained = False

    def _on_error(self, *_: Any) -> None:
        """Note the error that the client, in its own thread, is handling: it calls back then but does not pass it on.

        Certificates show in `on_connect_fail`. With TLS 1.3 a broker says only after the handshake that it misses one
        of this client; that is logged.
        """
        error = sys.exception()
        if isinstance(error, OSError) and not self._connected:
            self._explain(describe(error))

    def _explain(self, why: str) -> None:
        with self._changed:
            self._why, self._is_explained = why, True

    def _on_connect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        with self._changed:
            self._connected = not reason.is_failure
            if reason.is_failure:
                self._explain(f"the broker refuses the connection ({reason})")
            self._changed.notify_all()

    def _on_disconnect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        with self._changed:
            if self._connected:
                self._explain("the connection broke")
            elif not self._is_explained:
                self._explain("the broker closed the connection before it answered")
            self._connected = False

    def _on_publish(self, client: Any, data: Any, message_id: int, reason: Any, properties: Any) -> None:
        with self._changed:
            self._answers[message_id] = reason.value
            self._changed.notify_all()
