"""Scenarios that run the models of a bundle side by side, in turns: `single` and `sweep`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shelfgap_edge.bench.device import peak_memory_mb
from shelfgap_edge.bench.harness import TOTAL, Timing, measure, overhead_us, ratio
from shelfgap_edge.bench.plan import Plan, head_of
from shelfgap_edge.bench.report import ratios_of, timing_run, to_report
from shelfgap_edge.bench.variants import Subject, Variant, load_subject
from shelfgap_edge.contract import RUNTIMES

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
    """Measure the latency of a bundle's models from JPEG bytes to detections, one frame after another.

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
        The report (see `run_single`).

    Raises:
        BundleError: the bundle must not run, or has no golden frames while none are given.
        FrameError: a frame cannot be decoded.
        MissingRuntimeError: a runtime is not installed.
    """
    subject = load_subject(bundle, frames, verify=verify, keys=keys)
    plan = Plan("single", min_seconds, min_count, threads=(threads,), runtimes=tuple(dict.fromkeys(runtimes)))
    return run_single(subject, plan, head_of(subject, plan))


def run_single(subject: Subject, plan: Plan, head: dict[str, Any]) -> dict[str, Any]:
    """Measure the latency of each model in each runtime.

    Returns:
        The report (see `report.to_report`). `ratios` compares int8 with fp32 in each runtime, and each runtime
        with the first; `auto_precision` says what `precision="auto"` would take, by runtime.
    """
    variants = plan.variants(subject)
    timings, overhead = _measure(subject, plan, variants)
    by_kind = {(variant.precision, variant.runtime): index for index, variant in enumerate(variants)}
    references = [
        (by_kind[variants[0].precision, variant.runtime], by_kind[variant.precision, variants[0].runtime])
        for variant in variants
    ]
    ratios = ratios_of(
        timings,
        stages=("inference", TOTAL),
        comparisons=[
            (ours, reference) for ours, pair in enumerate(references) for reference in pair if ours != reference
        ],
    )
    report = _report(timings, variants, ratios, overhead, plan, head)
    return report | {"auto_precision": _auto_precision(variants, timings)}


def run_sweep(subject: Subject, plan: Plan, head: dict[str, Any]) -> dict[str, Any]:
    """Measure every combination of model, runtime and threads, each compared with the first."""
    variants = plan.variants(subject)
    timings, overhead = _measure(subject, plan, variants)
    return _report(timings, variants, ratios_of(timings, stages=("inference", TOTAL)), overhead, plan, head)


def _measure(subject: Subject, plan: Plan, variants: Sequence[Variant]) -> tuple[list[Timing], float]:
    pipelines = [subject.pipeline(variant) for variant in variants]
    timings = measure(
        pipelines,
        subject.frames,
        min_seconds=plan.min_seconds,
        min_count=plan.min_count,
        meter=plan.meter,
        progress=plan.progress,
    )
    return timings, overhead_us(len(pipelines[0].stages))


def _report(
    timings: Sequence[Timing],
    variants: Sequence[Variant],
    ratios: Sequence[dict[str, Any]],
    overhead: float,
    plan: Plan,
    head: dict[str, Any],
) -> dict[str, Any]:
    return to_report(
        [timing_run(timing, variant.threads) for timing, variant in zip(timings, variants, strict=True)],
        **head,
        ratios=ratios,
        overhead_us=overhead,
        peak_memory_mb=peak_memory_mb(),
        energy_absence=plan.meter.absence,
        is_interrupted=any(timing.is_interrupted for timing in timings),
    )


def _auto_precision(variants: Sequence[Variant], timings: Sequence[Timing]) -> dict[str, str]:
    """Return what `precision="auto"` would take in each runtime; nothing where the samples are too few to say."""
    timing_of = {(v.precision, v.runtime): timing for v, timing in zip(variants, timings, strict=True)}
    choices = {}
    for runtime in dict.fromkeys(variant.runtime for variant in variants):
        int8, fp32 = (timing_of.get((precision, runtime)) for precision in ("int8", "fp32"))
        if int8 is None or fp32 is None:
            choices[runtime] = "int8" if fp32 is None else "fp32"
        elif (value := ratio(int8, fp32, "inference")) is not None:
            choices[runtime] = "fp32" if value > 1 else "int8"
    return choices
