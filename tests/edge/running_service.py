"""The service as a process of its own, as systemd would run it, and cameras that talk to it over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from shelfgap_edge.service.tokens import hash_token

STAND_IN = Path(__file__).with_name("stand_in_parts.py")
READY_SECONDS = 300
IDLE_SECONDS = 30  # the service closes a connection after 75 without a request
_started: list[Running] = []


def token_of(camera: str) -> str:
    return f"token-of-{camera}"


def edge_toml(folder: Path, bundle: Path, cameras: Sequence[str], more: str = "", http: str = "") -> Path:
    """Write an edge.toml on free ports of loopback."""
    path = folder / "edge.toml"
    lines = [f'bundle = "{bundle}"', f'state = "{folder / "state"}"', more]
    if "[http]" not in more:
        lines += ["[http]", "port = 0", http]
    if "[admin]" not in more:
        lines += ["[admin]", "port = 0"]
    for camera in cameras:
        lines += [f"[cameras.{camera}]", f'tokens = ["{hash_token(token_of(camera))}"]']
    path.write_text("\n".join(lines) + "\n")
    return path


@dataclass
class Answer:
    status: int
    body: dict
    headers: dict[str, str]


@dataclass
class Running:
    """A service that was started; `log` is its standard error."""

    process: subprocess.Popen
    log: Path
    frames: str = ""
    admin: str = ""
    connections: dict[str, http.client.HTTPConnection] = field(default_factory=dict)
    used_at: dict[str, float] = field(default_factory=dict)

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def messages(self) -> list[str]:
        return [line["message"] for line in self.lines()]

    def wait_ready(self) -> Running:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            ready = [line for line in self.lines() if line.get("message") == "ready"]
            if ready:
                self.frames, self.admin = ready[0]["frames"], ready[0]["admin"]
                return self
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(f"not ready: {self.log.read_text()}")

    def wait_for(self, text: str, count: int = 1) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while sum(text in message for message in self.messages()) < count:
            assert time.monotonic() < deadline, f"{text!r} never came: {self.log.read_text()}"
            time.sleep(0.05)

    def request(self, method: str, url: str, body: bytes | None = None, headers: dict | None = None) -> Answer:
        parts = urlsplit(url)
        connection = self.connections.get(parts.netloc)
        if connection is None:
            connection = self.connections[parts.netloc] = http.client.HTTPConnection(
                parts.netloc, timeout=READY_SECONDS
            )
        elif time.monotonic() - self.used_at[parts.netloc] > IDLE_SECONDS:
            connection.close()  # the next request opens it anew
        self.used_at[parts.netloc] = time.monotonic()
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            raise
        if response.getheader("connection") == "close":
            connection.close()
        try:
            document = json.loads(content)
        except ValueError:
            document = {"text": content.decode(errors="replace")}
        return Answer(response.status, document, dict(response.getheaders()))

    def post(self, camera: str, jpeg: bytes, *, wait: bool = True, token: str | None = None, **headers: str) -> Answer:
        sent = {"Content-Type": "image/jpeg", "Authorization": f"Bearer {token or token_of(camera)}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"{self.frames}/v1/cameras/{camera}/frames{'?wait=1' if wait else ''}"
        return self.request("POST", url, jpeg, sent)

    def metric(self, name: str) -> float:
        """Return the sum of all samples whose line starts so."""
        text = self.request("GET", f"{self.admin}/metrics").body["text"]
        lines = [line for line in text.splitlines() if line.startswith(name)]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def stop(self, number: int = signal.SIGTERM, timeout: float = READY_SECONDS) -> int:
        for connection in self.connections.values():
            connection.close()
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout)


def start(
    config: Path,
    log: Path,
    *,
    prefix: Sequence[str] = (),
    command: Sequence[str] = (sys.executable, str(STAND_IN)),
    **environment: str,
) -> Running:
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*prefix, *command, str(config)],
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        )
    running = Running(process, log)
    _started.append(running)
    return running


@contextmanager
def ended() -> Iterator[None]:
    """Kill what was started within, and close the connections to it."""
    before = len(_started)
    yield
    while len(_started) > before:
        _started.pop().stop(signal.SIGKILL)
