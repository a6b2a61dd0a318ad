"""The scenario `cold`: how long from the start of a process to its first verdict, and where that time goes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shelfgap_edge.bench.harness import Progress, stage_latencies_ms
from shelfgap_edge.bench.processes import run_module
from shelfgap_edge.bench.variants import Variant

PARTS = ("interpreter", "import", "verification", "session", "first frame")
"""What a start consists of: the process and Python; the packages; reading the bundle, its sums, and its signature if
keys are given; loading the model; one frame from its bytes to its verdict."""


def run_cold(
    bundle: Path,
    variants: Sequence[Variant],
    *,
    starts: int,
    frame: Path | None = None,
    keys: Path | None = None,
    progress: Progress | None = None,
) -> tuple[list[dict[str, NDArray[np.float64]]], bool]:
    """Start fresh processes, those of several variants in turns, A B, B A...

    One start of each goes before, not counted, so that files are in the page cache and compiled modules are there.

    Args:
        bundle: directory or `.tar`.
        variants: what to start.
        starts: of each, 1 or more.
        frame: a JPEG file; None for the first golden frame.
        keys: one of them must have signed the bundle; None leaves that unchecked.
        progress: told how far it is.

    Returns:
        Milliseconds by part and under "total", float64 (starts,), of each variant; and whether Ctrl-C ended it early.

    Raises:
        BenchError: a process failed.
    """
    ticks_ns: list[list[list[int]]] = [[] for _ in variants]
    is_interrupted = False
    try:
        for turn in range(-1, starts):
            order = list(range(len(variants)))[:: 1 if turn % 2 == 0 else -1]
            for number, index in enumerate(order):
                if progress is not None:
                    done = max(0, turn) * len(variants) + (number if turn >= 0 else 0)
                    progress(done / (starts * len(variants)), f"{max(0, turn)} starts each")
                ticks = _start(bundle, variants[index], frame, keys)
                if turn >= 0:
                    ticks_ns[index].append(ticks)
    except KeyboardInterrupt:
        if not all(ticks_ns):
            raise
        is_interrupted = True
    return [stage_latencies_ms(PARTS, ticks) for ticks in ticks_ns], is_interrupted


def _start(bundle: Path, variant: Variant, frame: Path | None, keys: Path | None) -> list[int]:
    options: list[object] = ["--precision", variant.precision, "--runtime", variant.runtime]
    options += ["--threads", variant.threads]
    options += [] if frame is None else ["--frame", frame.absolute()]
    options += [] if keys is None else ["--keys", keys.absolute()]
    # The clock is the same in all processes of a machine.
    ticks: list[int] = run_module("first_verdict", time.monotonic_ns(), bundle.absolute(), *options)
    return ticks
