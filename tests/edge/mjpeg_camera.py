"""A small MJPEG camera on loopback: a real HTTP server that can be cut off and come back at the same address."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

Writer = Callable[[bytes], None]


@dataclass
class Camera:
    """What it sends.

    Attributes:
        frames: JPEGs, over and over.
        period_s: between two.
        content_type: of the answer.
        part: how a JPEG becomes a part.
        chunked: whether the answer is in chunks.
        single: whether it gives one JPEG an answer.
        mute: whether it takes a request and answers nothing.
        status: what it answers.
        auth: "basic" or "digest", then only viewer / s3cret gets in, or who `login` says.
        login: user and password.
        challenges: of its 401, a header each; None for the usual one of `auth`.
        seen: Authorization headers of all requests, "" where there was none.
    """

    frames: list[bytes]
    period_s: float = 0.02
    content_type: str = "multipart/x-mixed-replace; boundary=shelf"
    part: Callable[[bytes], bytes] = lambda jpeg: (
        b"--shelf\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(jpeg), jpeg)
    )
    chunked: bool = False
    single: bool = False
    mute: bool = False
    status: int = 200
    auth: str | None = None
    login: tuple[str, str] = ("viewer", "s3cret")
    challenges: tuple[str, ...] | None = None
    port: int = 0
    seen: list[str] = field(default_factory=list)
    sent: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/stream?size=small"


@contextmanager
def serving(camera: Camera) -> Iterator[Camera]:
    """Serve until the end of the block, which cuts all connections."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.close_connection = True
            camera.seen.append(self.headers.get("Authorization", ""))
            if camera.mute:
                over.wait()
                return
            if not self._is_allowed():
                self.send_response(401)
                realm = 'realm="camera"'
                usual = f'Digest {realm}, nonce="abc", qop="auth"' if camera.auth == "digest" else f"Basic {realm}"
                for challenge in camera.challenges or (usual,):
                    self.send_header("WWW-Authenticate", challenge)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(camera.status)
            self.send_header("Content-Type", "image/jpeg" if camera.single else camera.content_type)
            if camera.single:
                self.send_header("Content-Length", str(len(camera.frames[0])))
            if camera.chunked:
                self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while not over.is_set():
                jpeg = camera.frames[camera.sent % len(camera.frames)]
                camera.sent += 1
                self._send(jpeg if camera.single else camera.part(jpeg))
                if camera.single:
                    return
                time.sleep(camera.period_s)

        def _send(self, data: bytes) -> None:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data) if camera.chunked else data)

        def _is_allowed(self) -> bool:
            given = self.headers.get("Authorization", "")
            if camera.auth == "basic":
                return given == "Basic dmlld2VyOnMzY3JldA=="
            if camera.auth == "digest":
                values = dict(item.strip().split("=", 1) for item in given.removeprefix("Digest ").split(",") if item)
                values = {key: value.strip('"') for key, value in values.items()}
                if "response" not in values:
                    return False
                user, password = camera.login
                if values.get("username") != user and unquote(values.get("username*", "")) != f"UTF-8''{user}":
                    return False
                name = values.get("algorithm", "MD5")
                hashed = partial(_hashed, "sha256" if "SHA-256" in name else "md5")
                ha1 = hashed(f"{user}:{values['realm']}:{password}")
                if name.endswith("-sess"):
                    ha1 = hashed(f"{ha1}:{values['nonce']}:{values['cnonce']}")
                ha2 = hashed(f"GET:{values['uri']}")
                middle = ":".join(values[key] for key in ("nonce", "nc", "cnonce", "qop") if key in values)
                return values["response"] == hashed(f"{ha1}:{middle}:{ha2}") and values["uri"] == self.path
            return True

        def log_message(self, format: str, *args: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(OSError):  # the reader went away
                super().handle()

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            pass

    server = Server(("127.0.0.1", camera.port), Handler)
    camera.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield camera
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _hashed(name: str, text: str) -> str:
    return hashlib.new(name, text.encode(), usedforsecurity=False).hexdigest()
