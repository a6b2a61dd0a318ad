"""Benchmark of the models of a bundle: each precision in each runtime through the same frames, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shelfgap_edge.admission import admit_bundle
from shelfgap_edge.bench.device import device_facts, peak_memory_mb
from shelfgap_edge.bench.harness import TOTAL, Pipeline, Timing, measure, overhead_us, ratio
from shelfgap_edge.bench.report import to_report
from shelfgap_edge.contract import RUNTIMES
from shelfgap_edge.errors import BundleError, FrameError
from shelfgap_edge.golden import parse_golden
from shelfgap_edge.runtime import Detector, manifest_of, precisions_of

if TYPE_CHECKING:
    from shelfgap_edge.trust import TrustedKeys


def bench_bundle(
    bundle: Path,
    frames: Sequence[bytes] | None = None,
    *,
    min_seconds: float = 10.0,
    min_count: int = 200,
    threads: int = 1,
    runtimes: Sequence[str] = RUNTIMES[:1],
    verify: bool = True,
    keys: TrustedKeys | None = None,
) -> dict[str, Any]:
    """Measure the latency of a bundle's models from JPEG bytes to detections.

    Args:
        bundle: a bundle directory or a `.tar` of one.
        frames: JPEG bytes; None for the golden frames of the bundle.
        min_seconds: time to measure each model, at least.
        min_count: frames to measure with each model, at least.
        threads: threads within one operator.
        runtimes: some of `RUNTIMES`, side by side in this process.
        verify: False skips the checksums (for a bundle that is being built).
        keys: one of them must have signed the bundle; None leaves that unchecked.

    Returns:
        The report (see `report.to_report`). `ratios` compares int8 with fp32 in each runtime, and each runtime
        with the first; `auto_precision` says what `precision="auto"` would take, by runtime.

    Raises:
        BundleError: the bundle must not run, or has no golden frames while none are given.
        FrameError: a frame cannot be decoded.
        MissingRuntimeError: a runtime is not installed.
    """
    where = str(bundle)
    admitted = admit_bundle(bundle, keys, sums=verify)
    files = admitted.files
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
    runtimes = tuple(dict.fromkeys(runtimes))
    variants = [(precision, runtime) for runtime in runtimes for precision in precisions]
    detectors = [Detector.from_files(files, where, precision=p, threads=threads, runtime=r) for p, r in variants]
    sizes = sorted(set(_frame_sizes(frames, detectors[0])))

    device = device_facts()  # before the measurement itself is the load
    labels = [precision if len(runtimes) == 1 else f"{precision} {runtime}" for precision, runtime in variants]
    pipelines = [Pipeline(label, detector.stages()) for label, detector in zip(labels, detectors, strict=True)]
    timings = measure(pipelines, frames, min_seconds=min_seconds, min_count=min_count)
    report = to_report(
        timings,
        subject={
            "bundle": manifest.name,
            "version": manifest.version,
            "signature": admitted.signature,
            "device_class": manifest.device_class,
            "input_size": list(manifest.input_size),
            "frames": len(frames),
            "frame_source": source,
            "frame_sizes": [list(size) for size in sizes],
            "runtimes": list(runtimes),
        },
        settings={"min_seconds": min_seconds, "min_count": min_count, "threads": threads},
        device=device,
        overhead_us=overhead_us(len(pipelines[0].stages)),
        peak_memory_mb=peak_memory_mb(),
        ratio_stages=("inference", TOTAL),
        comparisons=[
            (ours, reference)
            for ours, (precision, runtime) in enumerate(variants)
            for reference in (variants.index((precisions[0], runtime)), variants.index((precision, runtimes[0])))
            if ours != reference
        ],
    )
    return report | {"auto_precision": _auto_precision(variants, timings)}


def _auto_precision(variants: Sequence[tuple[str, str]], timings: Sequence[Timing]) -> dict[str, str]:
    """Return what `precision="auto"` would take in each runtime; nothing where the samples are too few to say."""
    timing_of = dict(zip(variants, timings, strict=True))
    choices = {}
    for runtime in dict.fromkeys(runtime for _, runtime in variants):
        int8, fp32 = (timing_of.get((precision, runtime)) for precision in ("int8", "fp32"))
        if int8 is None or fp32 is None:
            choices[runtime] = "int8" if fp32 is None else "fp32"
        elif (value := ratio(int8, fp32, "inference")) is not None:
            choices[runtime] = "fp32" if value > 1 else "int8"
    return choices


def _frame_sizes(frames: Sequence[bytes], detector: Detector) -> Iterator[tuple[int, int]]:
    for number, frame in enumerate(frames, start=1):
        try:
            yield detector.decode(frame).full_size
        except FrameError as error:
            raise FrameError(f"frame {number} of {len(frames)}: {error}") from None
