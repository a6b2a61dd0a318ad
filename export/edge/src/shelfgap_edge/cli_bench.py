"""`shelfgap-edge bench`: measure a bundle on this machine, and compare."""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from shelfgap_edge.contract import PRECISIONS, RUNTIMES

if TYPE_CHECKING:
    from shelfgap_edge.bench.plan import Plan
    from shelfgap_edge.trust import TrustedKeys

SCENARIOS = ("single", "fleet", "offline", "cold", "memory", "sweep")
ASPECTS = ("device", "scenario", "threads", "frames")
_MIN_COUNTS = {"cold": 10, "memory": 5000}
_INTERRUPTED = 130
_REDRAW_S = 0.1
_N = TypeVar("_N", int, float)


def add_bench_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `bench`, but for BUNDLE, --json and --keys."""
    add = parser.add_argument
    add("--scenario", choices=SCENARIOS, default="single", help="what to measure, see docs/bench.md (single)")
    add("--frames", type=Path, nargs="+", metavar="PATH", help="JPEG files or folders of them (default: golden frames)")
    add("--min-seconds", type=_seconds, metavar="S", help="measure each at least so long (10; a process: 1)")
    add(
        "--min-count",
        type=_count,
        metavar="N",
        help="frames of each, at least (200; a process: 100; memory: 5000; cold: 10 starts)",
    )
    add("--threads", type=_count, nargs="+", metavar="T", help="threads in an operator; offline: frames at once (1)")
    add("--precision", choices=PRECISIONS, nargs="+", help="models (default: all; fleet, offline, cold, memory: one)")
    add(
        "--runtime", choices=RUNTIMES, nargs="+", help=f"what runs the models ({RUNTIMES[0]}; sweep: what is installed)"
    )
    add("--cameras", type=_count, metavar="N", help="fleet: cameras (1500)")
    add("--interval", type=_above_zero, metavar="S", help="fleet: seconds between two frames of a camera (60)")
    add("--jitter", type=_jitter, metavar="J", help="fleet: early or late by up to this share of the interval (0.1)")
    add("--compare", type=Path, metavar="REPORT", help="judge against an earlier report (of --json)")
    add("--against", type=Path, metavar="BUNDLE", help="judge against another bundle, in turns; better than --compare")
    add(
        "--processes", type=_count, metavar="N", help="single: fresh processes of each in turns (this one; against: 10)"
    )
    add("--margin", type=_margin, default=0.05, metavar="M", help="slower by this share is tolerated (0.05)")
    add("--despite", choices=ASPECTS, nargs="+", default=[], help="compare although this differs")


def bench_command(arguments: argparse.Namespace) -> int:
    """Measure, print, and judge where asked to."""
    problem = _misuse(arguments)
    if problem is not None:
        print(f"shelfgap-edge: error: {problem} (see shelfgap-edge bench --help)", file=sys.stderr)
        return 2
    from shelfgap_edge.bench.against import judge_against
    from shelfgap_edge.bench.compare import EXIT_CODES, check_comparable, compare_reports, read_report
    from shelfgap_edge.bench.plan import head_of
    from shelfgap_edge.bench.scenarios import run_scenario
    from shelfgap_edge.bench.variants import load_subject
    from shelfgap_edge.frame_files import read_frames

    earlier = None if arguments.compare is None else read_report(arguments.compare)
    keys = _keys(arguments.keys)
    frames = read_frames(arguments.frames) if arguments.frames else None
    subject = load_subject(arguments.bundle, frames, keys=keys)
    show = _Progress() if sys.stderr.isatty() else None
    plan = _plan(arguments, show)
    head = head_of(subject, plan)
    where = str(arguments.compare)
    if earlier is not None:
        check_comparable(head, earlier, where, arguments.despite)  # before minutes are spent
    try:
        if arguments.against is not None:
            report = judge_against(subject, plan, head, arguments.against, margin=arguments.margin, trusted=keys)
        else:
            report = run_scenario(subject, plan, head)
    finally:
        if show is not None:
            show.close()
    if earlier is not None and not report["interrupted"]:
        report["comparison"] = compare_reports(
            report, earlier, where, margin=arguments.margin, despite=arguments.despite
        )
    _print(report, as_json=arguments.json)
    if report["interrupted"]:
        print(
            "shelfgap-edge: error: interrupted; the figures are those of what was measured until then", file=sys.stderr
        )
        return _INTERRUPTED
    return EXIT_CODES[report["comparison"]["verdict"]] if "comparison" in report else 0


def _plan(arguments: argparse.Namespace, progress: _Progress | None) -> Plan:
    from shelfgap_edge.bench.fleet import Cameras
    from shelfgap_edge.bench.plan import Plan

    scenario = arguments.scenario
    threads, runtimes = arguments.threads or [1], arguments.runtime or RUNTIMES[:1]
    if scenario == "sweep":
        threads = arguments.threads or _powers_of_two()
        runtimes = arguments.runtime or [name for name in RUNTIMES if find_spec(name) is not None]
    cameras = {"count": arguments.cameras, "interval_s": arguments.interval, "jitter": arguments.jitter}
    in_turns = arguments.against is not None or arguments.processes is not None
    seconds = arguments.min_seconds
    if seconds is None:
        seconds = 1.0 if in_turns else 10.0
    return Plan(
        scenario,
        seconds,
        arguments.min_count or (100 if in_turns else _MIN_COUNTS.get(scenario, 200)),
        threads=tuple(threads),
        runtimes=tuple(runtimes),
        precisions=arguments.precision,
        processes=arguments.processes,
        cameras=Cameras(**{name: value for name, value in cameras.items() if value is not None}),
        bundle=arguments.bundle,
        frames=tuple(arguments.frames or ()),
        keys=arguments.keys,
        progress=progress,
    )


def _misuse(arguments: argparse.Namespace) -> str | None:
    """Return what options do not go together, None where all do."""
    scenario = arguments.scenario
    several = {name for name in ("threads", "precision", "runtime") if len(getattr(arguments, name) or ()) > 1}
    if scenario != "sweep" and "threads" in several:
        return "several --threads are for --scenario sweep"
    if scenario == "memory" and several:
        return "--scenario memory measures one model: give one --precision and one --runtime"
    if scenario != "fleet" and any(getattr(arguments, name) is not None for name in ("cameras", "interval", "jitter")):
        return "--cameras, --interval and --jitter are for --scenario fleet"
    if scenario != "single" and arguments.processes is not None:
        return "--processes is for --scenario single"
    if scenario == "cold" and arguments.min_seconds is not None:
        return "--scenario cold counts starts: give --min-count, not --min-seconds"
    if arguments.despite and arguments.compare is None:
        return "--despite is for --compare"
    if arguments.against is None:
        return None
    if arguments.compare is not None:
        return "give one of --compare and --against"
    if scenario != "single" or several:
        return "--against measures --scenario single, with one --precision and one --runtime"
    return None


def _print(report: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(report, indent=2, allow_nan=False))
        return
    from shelfgap_edge.bench.table import to_table

    print(to_table(report))
    for runtime, precision in report.get("auto_precision", {}).items():
        print(f"--precision auto takes {precision} in {runtime}")


def _keys(path: Path | None) -> TrustedKeys | None:
    if path is None:
        return None
    from shelfgap_edge.trust import load_keys

    return load_keys(path)


def _powers_of_two() -> list[int]:
    """Return 1, 2, 4... as far as there are processors for this process."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return [2**power for power in range(cores.bit_length())]


