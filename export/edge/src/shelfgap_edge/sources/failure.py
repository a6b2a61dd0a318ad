"""Why a connection or a frame failed, as one word that can be counted and that holds nothing secret."""

from __future__ import annotations

import errno
import re
import socket
import ssl

from shelfgap_edge.tls import refuses_client

_BY_TYPE: tuple[tuple[type[BaseException], str], ...] = (
    (ConnectionRefusedError, "refused"),
    (TimeoutError, "timeout"),
    (ssl.SSLError, "tls"),
    (socket.gaierror, "unknown-host"),
    (ConnectionError, "cut"),
    (EOFError, "cut"),
    (FileNotFoundError, "not-found"),
    (PermissionError, "not-permitted"),
)
_BY_VERIFY_CODE = {  # OpenSSL's X509_V_ERR_...
    9: "certificate-not-yet-valid",
    10: "certificate-expired",
    62: "certificate-name",
    64: "certificate-name",  # an address in place of a name
}
_BY_NAME = {  # of errors of PyAV, which is not imported for this
    "http-unauthorized": "not-authorised",
    "http-forbidden": "not-authorised",
    "http-not-found": "not-found",
    "exit": "timeout",
}


class SourceFailureError(Exception):
    """A connection or a frame failed for a reason that has a name of its own."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def reason_of(error: BaseException) -> str:
    """Return the reason of a failure; never its text, which may hold an address with a password.

    >>> reason_of(ConnectionRefusedError(111, "rtsp://user:secret@camera")), reason_of(KeyError("x"))
    ('refused', 'key')
    """
    if isinstance(error, SourceFailureError):
        return error.reason
    if isinstance(error, ssl.SSLCertVerificationError):
        return _BY_VERIFY_CODE.get(error.verify_code, "certificate")
    if refuses_client(error):
        return "client-certificate"
    for kind, reason in _BY_TYPE:
        if isinstance(error, kind):
            return reason
    if type(error) is OSError and error.errno is not None and error.errno in errno.errorcode:
        return errno.errorcode[error.errno].lower()
    words: list[str] = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]+|\d+", type(error).__name__.removesuffix("Error"))
    name = "-".join(words).lower() or "unknown"
    return _BY_NAME.get(name, name)
