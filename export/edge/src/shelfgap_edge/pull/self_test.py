"""The self-test of what was switched to: its golden frames, in a process of its own, since a model may crash it."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path


def replay_golden_frames(bundle: Path, runtime: str, timeout_seconds: float) -> str | None:
    """Run `shelfgap-edge verify` on a bundle.

    Args:
        bundle: its folder.
        runtime: what runs the models on this device.
        timeout_seconds: after that it has failed.

    Returns:
        None if every golden frame gives what it must, else the reason.
    """
    command = [sys.executable, "-m", "shelfgap_edge.cli", "verify", str(bundle), "--runtime", runtime]
    return run_check(command, timeout_seconds)


def run_command(command: tuple[str, ...], timeout_seconds: float) -> str | None:
    """Run the operator's command, without a shell; return None if it ends with 0, else the reason."""
    reason = run_check(list(command), timeout_seconds)
    return None if reason is None else f"{shlex.join(command)}: {reason}"


def run_check(command: list[str], timeout_seconds: float) -> str | None:
    """Run a process; return None if it ends with 0 in time, else one line with the reason."""
    # A file and not a pipe: a service that the command starts keeps its end open.
    with tempfile.TemporaryFile() as stderr:
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                timeout=timeout_seconds,
            )
        except subprocess.TimeoutExpired:
            return f"not done after {timeout_seconds:g} s"
        except OSError as error:
            return f"cannot be started ({error.strerror})"
        stderr.seek(0)
        lines = stderr.read().decode(errors="replace").strip().splitlines()
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        names = {known.value: known.name for known in signal.Signals}  # real-time signals have none
        return f"crashed ({names.get(-done.returncode, f'signal {-done.returncode}')})"
    return (lines or [f"exit code {done.returncode}"])[-1].removeprefix("shelfgap-edge: error: ")