class _Progress:
    """One line on standard error, a terminal."""

    def __init__(self) -> None:
        self._shown = ""
        self._next_s = 0.0

    def __call__(self, share: float, doing: str) -> None:
        if time.monotonic() < self._next_s:
            return  # a slow terminal must not slow the measurement
        self._next_s = time.monotonic() + _REDRAW_S
        text = f"{share:4.0%}  {doing}"[: shutil.get_terminal_size().columns - 1]
        if text != self._shown:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
            self._shown = text

    def close(self) -> None:
        """Clear the line."""
        if self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _seconds(text: str) -> float:
    return _number(text, float, lambda value: 0 <= value < math.inf, "a number of seconds, 0 or more")


def _above_zero(text: str) -> float:
    return _number(text, float, lambda value: 0 < value < math.inf, "a number of seconds above 0")


def _jitter(text: str) -> float:
    return _number(text, float, lambda value: 0 <= value < 0.5, "a share from 0 to below 0.5")


def _margin(text: str) -> float:
    return _number(text, float, lambda value: 0 < value < math.inf, "a share above 0, like 0.05")


def _count(text: str) -> int:
    return _number(text, int, lambda value: value >= 1, "a whole number, 1 or more")


def _number(text: str, kind: Callable[[str], _N], accepted: Callable[[_N], bool], expected: str) -> _N:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not accepted(value):
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return value
