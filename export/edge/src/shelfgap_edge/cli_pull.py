"""`shelfgap-edge pull`: keep a device at the release that its ring is offered."""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shelfgap_edge.contract import RUNTIMES
from shelfgap_edge.errors import ShelfgapError

if TYPE_CHECKING:
    from shelfgap_edge.pull.pull import Device, Outcome

_JITTER = 0.2  # of the interval, so that devices that started together do not arrive together
REJECTED = 3


def add_pull_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pull`."""
    parser.add_argument("source", nargs="?", metavar="ADDRESS", help="a folder, https://..., http://... or s3://...")
    parser.add_argument("--state", type=Path, required=True, metavar="DIR", help="folder of this device's slots")
    parser.add_argument("--keys", type=Path, metavar="FILE", help="trusted keys: PEM, or JSON")
    parser.add_argument("--ring", choices=("canary", "all"), default="all", help="which releases to take (all)")
    parser.add_argument("--product", metavar="NAME", help="name of the bundles (default: that of the first index)")
    parser.add_argument("--runtime", choices=RUNTIMES, default=RUNTIMES[0], help=f"for the self-test ({RUNTIMES[0]})")
    parser.add_argument(
        "--restart", type=_command, metavar="COMMAND", help="run after each switch; if it fails, so has the update"
    )
    parser.add_argument("--once", action="store_true", help="pull once; otherwise again and again")
    parser.add_argument("--every", type=_interval, default=900.0, metavar="S", help="seconds between two pulls (900)")
    parser.add_argument("--retry-failed", action="store_true", help="try releases again that failed here")
    parser.add_argument("--status", action="store_true", help="print what runs here, without any network")
    parser.add_argument("--json", action="store_true", help="print one line of JSON for each pull")


def pull_command(arguments: argparse.Namespace) -> int:
    """Pull once, or until stopped; or print the status."""
    if arguments.status:
        return _status(arguments)
    for name, value in (("ADDRESS", arguments.source), ("--keys", arguments.keys)):
        if value is None:
            print(f"shelfgap-edge: error: {name} is required, except with --status", file=sys.stderr)
            return 2
    from shelfgap_edge.pull.pull import Device

    device = Device(
        state=arguments.state,
        keys=arguments.keys,
        ring=arguments.ring,
        product=arguments.product,
        runtime=arguments.runtime,
        restart=arguments.restart,
    )
    if arguments.once:
        return _pull(arguments, device)
    while True:
        try:
            _pull(arguments, device)
        except ShelfgapError as error:  # the next one may succeed; what is installed runs on
            print(f"shelfgap-edge: error: {error}", file=sys.stderr, flush=True)
        arguments.retry_failed = False
        time.sleep(arguments.every * random.uniform(1 - _JITTER, 1 + _JITTER))


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number of seconds, 1 or more, got {text!r}")
    return seconds


def _command(text: str) -> tuple[str, ...]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no command line: {error}") from None
    if not words:
        raise argparse.ArgumentTypeError("expected a command line, got an empty one")
    return tuple(words)


def _pull(arguments: argparse.Namespace, device: Device) -> int:
    from shelfgap_edge.pull.pull import pull
    from shelfgap_edge.pull.source import open_source

    show = _progress if sys.stderr.isatty() else (lambda done, total: None)
    outcome = pull(device, open_source(arguments.source), retry_failed=arguments.retry_failed, on_progress=show)
    if arguments.json:
        print(json.dumps(outcome.to_dict()), flush=True)
    else:
        print(_text(outcome), flush=True)
    return REJECTED if outcome.status == "rejected" else 0


def _text(outcome: Outcome) -> str:
    runs = "nothing runs" if outcome.release is None else f"release {outcome.release} ({outcome.version}) runs"
    lines = [f"{outcome.status}: {outcome.reason}; {runs}; {outcome.fetched_bytes / 2**20:.1f} MB fetched"]
    return "\n".join([*lines, *(f"warning: {text}" for text in outcome.warnings)])


def _status(arguments: argparse.Namespace) -> int:
    from shelfgap_edge.pull.status import device_status

    status = device_status(arguments.state, datetime.now(UTC))
    if arguments.json:
        print(json.dumps(status))
        return 0
    print("\n".join(_status_lines(status)))
    return 0


def _status_lines(status: dict[str, Any]) -> list[str]:
    lines = ["nothing runs here yet"]
    if status["release"] is not None:
        state = "intact" if status["intact"] else "SPOILT: pull again"
        lines = [f"release {status['release']} ({status['version']}) in slot {status['slot']}, {state}"]
    if status["trial"] is not None:
        lines.append(f"release {status['trial']} is on trial; the next pull ends its self-test")
    lines += [
        f"release {number} ({failure['version']}) failed here at {failure['at']}: {failure['reason']}"
        for number, failure in status["failed"].items()
    ]
    index = status["index"]
    if index is not None:
        age = "expired: nothing new is installed until there is a newer one" if index["expired"] else "valid"
        lines.append(f"index {index['number']} of {index['product']}, {age} (until {index['expires_at']})")
        if index["withdrawn"]:
            lines.append("warning: what runs here was withdrawn")
    if status["gathered_bytes"]:
        lines.append(f"{status['gathered_bytes'] / 2**20:.1f} MB of an unfinished update are here")
    return lines


def _progress(done: int, total: int) -> None:
    end = os.linesep if done == total else ""
    print(f"\rfetching {done / 2**20:.1f} of {total / 2**20:.1f} MB", end=end, file=sys.stderr, flush=True)
