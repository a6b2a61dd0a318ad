"""Latency and memory of two models on one machine, whatever else it does: fresh processes in turns, A B, B A, A B...

Each process gives one number, the 25th percentile of its frames: what else runs on a machine only ever adds time, and
adds least there. With one thread that is the time that a frame had a processor, which is its latency on a machine that
does nothing else; with several threads it is the time that passed. Neighbouring processes make a pair, whose log ratio
is one sample; slow drifts cancel in the order of turns, and a trimmed mean forgets pairs that something fell upon. When
the interval decides nothing, more pairs are measured, up to a cap; every look takes its share of alpha.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import stats
from scipy.stats import mstats
from shelfgap_edge.bench.device import device_facts
from shelfgap_edge.errors import ShelfgapError

from shelfgap_export.gate.difference import Difference, decide
from shelfgap_export.gate.entrant import Entrant
from shelfgap_export.params import GateParams

Clock = Literal["cpu", "wall"]

_TRIM = 0.2  # share of the pairs left out at either end
_BINS = 40


class LatencyError(ShelfgapError):
    """A latency could not be measured, or was measured of other models."""


@dataclass
class Processes:
    """What the processes of one model measured, one entry a process."""

    judged_ms: list[float] = field(default_factory=list)  # 25th percentile by the clock that is judged
    p50_ms: list[float] = field(default_factory=list)
    p90_ms: list[float | None] = field(default_factory=list)
    peak_memory_mb: list[float | None] = field(default_factory=list)
    frames_ms: list[float] = field(default_factory=list)  # every frame by that clock; not in reports

    def add(self, measured: dict[str, Any], clock: Clock) -> None:
        """Take over what a process said."""
        for name in ("p50_ms", "p90_ms", "peak_memory_mb"):
            getattr(self, name).append(measured[name])
        self.judged_ms.append(measured["cpu_p25_ms" if clock == "cpu" else "p25_ms"])
        self.frames_ms += measured["cpu_ms" if clock == "cpu" else "latency_ms"]

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON, without single frames."""
        return {name: values for name, values in asdict(self).items() if name != "frames_ms"}


