"""A real web server on loopback for tests: files of a folder, with Range and conditional PUT, and faults on request.

It speaks as much of S3 as `pull` and `publish` need: path-style GET, HEAD and PUT, errors as XML.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

CHUNK = 16 * 1024


@dataclass
class FileServer:
    """What the server does.

    Attributes:
        root: folder of the files.
        ranges: whether it honours Range.
        takes_put: whether it takes PUT.
        weak_tags: whether its ETags are weak, as behind a proxy that compresses; no If-Match holds for these.
        cut_after: bytes of a body after which it closes the connection.
        add_length: added to the Content-Length that it states.
        head_length: the Content-Length that it states in answers to HEAD.
        redirect_to: address that it redirects all to.
        status: what it answers to all.
        content_range: the Content-Range that it states.
        on_chunk: called with all bytes sent so far, after each chunk.
        sent: bytes of bodies sent, by path.
        connections: open ones.
        headers: of each request.
    """

    root: Path
    ranges: bool = True
    takes_put: bool = False
    weak_tags: bool = False
    cut_after: int | None = None
    add_length: int = 0
    head_length: str | None = None
    redirect_to: str | None = None
    status: int | None = None
    content_range: str | None = None
    on_chunk: Callable[[int], None] = lambda total: None
    sent: Counter[str] = field(default_factory=Counter)
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""
    connections: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def sent_blobs(self) -> int:
        """Return the bytes sent of files that are no index."""
        return sum(count for path, count in self.sent.items() if "/blobs/" in path)

    def wait_quiet(self) -> None:
        """Wait until nothing is sent to clients that are gone."""
        deadline = time.monotonic() + 60
        while self.connections:
            assert time.monotonic() < deadline
            time.sleep(0.005)


@contextmanager
def serve(root: Path, tls: object = None, **options: object) -> Iterator[FileServer]:
    """Serve a folder until the end of the block."""
    state = FileServer(root, **options)

    class Handler(_Handler):
        server_state = state

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    scheme = "http"
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    host = "localhost" if tls is not None else "127.0.0.1"
    state.url = f"{scheme}://{host}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server_state: FileServer
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        with self.server_state.lock:
            self.server_state.connections += 1
        try:
            super().handle()
        finally:
            with self.server_state.lock:
                self.server_state.connections -= 1

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        state, path = self.server_state, self._path()
        if not state.takes_put:
            return self._error(405, "MethodNotAllowed")
        with state.lock:
            there = path.read_bytes() if path.is_file() else None
            if self.headers.get("If-None-Match") == "*" and there is not None:
                return self._error(412, "PreconditionFailed")
            match = self.headers.get("If-Match")
            if match is not None and (there is None or state.weak_tags or match != _tag(there)):
                return self._error(412, "PreconditionFailed")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self.send_response(200)
        self.send_header("ETag", _tag(content))
        self.send_header("Content-Length", "0")
        return self.end_headers()

    def _answer(self, *, with_body: bool) -> None:
        state, path = self.server_state, self._path()
        state.headers.append(dict(self.headers))
        if state.redirect_to is not None:
            self.send_response(302)
            self.send_header("Location", state.redirect_to + self.path)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if state.status is not None or not path.is_file():
            return self._error(state.status or 404, "NoSuchKey", with_body=with_body)
        content = path.read_bytes()
        start, status = 0, 200
        wanted = self.headers.get("Range", "")
        if state.ranges and wanted.startswith("bytes="):
            start, status = int(wanted[6:].partition("-")[0]), 206
            if start >= len(content):
                return self._error(416, "InvalidRange")
        body = content[start:]
        self.send_response(status)
        if status == 206:
            stated = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send_header("Content-Range", state.content_range or stated)
        self.send_header("ETag", f"{'W/' if state.weak_tags else ''}{_tag(content)}")
        stated_length = None if with_body else state.head_length
        self.send_header("Content-Length", stated_length or str(len(body) + state.add_length))
        self.end_headers()
        if with_body:
            self._send(body)
        return None

    def _send(self, body: bytes) -> None:
        state = self.server_state
        room = len(body) if state.cut_after is None else state.cut_after
        if state.add_length < 0:
            body = body[: state.add_length]
        for start in range(0, min(room, len(body)), CHUNK):
            chunk = body[start : min(start + CHUNK, room)]
            try:
                self.wfile.write(chunk)
            except OSError:  # the client was killed
                self.close_connection = True
                return
            with state.lock:
                state.sent[self.path] += len(chunk)
            state.on_chunk(sum(state.sent.values()))
        if room < len(body) or state.add_length > 0:
            self.close_connection = True

    def _error(self, status: int, code: str, *, with_body: bool = True) -> None:
        body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode() if with_body else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _path(self) -> Path:
        return self.server_state.root / unquote(self.path.partition("?")[0]).lstrip("/")

    def log_message(self, *_: object) -> None:
        pass


def _tag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'
