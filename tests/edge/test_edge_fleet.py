"""Many cameras on a clock that only moves when told to."""

from __future__ import annotations

from itertools import islice, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shelfgap_edge.bench.fleet import Cameras, fleet_overhead_us, run_fleet
from shelfgap_edge.bench.harness import Pipeline


class Machine:
    """A worker that takes a fixed time for a frame."""

    def __init__(self, milliseconds):
        self.now_ns = 10**12
        self.milliseconds = milliseconds
        self.slept_s = 0.0
        self.seen = []

    def clock_ns(self):
        return self.now_ns

    def sleep(self, seconds):
        self.slept_s += seconds
        self.now_ns += int(seconds * 1e9) + 1  # the system never wakes anyone early

    def work(self, value):
        self.seen.append(value)
        self.now_ns += int(self.milliseconds * 1e6)
        return value

    def run(self, cameras, samples=(0,), **options):
        given = {"min_seconds": 0, "min_count": 100, "warmup_count": 0, **options}
        pipeline = Pipeline("a", {"work": self.work})
        return run_fleet(pipeline, samples, cameras, clock_ns=self.clock_ns, sleep=self.sleep, **given)


def test_a_worker_that_keeps_up_answers_at_once():
    machine = Machine(1)
    measured = machine.run(Cameras(count=10, interval_s=1, jitter=0), min_seconds=20)
    total = measured.timing.latency_ms["total"]
    assert measured.shed == 0
    assert measured.offered == measured.timing.count == pytest.approx(200, abs=10)
    assert np.median(total) == pytest.approx(1, abs=0.01)
    assert measured.busy == pytest.approx(0.01, rel=0.1)
    assert measured.timing.duration_s == pytest.approx(20, abs=0.2)
    assert machine.slept_s == pytest.approx(20, rel=0.02)


def test_time_in_the_queue_counts():
    """Forty cameras at the same moment, 10 ms a frame: the last one waits 390 ms. A closed loop would say 10 ms."""

    class Together(Cameras):
        def arrivals(self):
            yield from ((float(turn), camera) for turn in range(10**6) for camera in range(self.count))

    measured = Machine(10).run(Together(count=40, interval_s=1), min_count=40)
    assert sorted(np.round(measured.timing.latency_ms["total"])) == list(range(10, 401, 10))
    assert np.round(measured.timing.latency_ms["waiting"].max()) == 390
    assert set(measured.timing.latency_ms["work"]) == {10.0}
    assert measured.shed == 0


def test_a_pause_of_the_worker_is_seen_by_every_frame_that_fell_into_it():
    machine = Machine(1)
    plain = machine.work

    def pause_once(value):
        if len(machine.seen) == 50:
            machine.now_ns += 2 * 10**9
        return plain(value)

    machine.work = pause_once
    measured = machine.run(Cameras(count=100, interval_s=10, jitter=0), min_count=200)
    late = measured.timing.latency_ms["total"] > 100
    assert late.sum() == pytest.approx(19, abs=4)  # those of 2 s at ten a second
    assert measured.shed == 0


def test_overload_sheds_by_newest_wins_and_every_camera_is_served():
    machine = Machine(100)
    cameras = Cameras(count=50, interval_s=1, jitter=0.2)  # five times what it can do
    measured = machine.run(cameras, min_seconds=60)
    assert measured.offered == measured.timing.count + measured.shed
    assert measured.shed / measured.offered == pytest.approx(0.8, abs=0.03)
    assert measured.busy == pytest.approx(1, abs=0.01)
    # The newest frame of the camera that has waited longest: one round of all, less what a newer frame saves.
    assert measured.timing.latency_ms["total"].max() < 50 * 100 + 1400


def test_the_newest_frame_keeps_the_place_of_the_one_that_it_replaces():
    class Two(Cameras):
        def arrivals(self):
            yield from [(0.0, 0), (0.001, 1), (0.002, 2), (0.003, 1), (0.004, 1), (99.0, 0)]
            while True:
                yield (1000.0, 0)

    machine = Machine(10)
    measured = machine.run(Two(count=3), samples=["a", "b", "c", "d", "e", "f"], min_count=3)
    assert machine.seen == ["a", "e", "c"]
    assert (measured.offered, measured.shed) == (5, 2)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.floats(0.1, 100), st.floats(0, 0.49), st.integers(0, 5))
def test_arrivals_come_in_order_and_each_camera_at_its_interval(count, interval_s, jitter, seed):
    arrivals = list(islice(Cameras(count, interval_s, jitter, seed).arrivals(), 10 * count))
    times = [at for at, _ in arrivals]
    assert times == sorted(times)
    assert times[0] >= 0
    for camera in range(count):
        own = [at for at, name in arrivals if name == camera]
        assert len(own) >= 8
        assert all(0 < b - a < (1 + 2 * jitter) * interval_s + 1e-6 for a, b in pairwise(own))
    again = list(islice(Cameras(count, interval_s, jitter, seed).arrivals(), 10 * count))
    assert again == arrivals


def test_ctrl_c_keeps_what_was_measured():
    machine = Machine(1)
    plain = machine.work

    def stop_at_30(value):
        if len(machine.seen) == 30:
            raise KeyboardInterrupt
        return plain(value)

    machine.work = stop_at_30
    measured = machine.run(Cameras(count=10, interval_s=1))
    assert measured.timing.is_interrupted
    assert measured.timing.count == len(measured.timing.cpu_ms) == 30
    with pytest.raises(KeyboardInterrupt):
        machine.run(Cameras(count=10, interval_s=1))


def test_the_harness_itself_takes_far_less_than_a_frame():
    assert fleet_overhead_us(4, count=50) > 0
