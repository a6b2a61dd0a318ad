"""`POST /v1/cameras/{id}/frames`: who may send what, how large, how often; all of it before anything is decoded."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shelfgap_edge.errors import FrameError
from shelfgap_edge.image import read_jpeg_size
from shelfgap_edge.overwrite import overwrite
from shelfgap_edge.service.arrival import Arrival
from shelfgap_edge.service.clock import Clock
from shelfgap_edge.service.config import CameraConfig, EdgeConfig, LimitsConfig
from shelfgap_edge.service.mailbox import Mailbox
from shelfgap_edge.service.metrics import Metrics
from shelfgap_edge.service.rate import RateLimit
from shelfgap_edge.service.tokens import token_matches

_TYPES = ("image/jpeg", "image/jpg")
_VERDICT_SECONDS = 60.0
_FRAME_STATUS = {"too-large": 413, "too-many-pixels": 413}
_SHED_STATUS = 429


class RefusalError(Exception):
    """A request gets an answer of 4xx (503 while the service stops)."""

    def __init__(self, status: int, reason: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.detail, self.headers = status, reason, detail, dict(headers or {})


@dataclass(frozen=True)
class _Rules:
    cameras: Mapping[str, CameraConfig]
    by_certificate: bool
    max_body_bytes: int
    max_pixels: int
    body_seconds: float
    upload_bytes: int


class FrameDoor:
    """Takes frames in over HTTP.

    Args:
        config: rules; `use` sets others.
        mailbox: where accepted frames go.
        metrics: counts.
        clock: wall time.
    """

    def __init__(self, config: EdgeConfig, mailbox: Mailbox, metrics: Metrics, clock: Clock) -> None:
        self._mailbox, self._metrics, self._clock = mailbox, metrics, clock
        self._uploading = 0
        self._limits: LimitsConfig | None = None
        self.use(config)

    def use(self, config: EdgeConfig) -> None:
        """Go by another configuration from the next request on."""
        tls = config.http.tls
        self._rules = _Rules(
            cameras=config.cameras,
            by_certificate=tls is not None and tls.client_ca is not None,
            max_body_bytes=config.http.max_body_bytes,
            max_pixels=config.http.max_pixels,
            body_seconds=config.http.body_seconds,
            upload_bytes=int(config.http.upload_megabytes * 2**20),
        )
        if config.limits != self._limits:
            limits = self._limits = config.limits
            self._frames = RateLimit(limits.frames_per_minute, limits.burst, names=100_000)
            self._failures = RateLimit(limits.failed_logins_per_minute, max(1, int(limits.failed_logins_per_minute)))

    def app(self) -> Starlette:
        """Return the application."""
        return Starlette(
            routes=[Route("/v1/cameras/{camera_id}/frames", self._post, methods=["POST"])],
            exception_handlers={RefusalError: self._refuse, HTTPException: self._refuse_route},
        )

    async def _post(self, request: Request) -> Response:
        rules = self._rules
        camera = self._authenticate(request, rules)
        wait = self._read_head(request, rules)
        if not self._frames.allow(camera.camera_id):
            raise RefusalError(
                429,
                "rate-limit",
                "this camera sends more frames a minute than limits.frames_per_minute",
                {"Retry-After": str(self._frames.retry_after_seconds())},
            )
        received = time.monotonic()
        jpeg = bytearray()
        try:
            await self._read_body(request, rules, jpeg)
            height, width = read_jpeg_size(jpeg, max_pixels=rules.max_pixels, max_body_bytes=rules.max_body_bytes)
        except FrameError as error:
            overwrite(jpeg)
            self._metrics.frames.labels(camera.camera_id, error.reason).inc()
            raise RefusalError(_FRAME_STATUS.get(error.reason, 422), error.reason, str(error)) from None
        except BaseException:
            overwrite(jpeg)
            raise
        arrival = Arrival(camera.camera_id, jpeg, self._clock.now(), received)
        if not self._mailbox.put(arrival):
            raise RefusalError(503, "stopping", "the service stops; send the next frame again", {"Retry-After": "5"})
        accepted = {"status": "accepted", "camera": camera.camera_id, "width": width, "height": height}
        if not wait:
            return JSONResponse(accepted, 202)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_VERDICT_SECONDS):
                return self._answer(await asyncio.wrap_future(arrival.verdict))
        return JSONResponse(accepted, 202)

    def _answer(self, verdict: dict[str, Any]) -> Response:
        if verdict["status"] == "seen":
            return JSONResponse(verdict)
        if verdict["status"] == "refused":
            raise RefusalError(422, verdict["reason"], verdict["detail"])
        if verdict["status"] == "shed":
            detail = "there are more frames than this device can judge, or a newer one came; send the next one"
            return JSONResponse(
                {"error": "shed", "reason": verdict["reason"], "detail": detail}, _SHED_STATUS, {"Retry-After": "5"}
            )
        return JSONResponse({"error": "internal", "detail": "the frame could not be judged; see the log"}, 500)

    def _authenticate(self, request: Request, rules: _Rules) -> CameraConfig:
        camera = rules.cameras.get(request.path_params["camera_id"])
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        token = token.strip() if scheme.lower() == "bearer" else ""
        # Both are looked at in any case, so that the time tells nothing about which camera there is.
        hashes = () if camera is None else camera.token_hashes
        by_token = token_matches(token, hashes)
        named = camera is not None and camera.client_name in getattr(request.state, "client_names", ())
        right = (named and (by_token or not hashes)) if rules.by_certificate else by_token
        if camera is not None and right:
            return camera
        address = request.client.host if request.client else ""
        if not self._failures.allow(address):
            # Right tokens still pass: one wrong camera must not lock out all that share its address.
            raise RefusalError(
                429,
                "failed-logins",
                "too many failed logins from this address",
                {"Retry-After": str(self._failures.retry_after_seconds()), "Connection": "close"},
            )
        raise RefusalError(
            401,
            "unauthorized",
            "this camera and this token (or certificate) do not belong together; see [cameras] in edge.toml",
            {"WWW-Authenticate": "Bearer"},
        )

    def _read_head(self, request: Request, rules: _Rules) -> bool:
        """Check all that can be known before the body; returns whether the verdict is waited for."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in _TYPES:
            raise RefusalError(415, "content-type", "expected Content-Type: image/jpeg")
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise RefusalError(415, "content-encoding", "expected the JPEG as it is, without Content-Encoding")
        length = request.headers.get("content-length")
        if length is not None and int(length) > rules.max_body_bytes:  # h11 lets digits pass only
            raise self._too_large(rules)
        query = request.query_params.multi_items()
        if any(key != "wait" or value not in ("0", "1") for key, value in query) or len(query) > 1:
            raise RefusalError(400, "query", "expected no query, or ?wait=1")
        return bool(query) and query[0][1] == "1"

    async def _read_body(self, request: Request, rules: _Rules, jpeg: bytearray) -> None:
        try:
            async with asyncio.timeout(rules.body_seconds):
                async for chunk in request.stream():
                    if len(jpeg) + len(chunk) > rules.max_body_bytes:
                        raise self._too_large(rules)
                    if self._uploading + len(chunk) > rules.upload_bytes:
                        raise RefusalError(
                            429,
                            "busy",
                            "too many frames are coming in at once",
                            {"Retry-After": "1", "Connection": "close"},
                        )
                    jpeg += chunk
                    self._uploading += len(chunk)
        except TimeoutError:
            raise RefusalError(
                408, "too-slow", f"the body took longer than {rules.body_seconds:g} s", {"Connection": "close"}
            ) from None
        except ClientDisconnect:
            raise RefusalError(400, "disconnected", "the connection was closed within the body") from None
        finally:
            self._uploading -= len(jpeg)

    def _too_large(self, rules: _Rules) -> RefusalError:
        return RefusalError(
            413, "too-large", f"at most {rules.max_body_bytes} bytes are accepted", {"Connection": "close"}
        )

    async def _refuse(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, RefusalError)
        self._metrics.refused.labels(error.reason).inc()
        return JSONResponse({"error": error.reason, "detail": error.detail}, error.status, error.headers)

    async def _refuse_route(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        reason = {404: "no-such-path", 405: "method"}.get(error.status_code, "malformed-request")
        self._metrics.refused.labels(reason).inc()
        return JSONResponse({"error": reason, "detail": error.detail}, error.status_code, error.headers)
