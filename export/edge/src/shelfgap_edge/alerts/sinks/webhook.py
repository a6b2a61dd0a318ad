"""A webhook: each step as a signed POST, acknowledged by an answer of 2xx."""

from __future__ import annotations

import email.utils
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import SplitResult, urlsplit

from shelfgap_edge.alerts.backoff import Backoff
from shelfgap_edge.alerts.cloudevent import CONTENT_TYPE, to_json
from shelfgap_edge.alerts.event import AlertEvent
from shelfgap_edge.alerts.sinks.secret import require_secret
from shelfgap_edge.alerts.sinks.signing import signature_headers, signing_keys
from shelfgap_edge.alerts.sinks.sink import LaterError, RefusedError
from shelfgap_edge.tls import TlsParams, describe
from shelfgap_edge.toml_table import ConfigError, Table

_LONGEST_WAIT_S = 86_400.0  # what is obeyed of a Retry-After
_TRY_AGAIN = (408, 425, 429)  # the answers of 4xx that are about now and not about this step
_WHOLE_SINK = (429, 502, 503, 504)


class Webhook:
    """Posts to one address. Redirects are not followed, and certificates are verified.

    Args:
        name: of the sink.
        url: http:// or https://, without a user or password.
        keys: of the signature.
        timeout_s: for a whole try once connected, and for each address of the host to connect.
        tls: for https://.
        backoff: between tries.
        wall_clock: seconds since the epoch, for the timestamp.
    """

    def __init__(
        self,
        name: str,
        url: SplitResult,
        keys: tuple[bytes, ...],
        *,
        timeout_s: float = 10.0,
        tls: ssl.SSLContext | None = None,
        backoff: Backoff | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.backoff = backoff or Backoff()
        self._url, self._keys, self._timeout_s, self._wall_clock = url, keys, timeout_s, wall_clock
        self._tls = tls
        self._connection: http.client.HTTPConnection | None = None
        self._broken_off = False

    @classmethod
    def from_table(cls, name: str, table: Table) -> Webhook:
        """Read the keys of a webhook in `[[sinks]]`."""
        url = _checked_url(table)
        keys = signing_keys(require_secret(table, "secret"), table.where)
        timeout_s = table.number("timeout_s", 10.0, low=0.1, high=300)
        is_https = url.scheme == "https"
        params = TlsParams.from_table(table, is_used=is_https, used_with="a url of https://")
        tls = params.context(table.where) if is_https else None
        return cls(name, url, keys, timeout_s=timeout_s, tls=tls, backoff=Backoff.from_table(table))

    def send(self, event: AlertEvent) -> None:
        """Post a step; see `Sink.send`."""
        body = to_json(event)
        headers = {"Content-Type": CONTENT_TYPE, "User-Agent": "shelfgap-edge", "Connection": "close"}
        headers |= signature_headers(self._keys, event.key, int(self._wall_clock()), body)
        host = self._url.hostname or ""
        # Without a port http.client would take the last part of an IPv6 address for it.
        connection = (
            http.client.HTTPSConnection(host, self._url.port or 443, timeout=self._timeout_s, context=self._tls)
            if self._tls
            else http.client.HTTPConnection(host, self._url.port or 80, timeout=self._timeout_s)
        )
        self._connection, self._broken_off = connection, False
        # A timeout of the socket starts anew with each byte; this one is for all of them.
        watch = threading.Timer(self._timeout_s, self.close)
        watch.daemon = True
        try:
            connection.connect()
            watch.start()  # not before: the first of several addresses may lead nowhere and use all its time up
            if self._broken_off:
                raise TimeoutError
            target = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
            connection.request("POST", target, body=body, headers=headers)
            with connection.getresponse() as answer:
                if self._broken_off:  # perhaps amid the headers, which http.client takes for their end
                    raise TimeoutError
                status, retry_after = answer.status, answer.headers.get("Retry-After")
        except TimeoutError:
            raise LaterError(f"{host}: no answer within {self._timeout_s:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise LaterError(f"{host}: {describe(error)}") from None
        finally:
            watch.cancel()
            self._connection = None
            connection.close()
        _judge(host, status, self._retry_after_s(retry_after))

    def close(self) -> None:
        """Break off a try that is under way."""
        self._broken_off = True
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _retry_after_s(self, text: str | None) -> float:
        """Read seconds or a date of HTTP; 0 for what is neither."""
        if text is None:
            return 0.0
        try:
            seconds = float(int(text))
        except (ValueError, OverflowError):
            try:
                seconds = email.utils.parsedate_to_datetime(text).timestamp() - self._wall_clock()
            except (ValueError, TypeError, OverflowError):
                return 0.0
        return min(max(seconds, 0.0), _LONGEST_WAIT_S)


def _judge(host: str, status: int, after_s: float) -> None:
    if 200 <= status < 300:
        return
    if 400 <= status < 500 and status not in _TRY_AGAIN:
        hint = "; check the secret and the address" if status in (401, 403, 404, 410) else ""
        raise RefusedError(f"{host}: answered {status}{hint}")
    if 300 <= status < 400:
        raise LaterError(f"{host}: answered {status}; redirects are not followed, set url to where it leads")
    raise LaterError(f"{host}: answered {status}", after_s=after_s, whole_sink=after_s > 0 or status in _WHOLE_SINK)


def _checked_url(table: Table) -> SplitResult:
    text: str = table.text("url")
    try:
        url = urlsplit(text)
        usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
        (url.hostname or "").encode("idna")  # UnicodeError for an empty or an overlong part of a name
    except ValueError:
        usable = False
    if not usable or not (text.isascii() and text.isprintable()) or " " in text:
        raise ConfigError(f"{table.where}: url: expected http://host/path or https://host/path, got something else")
    if url.username is not None or url.password is not None:
        raise ConfigError(f"{table.where}: url: holds a user or password; the signature stands for them, take them out")
    return url
