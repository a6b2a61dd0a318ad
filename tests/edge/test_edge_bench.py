from __future__ import annotations

import json
from math import comb

import numpy as np
import pytest
from shelfgap_edge.bench.detectors import bench_bundle
from shelfgap_edge.bench.device import device_facts, peak_memory_mb
from shelfgap_edge.bench.harness import Pipeline, measure, overhead_us, ratio
from shelfgap_edge.bench.percentile import min_samples, percentile
from shelfgap_edge.bench.report import to_report, to_table
from shelfgap_edge.errors import BundleError, FrameError


class FakeClock:
    """Stands still until told to go on."""

    def __init__(self):
        self.now_ns = 0

    def __call__(self):
        return self.now_ns

    def spend(self, milliseconds):
        def stage(value):
            self.now_ns += int(milliseconds * 1e6)
            return value

        return stage


@pytest.mark.parametrize(("percent", "expected"), [(50, 11), (90, 64), (95, 130), (99, 662)])
def test_minimums_are_those_of_mlperf(percent, expected):
    assert min_samples(percent) == expected
    p = percent / 100

    def at_most_one_beyond(n):
        return sum(comb(n, k) * (1 - p) ** k * p ** (n - k) for k in (0, 1))

    assert at_most_one_beyond(expected) <= 0.01 < at_most_one_beyond(expected - 1)


def test_percentiles_are_nearest_rank_and_none_when_samples_are_few():
    values = np.random.default_rng(0).permutation(np.arange(1.0, 1001.0))
    assert [percentile(values, p) for p in (50, 90, 99)] == [500, 900, 990]
    assert percentile(values[:63], 90) is None
    assert percentile(values[:64], 90) is not None
    assert percentile(values[:661], 99) is None


def test_stages_are_timed_apart_and_together():
    clock = FakeClock()
    pipeline = Pipeline("a", {"decode": clock.spend(2), "inference": clock.spend(5)})
    (timing,) = measure([pipeline], ["x"], min_seconds=0, min_count=10, warmup_count=3, clock_ns=clock)
    assert timing.count >= 10
    assert set(timing.latency_ms["decode"]) == {2.0}
    assert set(timing.latency_ms["inference"]) == {5.0}
    assert set(timing.latency_ms["total"]) == {7.0}
    assert timing.duration_s == pytest.approx(timing.count * 0.007)
    assert clock.now_ns == pytest.approx((timing.count + 3) * 7e6)  # the warm-up ran, and is not counted


@pytest.mark.parametrize(("min_seconds", "min_count", "count"), [(1.0, 5, 100), (0.01, 40, 40), (0, 1, 8)])
def test_both_minimums_are_met(min_seconds, min_count, count):
    clock = FakeClock()
    pipeline = Pipeline("a", {"work": clock.spend(10)})
    (timing,) = measure([pipeline], ["x"], min_seconds=min_seconds, min_count=min_count, clock_ns=clock)
    assert count <= timing.count < count + 8
    assert timing.duration_s >= min_seconds


def test_pipelines_take_turns_and_see_the_same_samples():
    seen = []
    pipelines = [Pipeline(name, {"work": lambda x, name=name: seen.append((name, x))}) for name in "ab"]
    a, b = measure(pipelines, [0, 1, 2], min_seconds=0, min_count=20, warmup_count=0)
    assert a.count == b.count == 24
    assert "".join(name for name, _ in seen[::8]) == "abbaab"
    assert [x for name, x in seen if name == "a"] == [x for name, x in seen if name == "b"]
    assert [x for name, x in seen if name == "a"][:4] == [0, 1, 2, 0]


def test_the_ratio_is_of_medians():
    clock = FakeClock()
    slow, fast = (Pipeline(name, {"work": clock.spend(ms)}) for name, ms in (("slow", 8), ("fast", 2)))
    reference, timing = measure([slow, fast], [0], min_seconds=0, min_count=20, clock_ns=clock)
    assert ratio(timing, reference) == pytest.approx(0.25)
    few, few_too = measure([slow, fast], [0], min_seconds=0, min_count=1, clock_ns=clock)
    assert ratio(few, few_too) is None


