"""One process of a comparison: `python -m shelfgap_edge.bench.replicate BUNDLE --frames FOLDER` prints JSON.

A process lays out its memory and warms up its caches once, for better or worse, so samples within it agree more than
they should: who compares two models starts many processes, in turns.

Source: Kalibera, Jones 2013, "Rigorous benchmarking in reasonable time", doi:10.1145/2464157.2464160.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shelfgap_edge.admission import admit_bundle
from shelfgap_edge.bench.device import peak_memory_mb
from shelfgap_edge.bench.harness import TOTAL, Pipeline, measure
from shelfgap_edge.bench.percentile import percentile
from shelfgap_edge.contract import PRECISIONS, RUNTIMES
from shelfgap_edge.errors import ShelfgapError
from shelfgap_edge.frame_files import read_frames
from shelfgap_edge.golden import golden_pictures
from shelfgap_edge.runtime import Detector


def measure_here(detector: Detector, frames: Sequence[bytes], *, min_seconds: float, min_count: int) -> dict[str, Any]:
    """Measure whole frames, from JPEG bytes to detections, in this process.

    Args:
        detector: what to measure.
        frames: JPEG bytes.
        min_seconds: time to measure, at least.
        min_count: frames to measure, at least.

    Returns:
        `latency_ms` of every frame, its `p25_ms`, `p50_ms` and `p90_ms` (null with too few samples); `cpu_ms` of every
        frame, the time that the process had a processor, and `cpu_p25_ms`; and `peak_memory_mb` of the process (null
        where it cannot be read).
    """
    (timing,) = measure(
        [Pipeline("model", {"detect": detector.detect})], frames, min_seconds=min_seconds, min_count=min_count
    )
    if timing.is_interrupted:
        raise KeyboardInterrupt
    total = timing.latency_ms[TOTAL]
    return {
        "latency_ms": np.round(total, 4).tolist(),
        "cpu_ms": np.round(timing.cpu_ms, 4).tolist(),
        "cpu_p25_ms": percentile(timing.cpu_ms, 25),
        **{f"p{percent}_ms": percentile(total, percent) for percent in (25, 50, 90)},
        "peak_memory_mb": peak_memory_mb(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m shelfgap_edge.bench.replicate", description=__doc__)
    parser.add_argument("bundle", type=Path)
    pictures = parser.add_mutually_exclusive_group(required=True)
    pictures.add_argument("--frames", type=Path, nargs="+", help="JPEG files, or folders of them")
    pictures.add_argument("--golden", type=Path, metavar="BUNDLE", help="take the golden frames of a bundle")
    parser.add_argument("--min-seconds", type=float, default=1.0)
    parser.add_argument("--min-count", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runtime", choices=RUNTIMES, default=RUNTIMES[0])
    parser.add_argument("--precision", choices=PRECISIONS, help="default: the bundle's")
    parser.add_argument("--verify", action="store_true", help="check the sums of the bundle")
    parser.add_argument("--keys", type=Path, help="keys, one of which must have signed it")
    given = parser.parse_args(argv)
    try:
        keys = None
        if given.keys is not None:
            from shelfgap_edge.trust import load_keys

            keys = load_keys(given.keys)
        detector = Detector.load(
            given.bundle,
            precision=given.precision,
            threads=given.threads,
            runtime=given.runtime,
            verify=given.verify,
            keys=keys,
        )
        if given.golden is not None:
            frames = golden_pictures(admit_bundle(given.golden).files, str(given.golden))
        else:
            frames = read_frames(given.frames)
        report = measure_here(detector, frames, min_seconds=given.min_seconds, min_count=given.min_count)
    except ShelfgapError as error:
        print(f"shelfgap-edge: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps(report, allow_nan=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
