"""The routes of the page for the admin address: the page, its JSON, and the form that acknowledges an alert."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from shelfgap_edge.service.page.alerts import ACKNOWLEDGE_PATH
from shelfgap_edge.service.page.language import choose_language
from shelfgap_edge.service.page.render import render
from shelfgap_edge.service.page.status import Status
from shelfgap_edge.service.page.style import HEADERS

_ALERT_ID = re.compile(r"[0-9a-f]{32}")
_MOST_FORM_BYTES = 1024
_FORM_TYPE = "application/x-www-form-urlencoded"


def status_routes(status: Callable[[], Status], acknowledge: Callable[[str], object]) -> list[Route]:
    """Return `/`, `/status.json` and the form of an alert.

    A form counts only with a token that the page alone knows, so that no other page that a browser shows can send it.

    Args:
        status: the service at this moment.
        acknowledge: an alert was seen by a person; nothing happens if it is not open any more.
    """
    form_token = secrets.token_urlsafe(32)

    async def page(request: Request) -> Response:
        now = await run_in_threadpool(status)
        language = choose_language(request.query_params.get("lang"), request.headers.get("accept-language"))
        text = await run_in_threadpool(render, replace(now, form_token=form_token), language)
        return HTMLResponse(text, headers={**HEADERS, "Content-Language": language})

    async def document(request: Request) -> Response:
        now = await run_in_threadpool(status)
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        return Response(now.to_json(), media_type="application/json", headers=headers)

    async def acknowledge_alert(request: Request) -> Response:
        fields = await _fields(request)
        if fields is None or not hmac.compare_digest(fields.get("token", "").encode(), form_token.encode()):
            return PlainTextResponse("This form is not of the page as it is now. Reload the page and try again.", 403)
        alert_id = request.path_params["alert_id"]
        if not _ALERT_ID.fullmatch(alert_id):
            return PlainTextResponse("There is no such alert.", 404)
        await run_in_threadpool(acknowledge, alert_id)
        language = choose_language(fields.get("lang"), request.headers.get("accept-language"))
        return RedirectResponse(f"/?lang={language}#alerts", 303, headers={"Cache-Control": "no-store"})

    return [
        Route("/", page),
        Route("/status.json", document),
        Route(ACKNOWLEDGE_PATH, acknowledge_alert, methods=["POST"]),
    ]


async def _fields(request: Request) -> dict[str, str] | None:
    """Read a small form; None for anything else."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM_TYPE:
        return None
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MOST_FORM_BYTES:
                return None
        found = parse_qs(body.decode("ascii"), max_num_fields=8)
    except (ClientDisconnect, ValueError):
        return None
    return {name: values[0] for name, values in found.items()}
