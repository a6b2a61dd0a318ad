"""Reading over HTTP(S), with Range where the server knows it. TLS is verified; redirects lead to https only."""

from __future__ import annotations

import http.client
import os
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any
from urllib.parse import quote, urlsplit

from shelfgap_edge.errors import PullError, TransferError
from shelfgap_edge.pull.source import CHUNK_BYTES, Body

AUTHORIZATION_VARIABLE = "SHELFGAP_HTTP_AUTHORIZATION"
"""Environment variable with the Authorization header ("Bearer ...", "Basic ..."); not sent on after a redirect."""
_TIMEOUT_SECONDS = 30.0  # without a byte
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")
_TRY_AGAIN = (408, 416, 425, 429, 500, 502, 503, 504)  # 416: the file there is shorter than what is here


class HttpSource:
    """A web server that gives out files."""

    def __init__(self, base: str, *, timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
        self.where = base.rstrip("/")
        self._timeout_seconds = timeout_seconds
        check_address(base)

    @contextmanager
    def open(self, name: str, offset: int = 0) -> Iterator[Body]:
        """Open the file of that name below the base address."""
        request = http_request(f"{self.where}/{quote(name)}")
        if offset:
            request.add_header("Range", f"bytes={offset}-")
        try:
            response = send(request, self._timeout_seconds)
        except (OSError, http.client.HTTPException) as error:
            raise http_failure(request, error) from None
        with response:
            yield Body(_start_of(response, offset), _chunks(response, request))


def check_address(base: str) -> None:
    """Refuse an address without a host, or with a password in it.

    Raises:
        PullError: it is one of these.
    """
    parts = urlsplit(base)
    if not parts.hostname or parts.query or parts.fragment:
        # the address itself is not told: a query may hold a secret
        raise PullError("expected an address such as https://models.example.com/shelfgap, with no query or fragment")
    if parts.username is not None:
        raise PullError(f"no user or password in the address; set {AUTHORIZATION_VARIABLE} to the header's value")


def http_request(url: str, **options: Any) -> urllib.request.Request:
    """Return a request with the headers that all of them carry.

    Raises:
        PullError: the Authorization header of the environment is not one.
    """
    request = urllib.request.Request(url, **options)
    request.add_header("User-Agent", "shelfgap")
    request.add_header("Accept-Encoding", "identity")
    if authorization := os.environ.get(AUTHORIZATION_VARIABLE, "").strip():
        if not (authorization.isascii() and authorization.isprintable()):  # http.client would tell the whole of it
            raise PullError(f"{AUTHORIZATION_VARIABLE}: no header; expected printable ASCII in one line; set it anew")
        request.add_unredirected_header("Authorization", authorization)
    return request


def send(request: urllib.request.Request, timeout_seconds: float = _TIMEOUT_SECONDS) -> http.client.HTTPResponse:
    """Send a request; the response is a context manager.

    Raises:
        OSError, http.client.HTTPException: see `http_failure`.
    """
    tls = urllib.request.HTTPSHandler(context=ssl.create_default_context())
    opener = urllib.request.build_opener(_RedirectsToHttps, tls)
    try:
        response: http.client.HTTPResponse = opener.open(request, timeout=timeout_seconds)
    except ValueError as error:  # an address that is none, the server's redirect too
        raise http.client.HTTPException(str(error)) from None
    return response


def http_failure(request: urllib.request.Request, error: Exception) -> Exception:
    """Return what to raise for a request that failed: FileNotFoundError, TransferError or PullError."""
    url = request.full_url
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        if error.code in (404, 410):
            return FileNotFoundError(f"{url}: not found ({error.code})")
        if error.code in (401, 403):
            return PullError(f"{url}: access denied ({error.code}); set {AUTHORIZATION_VARIABLE}")
        kind = TransferError if error.code in _TRY_AGAIN else PullError
        return kind(f"{url}: the server answered {error.code} {error.reason}")
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        hint = "is the clock right? for a certificate authority of your own set SSL_CERT_FILE"
        return PullError(f"{url}: the certificate is not trusted ({reason.verify_message}); {hint}")
    return TransferError(f"{url}: the transfer failed ({reason or type(error).__name__})")


class _RedirectsToHttps(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme != "https":
            fp.close()
            raise PullError(f"{req.full_url}: redirects to {newurl}; only https:// addresses are followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _start_of(response: http.client.HTTPResponse, offset: int) -> int:
    """Return where the body begins in the file.

    Raises:
        PullError: the server encodes it, or gives another part than was asked for.
    """
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise PullError(f"{response.url}: the server encodes the file, though it was asked not to")
    if response.status == 200:
        return 0
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if response.status != 206 or found is None or found[1] != str(offset):
        raise PullError(f"{response.url}: asked for the bytes from {offset} on, the server answered with others")
    return offset


def _chunks(response: http.client.HTTPResponse, request: urllib.request.Request) -> Iterator[bytes]:
    missing = response.length  # None where the server does not say
    try:
        while chunk := response.read1(CHUNK_BYTES):  # what is there, so that it is on disk before a cut or a kill
            if missing is not None:
                missing -= len(chunk)
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise http_failure(request, error) from None
    if missing:  # read1 takes a cut for the end
        raise TransferError(f"{request.full_url}: the connection closed {missing} bytes before the end")
