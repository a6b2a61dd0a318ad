"""An address that is listened on, with uvicorn and without its signal handlers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Generator

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from shelfgap_edge.service.config import TlsConfig
from shelfgap_edge.tls import load_own
from shelfgap_edge.toml_table import ConfigError

_MAX_HEAD_BYTES = 16 * 1024
_BACKLOG = 2048
_KEEP_ALIVE_SECONDS = 75


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to the service."""
        yield


class Listener:
    """Serves an application on a bound socket.

    Args:
        name: for people.
        app: the application.
        bound: the socket.
        protocol: of its connections.
        tls: None for plain HTTP.
    """

    def __init__(
        self,
        name: str,
        app: Starlette,
        bound: socket.socket,
        protocol: type[H11Protocol],
        *,
        tls: ssl.SSLContext | None,
    ) -> None:
        host, port = bound.getsockname()[:2]
        self.address = f"{'http' if tls is None else 'https'}://{f'[{host}]' if ':' in host else host}:{port}"
        self._bound, self._tls = bound, tls
        config = uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
            ssl_context_factory=None if tls is None else lambda config, default: tls,
        )
        self._server = _Server(config)

    async def serve(self) -> None:
        """Serve until `stop`."""
        await self._server.serve(sockets=[self._bound])

    async def started(self) -> None:
        """Wait until connections are accepted."""
        while not self._server.started:
            await asyncio.sleep(0.01)

    def stop(self, seconds: float) -> None:
        """Accept nothing more and end when requests under way are answered, or after that time."""
        self._server.config.timeout_graceful_shutdown = max(1, int(seconds))
        self._server.should_exit = True

    def renew_certificate(self, tls: TlsConfig | None) -> None:
        """Show another certificate from the next connection on.

        Raises:
            ConfigError: it cannot be loaded.
        """
        if self._tls is not None and tls is not None:
            _load_certificate(self._tls, tls)


def bind(host: str, port: int, table: str) -> socket.socket:
    """Return a socket that listens on an address: bound alone, two of them could have the same one.

    Raises:
        ConfigError: that is not possible.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(_BACKLOG)
    except (OSError, UnicodeError) as error:
        bound.close()
        reason = getattr(error, "strerror", None) or "no such name"
        raise ConfigError(f"edge.toml: {table}: cannot listen on {host} port {port}: {reason}") from None
    return bound


def tls_context(tls: TlsConfig | None) -> ssl.SSLContext | None:
    """Return a context for TLS 1.2 and later; with `client_ca`, clients must show a certificate.

    Raises:
        ConfigError: a file of it cannot be loaded.
    """
    if tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_certificate(context, tls)
    if tls.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(tls.client_ca)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"edge.toml: http.tls: client_ca: {tls.client_ca}: {error.strerror or error}") from None
    return context


def _load_certificate(context: ssl.SSLContext, tls: TlsConfig) -> None:
    load_own(context, tls.certificate, tls.key, "edge.toml: http.tls", ("certificate", "key"))
