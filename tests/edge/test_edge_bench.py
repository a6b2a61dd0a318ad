from __future__ import annotations

import json
import time

import numpy as np
import pytest
from bench_reports import validate
from shelfgap_edge.bench.detectors import bench_bundle
from shelfgap_edge.bench.device import device_facts, peak_memory_mb
from shelfgap_edge.bench.harness import Pipeline, measure, overhead_us, ratio
from shelfgap_edge.bench.percentile import allowed_beyond
from shelfgap_edge.bench.report import ratios_of, timing_run, to_report
from shelfgap_edge.bench.table import to_table
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


def report_of(timings, **changes):
    """A whole report of timings, as a scenario writes it."""
    subject = {
        **{"bundle": "b", "version": "1", "signature": "not checked", "device_class": None, "input_size": [64, 64]},
        **{"frames": 1, "frame_source": "golden", "frame_sizes": [[96, 128]], "frames_sha256": "0" * 64},
        "runtimes": ["onnxruntime"],
    }
    values = {
        **{"scenario": "single", "subject": subject, "settings": {"threads": 1}, "device": device_facts()},
        **{"overhead_us": 1.0, "ratios": ratios_of(timings)},
    }
    return to_report([timing_run(timing, threads=1) for timing in timings], **{**values, **changes})


def test_a_report_says_how_many_more_frames_a_percentile_takes():
    clock = FakeClock()
    timings = measure([Pipeline("a", {"work": clock.spend(3)})], [0], min_seconds=0, min_count=100, clock_ns=clock)
    report = report_of(timings)
    validate(report)
    (run,) = report["runs"]
    assert run["latency_ms"]["work"]["p90"] == 3.0
    assert run["latency_ms"]["work"]["p95"] is None
    more = {"p95": "26 more frames (it needs 130, got 104)", "p99": "558 more frames (it needs 662, got 104)"}
    assert run["withheld"] == more
    table = to_table(report)
    assert "p99 would take 558 more frames (it needs 662, got 104)" in table
    assert "peak memory unknown" in table


def test_percentiles_of_a_report_are_those_of_the_rule():
    clock, durations = FakeClock(), iter(np.random.default_rng(0).permutation(np.arange(1, 801)).tolist())
    spend = {"work": lambda value: clock.spend(next(durations))(value)}
    timings = measure([Pipeline("a", spend)], [0], min_seconds=0, min_count=800, warmup_count=0, clock_ns=clock)
    row = report_of(timings)["runs"][0]["latency_ms"]["total"]
    assert row["median"] == 400.5
    for percent in (50, 90, 95, 99):
        assert row[f"p{percent}"] == 801 - allowed_beyond(800, percent)
    assert row["p99"] == 800  # one may lie beyond, so none is set aside
    assert row["p95"] < 780  # of 800, 25 may


def test_ctrl_c_keeps_what_was_measured():
    left = [3 * 8 + 2 * 10 + 5]  # both warm up, then turns a, b, b, and a part of the next

    def work(value):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt

    pipelines = [Pipeline(name, {"work": work}) for name in "ab"]
    timings = measure(pipelines, [0], min_seconds=600, min_count=10**6)
    assert [timing.count for timing in timings] == [8 + 5, 2 * 8]
    assert all(timing.is_interrupted for timing in timings)
    assert all(len(timing.cpu_ms) == timing.count for timing in timings)
    report = report_of(timings, is_interrupted=True)
    validate(report)
    assert "interrupted: what was measured until then" in to_table(report)
    left[0] = 25  # one of the two has nothing yet
    with pytest.raises(KeyboardInterrupt):
        measure(pipelines, [0], min_seconds=600, min_count=10**6)


def test_progress_goes_up_to_all():
    told = []
    work = Pipeline("a", {"work": str})
    measure([work], [0], min_seconds=0, min_count=80, progress=lambda share, text: told.append(share))
    assert told == sorted(told)
    assert told[-1] == 1


def test_the_processor_time_of_a_frame_leaves_sleep_out():
    sleeping = Pipeline("sleeping", {"work": lambda value: time.sleep(0.01)})
    (timing,) = measure([sleeping], [0], min_seconds=0, min_count=8)
    assert np.median(timing.latency_ms["total"]) >= 10
    assert np.median(timing.cpu_ms) < 5


def test_a_bundle_is_measured_in_both_precisions(bundle):
    report = bench_bundle(bundle, min_seconds=0, min_count=70)
    json.dumps(report, allow_nan=False)
    validate(report)
    assert (report["schema"], report["scenario"]) == ("shelfgap-bench/2", "single")
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
    assert comparison["total"]["low"] <= comparison["total"]["value"] <= comparison["total"]["high"]
    table = to_table(report)
    assert "int8/fp32 total median" in table
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
