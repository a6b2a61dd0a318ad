"""One process of a comparison: `python -m shelfgap_edge.bench.replicate BUNDLE --frames FOLDER` prints JSON.

A process lays out its memory and warms up its caches once, for better or worse, so samples within it agree more than
they should: who compares two models starts many processes, in turns.

Source: Kalibera, Jones 2013, "Rigorous benchmarking in reasonable time", doi:10.1145/2464157.2464160.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shelfgap_edge.bench.device import peak_memory_mb
from shelfgap_edge.bench.harness import TOTAL, Pipeline, measure
from shelfgap_edge.bench.percentile import percentile
from shelfgap_edge.contract import RUNTIMES
from shelfgap_edge.errors import ShelfgapError
from shelfgap_edge.runtime import Detector


def measure_here(
    bundle: Path, frames: Sequence[bytes], *, min_seconds: float, min_count: int, threads: int, runtime: str
) -> dict[str, Any]:
    """Measure whole frames, from JPEG bytes to detections, with the default model of a bundle in this process.

    Args:
        bundle: a bundle, or manifest and model alone; not verified.
        frames: JPEG bytes.
        min_seconds: time to measure, at least.
        min_count: frames to measure, at least.
        threads: threads within one operator.
        runtime: one of `RUNTIMES`.

    Returns:
        `latency_ms` of every frame, its `p25_ms`, `p50_ms` and `p90_ms` (null with too few samples); `cpu_ms` of every
        frame, the time that the process had a processor, and `cpu_p25_ms`; and `peak_memory_mb` of the process (null
        where it cannot be read).
    """
    detector = Detector.load(bundle, threads=threads, runtime=runtime, verify=False)
    cpu_ns: list[int] = []

    def detect(frame: bytes) -> None:
        started_ns = time.process_time_ns()
        detector.detect(frame)
        cpu_ns.append(time.process_time_ns() - started_ns)

    (timing,) = measure([Pipeline("model", {"detect": detect})], frames, min_seconds=min_seconds, min_count=min_count)
    total, cpu_ms = timing.latency_ms[TOTAL], np.array(cpu_ns[timing.warmup_count :]) / 1e6
    return {
        "latency_ms": np.round(total, 4).tolist(),
        "cpu_ms": np.round(cpu_ms, 4).tolist(),
        "cpu_p25_ms": percentile(cpu_ms, 25),
        **{f"p{percent}_ms": percentile(total, percent) for percent in (25, 50, 90)},
        "peak_memory_mb": peak_memory_mb(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m shelfgap_edge.bench.replicate", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--frames", type=Path, required=True, help="a folder of JPEG files")
    parser.add_argument("--min-seconds", type=float, default=1.0)
    parser.add_argument("--min-count", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runtime", choices=RUNTIMES, default=RUNTIMES[0])
    given = parser.parse_args(argv)
    try:
        frames = [path.read_bytes() for path in sorted(given.frames.iterdir())]
        report = measure_here(
            given.bundle,
            frames,
            min_seconds=given.min_seconds,
            min_count=given.min_count,
            threads=given.threads,
            runtime=given.runtime,
        )
    except ShelfgapError as error:
        print(f"shelfgap-edge: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps(report, allow_nan=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
