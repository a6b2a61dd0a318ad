"""The self-test of what was switched to: its golden frames, in a process of its own, since a model may crash it."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
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


def run_command(command: str, timeout_seconds: float) -> str | None:
    """Run the operator's command line, without a shell; return None if it ends with 0, else the reason."""
    reason = run_check(shlex.split(command), timeout_seconds)
    return None if reason is None else f"{command}: {reason}"


def run_check(command: list[str], timeout_seconds: float) -> str | None:
    """Run a process; return None if it ends with 0 in time, else one line with the reason."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout_seconds)
    except subprocess.TimeoutExpired:
        return f"not done after {timeout_seconds:g} s"
    except OSError as error:
        return f"cannot be started ({error.strerror})"
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        return f"crashed ({signal.Signals(-done.returncode).name})"
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return lines[-1].removeprefix("shelfgap-edge: error: ")