def compare_latency(
    candidate: Entrant,
    champion: Entrant,
    frames: Sequence[bytes],
    params: GateParams,
    *,
    runtime: str,
    checks: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Measure two models in turns until their ratio is decided, or the last of `params.latency.pairs` is reached.

    Args:
        candidate: one model.
        champion: the other.
        frames: JPEG bytes, the same for both.
        params: of the gate.
        runtime: what runs them.
        checks: how many checks may fail the candidate (see `difference`).
        progress: told processes that ran, and the most that may.

    Returns:
        JSON-ready: `candidate` and `champion` (identities), `runtime`, `threads`, `clock`, `pairs`, `looks`, `ratio`
        (`value`, `low`, `high`, `standard_error` of its log), `processes` by side, `histogram` (`edges_ms`, shares by
        side), `device`.

    Raises:
        LatencyError: a process failed.
    """
    device = device_facts()  # before the measurement itself is the load
    looks = params.latency.pairs
    clock: Clock = "cpu" if params.latency.threads == 1 else "wall"
    sides = {"candidate": Processes(), "champion": Processes()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        places = {"candidate": candidate.write(folder / "candidate"), "champion": champion.write(folder / "champion")}
        pictures = _write_frames(folder / "frames", frames)
        for pair in range(looks[-1]):
            for side in list(sides)[:: 1 if pair % 2 == 0 else -1]:
                sides[side].add(_replicate(side, places[side], pictures, params, runtime), clock)
                if progress is not None:
                    progress(2 * pair + 1 + (side != next(iter(sides))), 2 * looks[-1])
            if pair + 1 in looks:
                ratio = ratio_of(sides["candidate"].judged_ms, sides["champion"].judged_ms, params, checks)
                if decide(ratio, math.log1p(params.margins.latency)) != "inconclusive":
                    break
    return {
        "candidate": candidate.identity,
        "champion": champion.identity,
        "runtime": runtime,
        "threads": params.latency.threads,
        "clock": clock,
        "pairs": pair + 1,
        "looks": list(looks),
        "ratio": _ratio_dict(ratio),
        "processes": {side: measured.to_dict() for side, measured in sides.items()},
        "histogram": _histogram(sides),
        "device": device,
    }


def measure_alone(
    candidate: Entrant, frames: Sequence[bytes], params: GateParams, *, runtime: str
) -> list[float | None]:
    """Return the 90th percentile of a frame in milliseconds, of as many fresh processes as the first look has pairs.

    Raises:
        LatencyError: a process failed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        place, pictures = candidate.write(folder / "candidate"), _write_frames(folder / "frames", frames)
        runs = [_replicate("candidate", place, pictures, params, runtime) for _ in range(params.latency.pairs[0])]
    return [run["p90_ms"] for run in runs]


def ratio_of(
    candidate_ms: Sequence[float], champion_ms: Sequence[float], params: GateParams, checks: int
) -> Difference:
    """Return how much faster the candidate is, as a difference of logs: below zero when it is slower.

    Args:
        candidate_ms: of each process.
        champion_ms: of its neighbour.
        params: of the gate; each look takes alpha / looks.
        checks: how many checks may fail the candidate.

    Source: trimmed mean with its t interval, Tukey, McLaughlin 1963, as in `scipy.stats.mstats`.
    """
    gains = np.log(np.asarray(champion_ms) / np.asarray(candidate_ms))
    count, looks = len(gains), len(params.latency.pairs)
    value = float(mstats.trimmed_mean(gains, (_TRIM, _TRIM)))
    error = float(mstats.trimmed_stde(gains, (_TRIM, _TRIM)))
    freedom = count - 2 * int(_TRIM * count) - 1
    low = value - error * float(stats.t.isf(params.alpha / looks, freedom))
    high = value + error * float(stats.t.isf(params.alpha / checks / looks, freedom))
    return Difference(value, low, high, error, count)


def budget_of(p90_ms: Sequence[float | None], budget_ms: float, alpha: float) -> Difference | None:
    """Return how far below a budget a model stays, as a difference of logs; None where a process had too few frames."""
    values = [value for value in p90_ms if value is not None]
    if len(values) < max(2, len(p90_ms)):
        return None
    room = np.log(budget_ms / np.asarray(values))
    error = float(room.std(ddof=1) / math.sqrt(len(room)))
    reach = error * float(stats.t.isf(alpha, len(room) - 1))
    value = float(room.mean())
    return Difference(value, value - reach, value + reach, error, len(room))


def read_difference(ratio: dict[str, float], pairs: int) -> Difference:
    """Return the difference of logs that `compare_latency` wrote as a ratio."""
    low, high = -math.log(ratio["high"]), -math.log(ratio["low"])
    return Difference(-math.log(ratio["value"]), low, high, ratio["standard_error"], pairs)


def _ratio_dict(gain: Difference) -> dict[str, float]:
    return {
        "value": math.exp(-gain.value),
        "low": math.exp(-gain.high),
        "high": math.exp(-gain.low),
        "standard_error": gain.standard_error,
    }


def _write_frames(folder: Path, frames: Sequence[bytes]) -> Path:
    folder.mkdir()
    for number, frame in enumerate(frames):
        (folder / f"{number:03}.jpg").write_bytes(frame)
    return folder


def _replicate(side: str, bundle: Path, frames: Path, params: GateParams, runtime: str) -> dict[str, Any]:
    given = params.latency
    command = [sys.executable, "-m", "shelfgap_edge.bench.replicate", str(bundle), "--frames", str(frames)]
    command += ["--min-seconds", str(given.min_seconds), "--min-count", str(given.min_count)]
    command += ["--threads", str(given.threads), "--runtime", runtime]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise LatencyError(f"the latency of the {side} cannot be measured: {said[-1]}")
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def _histogram(sides: dict[str, Processes]) -> dict[str, list[float]]:
    """Return how the frames of both sides are spread, up to their 99th percentile; the last bin takes the rest."""
    everything = np.concatenate([measured.frames_ms for measured in sides.values()])
    edges = np.linspace(everything.min(), np.percentile(everything, 99), _BINS + 1)
    report = {"edges_ms": np.round(edges, 4).tolist()}
    for side, measured in sides.items():
        counts, _ = np.histogram(np.minimum(measured.frames_ms, edges[-1]), edges)
        report[side] = np.round(counts / len(measured.frames_ms), 6).tolist()
    return report
