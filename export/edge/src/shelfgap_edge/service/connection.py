"""HTTP connections as cameras may hold them: slow ones and too many are closed, nonsense gets a reason in JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from shelfgap_edge.overwrite import overwrite
from shelfgap_edge.service.config import HttpConfig

CountRefusal = Callable[[str], object]
_READING = (h11.IDLE, h11.SEND_BODY)
_GRACE_SECONDS = 2.0  # so that the application's own answer to a slow body comes first


def connection_class(limits: Callable[[], HttpConfig], count: CountRefusal) -> type[H11Protocol]:
    """Return a protocol class for uvicorn.

    Args:
        limits: asked for each connection: `connections` at once, and in how many `body_seconds` head and body of a
            request, or the first word of a new connection, must have come.
        count: called with the reason of each refusal.
    """

    class Connection(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None
        leaving = False

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            self._real = transport
            super().connection_made(_Closing(transport, self))  # type: ignore[arg-type]
            if len(self.connections) > limits().connections:
                count("too-many-connections")
                transport.abort()
                return
            self.app_state = {**self.app_state, "client_names": _client_names(transport)}
            self._arm()

        def data_received(self, data: bytes) -> None:
            if self.leaving:
                return
            self._arm()
            before = self.conn.their_state
            try:
                super().data_received(data)
            except (h11.LocalProtocolError, UnicodeDecodeError):  # a path that is not ASCII, an answer out of turn
                count("malformed-request")
                self.transport.abort()
            if self.leaving:
                return
            if self.conn.their_state not in _READING:
                self._disarm()
            elif before is h11.SEND_BODY and self.conn.their_state is h11.IDLE:  # the end of a refused body
                self._disarm()
                self._unset_keepalive_if_required()
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )

        def on_response_complete(self) -> None:
            if isinstance(self.cycle.body, bytearray):  # of a request that was refused before its body was read
                overwrite(self.cycle.body)
            super().on_response_complete()

        def shutdown(self) -> None:
            if self.leaving:  # it was answered; nobody waits for the rest of a request
                self._real.close()
                return
            self.leaving = self.cycle is None or self.cycle.response_complete  # no answer is under way
            try:
                super().shutdown()
            except h11.LocalProtocolError:  # it ended in an error and is being closed
                self.transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._disarm()
            self._unset_keepalive_if_required()  # a timer would hold on to what came in

        def send_400_response(self, msg: str) -> None:
            count("malformed-request")
            if self.cycle is not None:
                self.cycle.disconnected = True  # a request whose body is nonsense is answered here
                self.cycle.message_event.set()
            if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # an answer is under way already
                self.transport.abort()
                return
            body = json.dumps({"error": "malformed-request", "detail": "this is not HTTP/1.1"}).encode()
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
            self.transport.close()

        def _unsupported_upgrade_warning(self) -> None:
            """Say nothing: whoever asks for a websocket gets an answer to the plain request."""

        def close(self) -> None:
            """Close; within a request, only say so and read on, or its sender may never see the answer.

            Source: RFC 9112, section 9.6.
            """
            is_over = self.leaving or self._real.is_closing()
            if is_over or self.conn.their_state not in (h11.SEND_BODY, h11.ERROR):
                self._real.close()
                return
            self.leaving = True
            self._arm()
            self.flow.resume_reading()
            if self._real.can_write_eof():  # not over TLS
                try:
                    self._real.write_eof()
                except OSError:  # the other side has gone
                    self._real.abort()

        def _arm(self) -> None:
            if self._deadline is None:
                seconds = limits().body_seconds + _GRACE_SECONDS
                self._deadline = self.loop.call_later(seconds, self._expire)

        def _disarm(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _expire(self) -> None:
            self._deadline = None
            if not self.transport.is_closing():
                count("too-slow")
            self.transport.abort()

    return Connection


class _Closing:
    """A transport that its connection closes in its own way."""

    def __init__(self, transport: asyncio.Transport, connection: Any) -> None:
        self._transport, self._connection = transport, connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        self._connection.close()

    def is_closing(self) -> bool:
        return self._connection.leaving or self._transport.is_closing()


def _client_names(transport: asyncio.Transport) -> frozenset[str]:
    """Return the names in the certificate that a client showed: common name and DNS names."""
    tls = transport.get_extra_info("ssl_object")
    certificate: dict[str, Any] = (tls.getpeercert() or {}) if tls is not None else {}
    names = {value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"}
    return frozenset(names | {value for key, value in certificate.get("subjectAltName", ()) if key == "DNS"})
