"""A real web server on loopback that takes webhooks, verifies them as docs/alerts.md shows, and fails on request."""

from __future__ import annotations

import functools
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DOCS = Path(__file__).parents[2] / "docs" / "alerts.md"


@functools.cache
def verify_of_the_docs() -> Any:
    """Return the function `verify` that docs/alerts.md gives to receivers."""
    code = re.search(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.group(1), names)
    return names["verify"]


@dataclass
class Receiver:
    """What the server got and how it answers.

    Attributes:
        mode: "up", "vanish" (takes it and closes without an answer), "slow" (an answer without an end), or a status.
        mode_of: body -> mode, in place of `mode`.
        port: where it listens.
        tls: a context for https.
        answer_headers: added to each answer.
        taken: bodies that it took, in order.
        headers: of each request.
        forged: requests whose signature did not hold.
    """

    mode: str | int = "up"
    answer_headers: dict[str, str] = field(default_factory=dict)
    taken: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    forged: int = 0
    port: int = 0
    tls: Any = None
    mode_of: Any = None

    def start(self) -> None:
        """Listen, on the same port as before."""
        verify = verify_of_the_docs()
        receiver, lock, self._over = self, threading.Lock(), threading.Event()
        over = self._over

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                body = self.rfile.read(length)
                if len(body) < length:
                    return  # whoever sent it was killed meanwhile
                mode = receiver.mode_of(body) if receiver.mode_of else receiver.mode
                with lock:
                    receiver.headers.append({name.lower(): value for name, value in self.headers.items()})
                    if not verify(self.headers, body, SECRET):
                        receiver.forged += 1
                    elif mode in ("up", "vanish"):
                        receiver.taken.append(body)
                if mode == "vanish":
                    self.close_connection = True
                    return
                if mode == "slow":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                    while not over.wait(0.05):
                        try:
                            self.wfile.write(b"X-Drip: 1\r\n")
                        except OSError:
                            return
                    return
                self.send_response(200 if mode == "up" else mode)
                for name, value in receiver.answer_headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *args: object) -> None:
                pass  # clients are killed on purpose

        self._server = Server(("127.0.0.1", self.port), Handler)
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Listen no more: connections are refused."""
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
