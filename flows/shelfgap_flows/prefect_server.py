"""Prefect's servers, kept in hand: deaf to Ctrl-C, and gone after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import socket

import httpx
import psutil
from prefect.client.orchestration import get_client
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL, temporary_settings

from shelfgap_flows.workspace import WorkspaceError

_START_SECONDS = 120  # Prefect's own 20 are too few where trainings hold all cores


def start_server(prefect_home: Path) -> None:
    """Start the temporary server of this process, unless PREFECT_API_URL names one that somebody else keeps.

    Args:
        prefect_home: existing or new folder; the process id is noted in it, so that the server of a flow that was
            killed can be ended by the next one.

    Raises:
        WorkspaceError: PREFECT_API_URL names a server that does not answer, or is of another version.
    """
    if address := PREFECT_API_URL.value():
        _require_server(address)
        return
    prefect_home.mkdir(parents=True, exist_ok=True)
    note = prefect_home / "server.pid"
    _end_orphan(note)
    server = SubprocessASGIServer()
    # A blocked signal stays blocked in child processes: Ctrl-C must end the flow, which then still has a server to
    # tell.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        server.start(timeout=_START_SECONDS)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if server.server_process is not None:
        note.write_text(str(server.server_process.pid))


@contextmanager
def lasting_server(prefect_home: Path) -> Iterator[None]:
    """Keep a server that also starts what is scheduled, unless PREFECT_API_URL names one.

    Args:
        prefect_home: existing or new folder of its database.
    """
    if PREFECT_API_URL.value():
        yield
        return
    prefect_home.mkdir(parents=True, exist_ok=True)
    note = prefect_home / "lasting_server.pid"
    _end_orphan(note)
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    # its own session: Ctrl-C ends the flows first, which then still have a server to tell
    server = subprocess.Popen(command, env={**os.environ, "PREFECT_UI_ENABLED": "0"}, start_new_session=True)
    note.write_text(str(server.pid))
    try:
        address = f"http://127.0.0.1:{port}/api"
        _wait_for(f"{address}/health", server)
        with temporary_settings({PREFECT_API_URL: address}):
            yield
    finally:
        server.terminate()
        server.wait()


def _require_server(address: str) -> None:
    """Say so before the work if the server of PREFECT_API_URL cannot be used.

    Raises:
        WorkspaceError: it cannot.
    """
    try:
        with get_client(sync_client=True) as client:
            client.raise_for_api_version_mismatch()
    except (RuntimeError, httpx.HTTPError) as error:
        raise WorkspaceError(
            f"{address}: no Prefect server that can be used ({error}); start it, or unset PREFECT_API_URL"
        ) from None


def _wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    """Wait until a server answers.

    Raises:
        WorkspaceError: it ended, or does not answer in time.
    """
    end = time.monotonic() + _START_SECONDS
    while server.poll() is None and time.monotonic() < end:
        with suppress(httpx.HTTPError):
            if httpx.get(address).is_success:
                return
        time.sleep(0.2)
    raise WorkspaceError(f"no answer from the Prefect server at {address}; keep one yourself, as PREFECT_API_URL")


def _end_orphan(note: Path) -> None:
    """End the noted server if its flow is gone."""
    with suppress(OSError, ValueError, psutil.Error):
        server = psutil.Process(int(note.read_text()))
        parent = server.parent()
        is_ours = "prefect.server.api.server:create_app" in server.cmdline()
        if is_ours and (parent is None or "shelfgap" not in " ".join(parent.cmdline())):
            server.terminate()
            server.wait(timeout=10)
