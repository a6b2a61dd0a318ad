"""Runs modules of this package in fresh processes and reads what they print."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from shelfgap_edge.errors import BenchError


def run_module(name: str, *arguments: object) -> Any:
    """Run `python -m shelfgap_edge.bench.NAME` and return the JSON that it prints.

    Raises:
        BenchError: it failed; the text is the last line that it complained in.
        KeyboardInterrupt: it was interrupted.
    """
    command = [sys.executable, "-m", f"shelfgap_edge.bench.{name}", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 130:
        raise KeyboardInterrupt
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise BenchError(said[-1].removeprefix("shelfgap-edge: error: "))
    return json.loads(done.stdout)
