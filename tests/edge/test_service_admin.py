"""The admin address, asked without a network: names of hosts and tokens, also odd ones."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from shelfgap_edge.service.admin import admin_app
from shelfgap_edge.service.config import AdminConfig
from shelfgap_edge.service.page.routes import status_routes
from shelfgap_edge.service.tokens import hash_token
from shelfgap_edge.service.trouble import Trouble
from starlette.types import ASGIApp


class Operated:
    def metrics_text(self) -> bytes:
        return b""


def answer(app: ASGIApp, method: str, path: str, headers: Sequence[tuple[bytes, bytes]], *messages: dict) -> int:
    """Pass a request on as a server does, message by message, and return the status of the answer."""
    sent: list[dict] = []
    coming = iter(messages)

    async def receive() -> dict:
        return next(coming)

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers}
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"]


def status_of(config: AdminConfig, **headers: bytes) -> int:
    asked = [(name.encode(), value) for name, value in headers.items()]
    return answer(admin_app(Operated(), config), "GET", "/metrics", asked)


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (b"Bearer right", 200),
        (b"Basic OnJpZ2h0", 200),
        (b"Basic Ondyb25n", 401),
        (b"Basic \xe9", 401),
        (b"Basic ====", 401),
        (b"Basic /w==", 401),
        (b"Bearer \xe9", 401),
        (b"", 401),
    ],
)
def test_whatever_stands_in_place_of_the_token_is_answered(authorization, status):
    config = AdminConfig("127.0.0.1", 8081, hash_token("right"), ())
    assert status_of(config, host=b"localhost:8081", authorization=authorization) == status


@pytest.mark.parametrize(
    ("host", "names", "asked", "status"),
    [
        ("fd00::5", (), b"[fd00::5]:8081", 200),
        ("0.0.0.0", ("fd00::5",), b"[fd00::5]:8081", 200),
        ("fd00::5", (), b"[fd00::6]:8081", 400),
        ("::1", (), b"[::1]", 200),
        ("192.168.1.5", ("edge.local",), b"edge.local:8081", 200),
        ("192.168.1.5", (), b"192.168.1.5", 200),
        ("192.168.1.5", (), b"evil.example", 400),
    ],
)
def test_it_answers_to_its_own_names_and_addresses(host, names, asked, status):
    assert status_of(AdminConfig(host, 8081, None, names), host=asked) == status


def test_cameras_do_not_wait_while_the_outbox_is_asked_whether_it_can_be_written():
    class Busy(Operated):
        def unreadiness(self) -> list[Trouble]:
            return [] if threading.current_thread() is not threading.main_thread() else [Trouble("stopping")]

    app = admin_app(Busy(), AdminConfig("127.0.0.1", 8081, None, ()))
    assert answer(app, "GET", "/readyz", [(b"host", b"localhost")]) == 200


def test_a_browser_that_goes_away_within_a_form_is_no_error():
    pages = status_routes(lambda: None, lambda alert: None)
    app = admin_app(Operated(), AdminConfig("127.0.0.1", 8081, None, ()), pages)
    headers = [(b"host", b"localhost"), (b"content-type", b"application/x-www-form-urlencoded")]
    path = f"/alerts/{'0' * 32}/acknowledge"
    begun = {"type": "http.request", "body": b"token=", "more_body": True}
    assert answer(app, "POST", path, headers, begun, {"type": "http.disconnect"}) == 403
