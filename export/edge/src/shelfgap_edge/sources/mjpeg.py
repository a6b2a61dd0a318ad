"""MJPEG over HTTP(S): a stream of JPEGs in one endless answer, or one JPEG an answer; the newest is sampled."""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from shelfgap_edge.image import MAX_BODY_BYTES
from shelfgap_edge.overwrite import overwrite, overwrite_bytes
from shelfgap_edge.sources.address import Address
from shelfgap_edge.sources.digest import answer_digest
from shelfgap_edge.sources.failure import SourceFailureError
from shelfgap_edge.sources.multipart import MultipartParser
from shelfgap_edge.sources.session import Session
from shelfgap_edge.sources.source import Backoff, Source
from shelfgap_edge.tls import TlsParams
from shelfgap_edge.toml_table import Table

_CHUNK_BYTES = 64 * 1024
_AUTH_REASONS = {401: "not-authorised", 403: "not-authorised", 404: "not-found"}


@dataclass(frozen=True)
class MjpegParams:
    """A camera that serves MJPEG or single JPEGs over HTTP.

    Attributes:
        camera_id: the camera.
        address: http or https.
        tls: for https.
        every_s: seconds between two frames that are wanted.
        timeout_s: seconds without a whole frame after which the connection is cut and made anew.
        max_bytes: larger frames are rejected.
        backoff: between attempts.
    """

    camera_id: str
    address: Address
    tls: TlsParams
    every_s: float
    timeout_s: float
    max_bytes: int
    backoff: Backoff

    @classmethod
    def from_table(cls, table: Table) -> MjpegParams:
        """Read a table with `type = "mjpeg"`."""
        camera, address = table.text("camera"), Address.from_table(table, ("http", "https"))
        return cls(
            camera_id=camera,
            address=address,
            tls=TlsParams.from_table(table, is_used=address.scheme == "https", used_with="an address of https://"),
            every_s=table.number("every_s", 10.0, low=0.0, high=86400),
            timeout_s=table.number("timeout_s", 30.0, low=0.2, high=3600),
            max_bytes=table.integer("max_bytes", 4 * 2**20, low=1024, high=MAX_BODY_BYTES),
            backoff=Backoff.from_table(table),
        )

    def source(self) -> Source:
        """Return the source.

        Raises:
            ConfigError: a certificate cannot be used.
        """
        context = self.tls.context(str(self.address)) if self.address.scheme == "https" else None
        return Source(
            "mjpeg",
            str(self.address),
            self.camera_id,
            lambda session: _read(self, context, session),
            backoff=self.backoff,
            every_s=self.every_s,
            silent_s=self.every_s + self.timeout_s,
        )


def _read(params: MjpegParams, context: ssl.SSLContext | None, session: Session) -> None:
    while session.live:
        with _answer(params, context, session) as response:
            kind = response.headers.get_content_type()
            if kind == "image/jpeg":
                _read_single(params, response, session)
            elif kind.startswith("multipart/"):
                _read_stream(params, response, session)
                raise SourceFailureError("cut")
            else:
                raise SourceFailureError("not-mjpeg")
        session.wait(max(params.every_s, 0.04))  # no camera gains from being asked more often than a film runs


def _read_stream(params: MjpegParams, response: http.client.HTTPResponse, session: Session) -> None:
    parser = MultipartParser(response.headers.get_boundary(), params.max_bytes, session.counts)
    session.connected()
    try:
        while session.live and (chunk := response.read1(_CHUNK_BYTES)):
            frames = parser.feed(chunk)
            overwrite_bytes(chunk)
            for older in frames[:-1]:
                overwrite(older)
            if frames:
                session.deliver(params.camera_id, frames[-1])
    finally:
        parser.close()


def _read_single(params: MjpegParams, response: http.client.HTTPResponse, session: Session) -> None:
    frame = bytearray()
    try:
        while session.live and (chunk := response.read1(_CHUNK_BYTES)):
            frame += chunk
            overwrite_bytes(chunk)
            if len(frame) > params.max_bytes:
                raise SourceFailureError("too-large")
        if response.length or not frame.startswith(b"\xff\xd8\xff"):  # the stated length was not reached, or no JPEG
            raise SourceFailureError("cut" if response.length else "not-jpeg")
    except BaseException:
        overwrite(frame)
        raise
    session.deliver(params.camera_id, frame)


@contextmanager
def _answer(
    params: MjpegParams, context: ssl.SSLContext | None, session: Session
) -> Iterator[http.client.HTTPResponse]:
    """Ask for the stream, once more with what the server wants to know of the user."""
    address = params.address
    authorization: str | None = None
    for attempt in range(2):
        # Without a port http.client would take the last part of an IPv6 address for it.
        if context is None:
            connection = http.client.HTTPConnection(address.host, address.port or 80, timeout=params.timeout_s)
        else:
            connection = http.client.HTTPSConnection(
                address.host, address.port or 443, timeout=params.timeout_s, context=context
            )
        try:
            connection.connect()
            session.on_cut(lambda held=connection.sock: held.shutdown(socket.SHUT_RDWR))  # type: ignore[misc]
            headers = {"User-Agent": "shelfgap", "Accept": "multipart/x-mixed-replace, image/jpeg"}
            if authorization is not None:
                headers["Authorization"] = authorization
            connection.request("GET", address.target(), headers=headers)
            with connection.getresponse() as response:
                if response.status == 401 and attempt == 0 and address.user is not None:
                    authorization = _authorization(address, response.headers.get_all("WWW-Authenticate", []))
                    continue
                if response.status != 200:
                    raise SourceFailureError(_AUTH_REASONS.get(response.status, f"http-{response.status}"))
                yield response
                return
        finally:
            connection.close()


def _authorization(address: Address, challenges: list[str]) -> str:
    """Answer a challenge of a 401: the first Digest that is known, so that the password does not travel, else Basic."""
    user, password = address.user or "", address.password() or ""
    for challenge in challenges:
        scheme, _, asked = challenge.partition(" ")
        if scheme.lower() == "digest" and (answer := answer_digest(asked, user, password, address.target())):
            return answer
    if any(challenge.lower().startswith("basic") for challenge in challenges):
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
    raise SourceFailureError("unknown-login" if challenges else "not-authorised")
