"""Benchmark of the models of a bundle: each precision through the same frames, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from shelfgap_edge.bench.device import device_facts, peak_memory_mb
from shelfgap_edge.bench.harness import TOTAL, Pipeline, measure, overhead_us
from shelfgap_edge.bench.report import to_report
from shelfgap_edge.bundle import check_sums, read_bundle
from shelfgap_edge.errors import BundleError, FrameError
from shelfgap_edge.golden import parse_golden
from shelfgap_edge.runtime import Detector, manifest_of, precisions_of


def bench_bundle(
    bundle: Path,
    frames: Sequence[bytes] | None = None,
    *,
    min_seconds: float = 10.0,
    min_count: int = 200,
    threads: int = 1,
    verify: bool = True,
) -> dict[str, Any]:
    """Measure the latency of a bundle's models from JPEG bytes to detections.

    Args:
        bundle: a bundle directory or a `.tar` of one.
        frames: JPEG bytes; None for the golden frames of the bundle.
        min_seconds: time to measure each model, at least.
        min_count: frames to measure with each model, at least.
        threads: threads within one operator.
        verify: False skips the checksums (for a bundle that is being built).

    Returns:
        The report (see `report.to_report`); with both precisions, `ratios` compares int8 with fp32.

    Raises:
        BundleError: the bundle must not run, or has no golden frames while none are given.
        FrameError: a frame cannot be decoded.
    """
    where = str(bundle)
    files = read_bundle(bundle)
    if verify:
        check_sums(files, where)
    manifest = manifest_of(files, where)
    if frames is None:
        names = dict.fromkeys(golden.file for golden in parse_golden(files, where))
        source, frames = "golden", [files[name] for name in names]
    else:
        source = "given"
    if not frames:
        raise FrameError("no frames to measure with")
    precisions = precisions_of(files)[::-1]  # fp32 first, as the reference of the ratio
    if not precisions:
        raise BundleError(f"{where}: has no model")
    detectors = {p: Detector.from_files(files, where, precision=p, threads=threads) for p in precisions}
    sizes = sorted(set(_frame_sizes(frames, detectors[precisions[0]])))

    device = device_facts()  # before the measurement itself is the load
    pipelines = [Pipeline(precision, detector.stages()) for precision, detector in detectors.items()]
    timings = measure(pipelines, frames, min_seconds=min_seconds, min_count=min_count)
    return to_report(
        timings,
        subject={
            "bundle": manifest.name,
            "version": manifest.version,
            "input_size": list(manifest.input_size),
            "frames": len(frames),
            "frame_source": source,
            "frame_sizes": [list(size) for size in sizes],
        },
        settings={"min_seconds": min_seconds, "min_count": min_count, "threads": threads},
        device=device,
        overhead_us=overhead_us(len(pipelines[0].stages)),
        peak_memory_mb=peak_memory_mb(),
        ratio_stages=("inference", TOTAL),
    )


def _frame_sizes(frames: Sequence[bytes], detector: Detector) -> Iterator[tuple[int, int]]:
    for number, frame in enumerate(frames, start=1):
        try:
            yield detector.decode(frame).full_size
        except FrameError as error:
            raise FrameError(f"frame {number} of {len(frames)}: {error}") from None
