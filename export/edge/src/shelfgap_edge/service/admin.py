"""The address of operators: health, readiness, metrics, acknowledging alerts, and pages of other parts."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from shelfgap_edge.alerts.event import AlertEvent
from shelfgap_edge.service.config import AdminConfig
from shelfgap_edge.service.tokens import token_matches
from shelfgap_edge.service.trouble import Trouble

_ALERT_ID = re.compile(r"[0-9a-f]{32}")
_OPEN_PATHS = ("/healthz", "/readyz")  # for probes, which have no token; they tell no more than a word and reasons
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Operated(Protocol):
    """What the admin address shows and does."""

    def health(self) -> list[Trouble]:
        """Return what is wrong beyond repair without a restart; empty if alive."""

    def unreadiness(self) -> list[Trouble]:
        """Return why no frames can be judged or alerts kept now; empty if ready."""

    def metrics_text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""

    def acknowledge(self, alert_id: str) -> list[AlertEvent]:
        """Acknowledge an alert; empty if no such alert is open."""


def admin_app(operated: Operated, config: AdminConfig, pages: Sequence[BaseRoute] = ()) -> Starlette:
    """Return the application.

    Args:
        operated: the service.
        config: its host names and token.
        pages: routes of other parts, behind the same token.
    """

    async def healthz(request: Request) -> Response:
        return _state(operated.health())

    async def readyz(request: Request) -> Response:
        # It looks into the outbox, which waits for the disk: cameras must not wait with it.
        return _state(await run_in_threadpool(operated.unreadiness))

    async def metrics(request: Request) -> Response:
        return PlainTextResponse(await run_in_threadpool(operated.metrics_text), media_type=_METRICS_TYPE)

    async def acknowledge(request: Request) -> Response:
        # A form of a foreign page cannot send this type without asking first.
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return JSONResponse({"error": "content-type", "detail": "expected Content-Type: application/json"}, 415)
        alert_id = request.path_params["alert_id"]
        events = []
        if _ALERT_ID.fullmatch(alert_id):
            events = await run_in_threadpool(operated.acknowledge, alert_id)
        if not events:
            return JSONResponse({"error": "no-such-alert", "detail": "no open alert has this id"}, 404)
        return JSONResponse({"status": "acknowledged", "alert_id": alert_id, "sequence": events[-1].sequence})

    hosts = [*config.host_names, config.host, "localhost", "127.0.0.1", "::1"]
    names = [f"[{host}]" if ":" in host else host for host in hosts]
    open_to_all = config.host in ("0.0.0.0", "::") and not config.host_names
    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            Route("/v1/alerts/{alert_id}/acknowledge", acknowledge, methods=["POST"]),
            *pages,
        ],
        middleware=[
            # A page whose name was made to lead here (DNS rebinding) says its own name.
            Middleware(TrustedHostMiddleware, allowed_hosts=["*"] if open_to_all else names, www_redirect=False),
            Middleware(_TokenMiddleware, token_hash=config.token_hash),
        ],
    )


class _TokenMiddleware:
    """Asks for the token, as Bearer or, for browsers, as the password of Basic."""

    def __init__(self, app: ASGIApp, token_hash: str | None) -> None:
        self._app, self._token_hash = app, token_hash

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app: Callable[[Scope, Receive, Send], Awaitable[Any]] = self._app
        if scope["type"] == "http" and self._token_hash is not None and scope["path"] not in _OPEN_PATHS:
            token = _presented(Request(scope).headers.get("authorization", ""))
            if not token_matches(token, [self._token_hash]):
                app = JSONResponse(
                    {"error": "unauthorized", "detail": "expected the token of [admin] in edge.toml"},
                    401,
                    {"WWW-Authenticate": 'Basic realm="shelfgap-edge"'},
                )
        await app(scope, receive, send)


def _presented(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
    except ValueError:  # not ASCII, not Base64, not UTF-8
        return ""


def _state(problems: list[Trouble]) -> Response:
    if problems:
        return JSONResponse({"status": "failing", "reasons": [str(problem) for problem in problems]}, 503)
    return JSONResponse({"status": "ok"})