def test_what_cannot_be_measured_is_refused():
    work = Pipeline("a", {"work": str})
    for pipelines, samples, count in (([], [1], 1), ([work], [], 1), ([work], [1], 0)):
        with pytest.raises(ValueError, match="a measurement needs"):
            measure(pipelines, samples, min_seconds=0, min_count=count)
    with pytest.raises(ValueError, match="'total'"):
        measure([Pipeline("a", {"total": str})], [1], min_seconds=0, min_count=1)


def test_what_a_stage_raises_is_passed_on():
    with pytest.raises(ZeroDivisionError):
        measure([Pipeline("a", {"work": lambda x: 1 / x})], [0], min_seconds=0, min_count=1)


def test_overhead_of_the_harness_is_measured_and_grows_with_stages():
    assert 0 < overhead_us(1) < overhead_us(200)


def test_device_facts_are_json_and_name_the_versions():
    facts = json.loads(json.dumps(device_facts(), allow_nan=False))
    assert facts["cores"] >= 1
    assert facts["packages"]["onnxruntime"].count(".") == 2
    assert facts["memory_mb"] is None or facts["memory_mb"] > 100
    assert peak_memory_mb() is None or peak_memory_mb() > 10


def test_a_report_says_why_a_percentile_is_withheld():
    clock = FakeClock()
    timings = measure([Pipeline("a", {"work": clock.spend(3)})], [0], min_seconds=0, min_count=100, clock_ns=clock)
    report = to_report(timings, subject={}, settings={}, device=device_facts(), overhead_us=1.0, peak_memory_mb=None)
    (run,) = report["runs"]
    assert run["latency_ms"]["work"]["p90"] == 3.0
    assert run["latency_ms"]["work"]["p95"] is None
    assert run["withheld"] == {"p95": "needs 130 samples, got 104", "p99": "needs 662 samples, got 104"}
    table = to_table(report)
    assert "p99: needs 662 samples, got 104" in table
    assert "peak memory unknown" in table


def test_a_bundle_is_measured_in_both_precisions(bundle):
    report = bench_bundle(bundle, min_seconds=0, min_count=70)
    json.dumps(report, allow_nan=False)
    assert report["schema"] == "shelfgap-bench/1"
    assert [run["name"] for run in report["runs"]] == ["fp32", "int8"]
    assert report["subject"]["frame_source"] == "golden"
    assert report["subject"]["frames"] == 2
    assert report["subject"]["frame_sizes"] == [[96, 128]]
    stages = ["decode", "preprocess", "inference", "postprocess", "total"]
    for run in report["runs"]:
        assert run["count"] == 72
        assert list(run["latency_ms"]) == stages
        parts = sum(run["latency_ms"][stage]["mean"] for stage in stages[:-1])
        assert parts == pytest.approx(run["latency_ms"]["total"]["mean"], abs=0.01)
    (comparison,) = report["ratios"]
    assert (comparison["name"], comparison["reference"]) == ("int8", "fp32")
    assert comparison["p50"]["total"] > 0
    table = to_table(report)
    assert "int8/fp32 total p50" in table
    assert "harness overhead" in table


def test_given_frames_are_measured(bundle, bright_square, to_jpeg):
    jpeg = to_jpeg(bright_square((300, 200), (10, 10, 50, 50)))
    report = bench_bundle(bundle, [jpeg], min_seconds=0, min_count=1)
    assert report["subject"]["frame_sizes"] == [[300, 200]]
    with pytest.raises(FrameError, match="frame 2 of 2: not a JPEG"):
        bench_bundle(bundle, [jpeg, b"text"], min_seconds=0, min_count=1)
    with pytest.raises(FrameError, match="no frames"):
        bench_bundle(bundle, [], min_seconds=0, min_count=1)


def test_an_altered_bundle_is_not_measured(bundle):
    (bundle / "model.fp32.onnx").write_bytes(b"other")
    with pytest.raises(BundleError, match="was altered"):
        bench_bundle(bundle, min_seconds=0, min_count=1)
