"""Throughput, memory and cold starts of whole processes; what is not the model's is stood in for."""

from __future__ import annotations

import mmap
import threading
import time

import numpy as np
import pytest
from shelfgap_edge.bench.cold_start import PARTS, run_cold
from shelfgap_edge.bench.harness import Pipeline
from shelfgap_edge.bench.memory import run_memory
from shelfgap_edge.bench.offline import offline_overhead_us, run_offline
from shelfgap_edge.bench.variants import Variant
from shelfgap_edge.errors import BenchError

INT8, FP32 = (Variant(name, "onnxruntime", 1, name) for name in ("int8", "fp32"))


def test_workers_share_the_frames_and_work_at_once():
    seen, all_inside, lock = [], threading.Barrier(3), threading.Lock()

    def work(value):
        with lock:
            seen.append(value)
            is_early = len(seen) <= 3
        if is_early:
            all_inside.wait(60)  # who worked one after the other would never get all three together
        time.sleep(0.002)

    workers = [Pipeline(f"w{number}", {"work": work}) for number in range(3)]
    done = run_offline(workers, list(range(10)), min_seconds=0, min_count=60, warmup_count=0)
    assert done.count >= 60
    assert done.count == len(seen)
    assert sorted(seen)[: done.count] == sorted(number % 10 for number in range(done.count))
    assert np.all(np.diff(done.done_s) >= 0)
    assert done.duration_s >= 0.002 * done.count / 3


def test_what_a_worker_raises_is_passed_on():
    def fail(value):
        raise ZeroDivisionError("frame")

    ok = Pipeline("ok", {"work": lambda value: time.sleep(0.001)})
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError, match="frame"):
        run_offline([ok, Pipeline("bad", {"work": fail})], [0], min_seconds=60, min_count=1, warmup_count=0)
    assert threading.active_count() <= before  # threads of other tests may end meanwhile


def test_the_null_model_of_offline_takes_some_time():
    assert offline_overhead_us(4, 2, count=500) > 0


def looks(values):
    """Memory as a process would tell it."""
    left = iter(values)
    return lambda: next(left)


def test_growth_is_told_from_noise():
    random = np.random.default_rng(0)
    frames = np.arange(1, 402)
    pipeline = Pipeline("a", {"work": lambda value: value})
    leak = 80 + 0.02 * frames + random.normal(0, 0.3, 401)
    growth = run_memory(pipeline, [0], min_seconds=0, min_count=400, resident_mb=looks(leak))
    found = growth.mb_per_1000_frames()
    assert found.low < 20 < found.high
    assert found.low > 15
    assert growth.change == pytest.approx(0.02 * 380 / 80.4, abs=0.02)
    flat = 80 + random.normal(0, 0.3, 401)
    found = run_memory(pipeline, [0], min_seconds=0, min_count=400, resident_mb=looks(flat)).mb_per_1000_frames()
    assert found.low < 0 < found.high


def test_the_first_frames_are_no_growth():
    """Caches fill, then nothing: what was allocated within the first 5 % of the frames is not held against it."""
    curve = np.minimum(np.arange(401) / 400, 0.04) * 1000 + 50
    growth = run_memory(
        Pipeline("a", {"work": lambda value: value}), [0], min_seconds=0, min_count=400, resident_mb=looks(curve)
    )
    assert growth.frames[growth.settled] == 20
    assert growth.change == 0
    assert growth.mb_per_1000_frames().value == pytest.approx(0, abs=1e-9)


def test_memory_of_few_frames_has_no_slope_and_unknown_memory_no_report():
    pipeline = Pipeline("a", {"work": lambda value: value})
    growth = run_memory(pipeline, [0], min_seconds=0, min_count=10, resident_mb=lambda: 50.0)
    assert growth.mb_per_1000_frames() is None
    with pytest.raises(BenchError, match=r"cannot be read on this system \(expected /proc/self/status\)"):
        run_memory(pipeline, [0], min_seconds=0, min_count=10, resident_mb=lambda: None)


def test_a_real_leak_is_seen():
    kept = []

    def leak_pages(value):
        kept.append(mmap.mmap(-1, 2**18))  # 256 KiB of pages that nothing has used before, as freed ones may be
        kept[-1].write(bytes([1]) * 2**18)

    leak = Pipeline("leak", {"work": leak_pages})
    found = run_memory(leak, [0], min_seconds=0, min_count=400).mb_per_1000_frames()
    assert found.value == pytest.approx(250, rel=0.1)


def test_the_parts_of_a_cold_start_add_up(bundle):
    measured, is_interrupted = run_cold(bundle, [INT8, FP32], starts=2)
    assert not is_interrupted
    for parts in measured:
        assert tuple(parts) == (*PARTS, "total")
        assert len(parts["total"]) == 2
        assert sum(parts[name] for name in PARTS) == pytest.approx(parts["total"])
        assert all((parts[name] > 0).all() for name in PARTS)
        assert parts["import"].min() > parts["verification"].min()  # onnxruntime is no small package


def test_a_process_that_fails_is_one_line(bundle):
    (bundle / "model.int8.onnx").write_bytes(b"other")
    with pytest.raises(BenchError, match=r"^[^\n]*model\.int8\.onnx was altered[^\n]*$"):
        run_cold(bundle, [INT8], starts=1)
