"""MQTT: each camera publishes its JPEGs to a topic of its own; one connection to the broker serves them all."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from shelfgap_edge.errors import MissingRuntimeError
from shelfgap_edge.image import MAX_BODY_BYTES
from shelfgap_edge.overwrite import overwrite_bytes
from shelfgap_edge.sources.address import Address
from shelfgap_edge.sources.failure import SourceFailureError
from shelfgap_edge.sources.session import Session
from shelfgap_edge.sources.source import Backoff, Source
from shelfgap_edge.tls import TlsParams, refuses_client
from shelfgap_edge.toml_table import ConfigError, Table

if TYPE_CHECKING:
    import ssl

    from paho.mqtt.client import Client, MQTTMessage

_CAMERA = "{camera}"
_LOOP_SECONDS = 0.25
_HEADER_BYTES = 1024  # of a message, beside its payload: topic and properties
_REFUSED = {4: "not-authorised", 5: "not-authorised", 134: "not-authorised", 135: "not-authorised"}


@dataclass(frozen=True)
class MqttParams:
    """A broker to which cameras publish.

    Attributes:
        address: mqtt or mqtts.
        tls: for mqtts.
        topic: of a frame; one of its levels is "{camera}" and stands for the camera's id.
        protocol: "5", or "3.1.1" for a broker that knows no better: then larger messages are received in whole
            before they are dropped.
        client_id: None for one that the broker makes up.
        keepalive_s: the broker is taken for gone after one and a half times this.
        timeout_s: seconds for a connection to be made.
        max_bytes: larger frames are rejected.
        backoff: between attempts.
    """

    address: Address
    tls: TlsParams
    topic: str
    protocol: str
    client_id: str | None
    keepalive_s: int
    timeout_s: float
    max_bytes: int
    backoff: Backoff

    @classmethod
    def from_table(cls, table: Table) -> MqttParams:
        """Read a table with `type = "mqtt"`."""
        topic = table.text("topic", f"shelfgap/{_CAMERA}/frame")
        levels = topic.split("/")
        if levels.count(_CAMERA) != 1 or any(re.search(r"[+#\0]", level) for level in levels) or len(topic) > 500:
            raise table.wrong("topic", 'a topic of which one level is "{camera}", without + and #', topic)
        address = Address.from_table(table, ("mqtt", "mqtts"))
        return cls(
            address=address,
            tls=TlsParams.from_table(table, is_used=address.scheme == "mqtts", used_with="an address of mqtts://"),
            topic=topic,
            protocol=table.choice("protocol", ("5", "3.1.1"), "5"),
            client_id=table.text("client_id", None),
            keepalive_s=table.integer("keepalive_s", 30, low=2, high=3600),
            timeout_s=table.number("timeout_s", 10.0, low=0.2, high=600),
            max_bytes=table.integer("max_bytes", 4 * 2**20, low=1024, high=MAX_BODY_BYTES),
            backoff=Backoff.from_table(table),
        )

    def source(self, cameras: Collection[str]) -> Source:
        """Return the source.

        Args:
            cameras: those that are configured; frames of others are counted and dropped.

        Raises:
            MissingRuntimeError: paho-mqtt is not installed.
            ConfigError: a certificate cannot be used, or a camera's id cannot be a level of a topic.
        """
        try:
            import paho.mqtt.client
        except ImportError:
            raise MissingRuntimeError(
                "a source of type mqtt needs paho-mqtt: pip install 'shelfgap-edge[serve]'"
            ) from None
        del paho
        for camera in cameras:
            if re.search(r"[/+#\0]", camera):
                raise ConfigError(f"{self.address}: camera {camera!r}: the id of a camera on MQTT has no / + #")
        context = self.tls.context(str(self.address)) if self.address.scheme == "mqtts" else None
        known = frozenset(cameras)
        return Source(
            "mqtt",
            str(self.address),
            None,
            lambda session: _read(self, context, known, session),
            backoff=self.backoff,
        )


def _read(params: MqttParams, context: ssl.SSLContext | None, cameras: frozenset[str], session: Session) -> None:
    client = _client(params, context)
    refused: list[int] = []
    not_accepted: list[BaseException] = []
    client.on_connect = partial(_on_connect, params, session, refused)
    client.on_message = partial(_on_message, params, cameras, session)
    client.on_subscribe = partial(_on_subscribe, session)
    client.on_log = partial(_on_log, not_accepted)
    port = params.address.port or (1883 if context is None else 8883)
    try:
        client.connect(params.address.host, port, params.keepalive_s, **_connect_options(params))
        deadline = time.monotonic() + params.timeout_s
        while session.live:
            failed = client.loop(_LOOP_SECONDS) != 0
            if refused:
                raise SourceFailureError(_REFUSED.get(refused[0], f"refused-{refused[0]}"))
            if failed:
                raise not_accepted[0] if not_accepted else SourceFailureError("cut")
            if not client.is_connected() and time.monotonic() > deadline:
                raise SourceFailureError("timeout")
        client.disconnect()
    finally:
        client.on_message = None
        if (held := client.socket()) is not None:
            held.close()


def _client(params: MqttParams, context: ssl.SSLContext | None) -> Client:
    from paho.mqtt.client import Client, MQTTv5, MQTTv311
    from paho.mqtt.enums import CallbackAPIVersion

    version = MQTTv5 if params.protocol == "5" else MQTTv311
    client = Client(CallbackAPIVersion.VERSION2, client_id=params.client_id or "", protocol=version)
    client.connect_timeout = params.timeout_s
    if params.address.user is not None:
        client.username_pw_set(params.address.user, params.address.password())
    if context is not None:
        client.tls_set_context(context)
    return client


def _connect_options(params: MqttParams) -> dict[str, Any]:
    if params.protocol != "5":
        return {}
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    properties = Properties(PacketTypes.CONNECT)
    properties.MaximumPacketSize = params.max_bytes + _HEADER_BYTES  # the broker keeps larger ones to itself
    return {"clean_start": True, "properties": properties}


def _on_connect(
    params: MqttParams,
    session: Session,
    refused: list[int],
    client: Client,
    userdata: object,
    flags: object,
    reason: Any,
    properties: object,
) -> None:
    if reason.is_failure:
        refused.append(reason.value)
    else:
        client.subscribe(params.topic.replace(_CAMERA, "+"), qos=0)


def _on_subscribe(
    session: Session, client: Client, userdata: object, mid: int, reasons: list[Any], properties: object
) -> None:
    if any(reason.is_failure for reason in reasons):
        session.cut("not-authorised")
    else:
        session.connected()


def _on_log(not_accepted: list[BaseException], client: Client, userdata: object, level: int, text: str) -> None:
    # With TLS 1.3 a broker says only after the handshake that it misses a client certificate: then the client reads
    # that, logs it while it handles the error, and hands on no more than that the connection is lost.
    error = sys.exception()
    if error is not None and refuses_client(error):
        not_accepted.append(error)


def _on_message(
    params: MqttParams,
    cameras: frozenset[str],
    session: Session,
    client: Client,
    userdata: object,
    message: MQTTMessage,
) -> None:
    payload = message.payload
    try:
        camera = message.topic.split("/")[params.topic.split("/").index(_CAMERA)]
        reason = _problem(params, cameras, camera, message)
        if reason is None:
            session.deliver(camera, bytearray(payload), sampled=False)
        else:
            session.counts(reason)
    except (ValueError, IndexError):  # the topic is no UTF-8, or not one that was asked for
        session.counts("bad-topic")
    finally:
        overwrite_bytes(payload)


def _problem(params: MqttParams, cameras: frozenset[str], camera: str, message: MQTTMessage) -> str | None:
    if camera not in cameras:
        return "unknown-camera"
    if message.retain:
        return "retained"  # taken before this connection, nobody knows when
    if len(message.payload) > params.max_bytes:
        return "too-large"
    return None if message.payload.startswith(b"\xff\xd8\xff") else "not-jpeg"
