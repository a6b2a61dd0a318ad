"""Prefect's temporary server, kept in hand: deaf to Ctrl-C, and gone after a kill."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path

import psutil
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL


def start_server(prefect_home: Path) -> None:
    """Start the temporary server of this process, unless PREFECT_API_URL names one that somebody else keeps.

    Args:
        prefect_home: existing or new folder; the process id is noted in it, so that the server of a flow that was
            killed can be ended by the next one.
    """
    if PREFECT_API_URL.value():
        return
    prefect_home.mkdir(parents=True, exist_ok=True)
    note = prefect_home / "server.pid"
    _end_orphan(note)
    server = SubprocessASGIServer()
    # A blocked signal stays blocked in child processes: Ctrl-C must end the flow, which then still has a server to
    # tell.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        server.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if server.server_process is not None:
        note.write_text(str(server.server_process.pid))


def _end_orphan(note: Path) -> None:
    """End the noted server if its flow is gone."""
    with suppress(OSError, ValueError, psutil.Error):
        server = psutil.Process(int(note.read_text()))
        parent = server.parent()
        is_ours = "prefect.server.api.server:create_app" in server.cmdline()
        if is_ours and (parent is None or "shelfgap" not in " ".join(parent.cmdline())):
            server.terminate()
            server.wait(timeout=10)
