"""What every source does: heals after a cut, waits between attempts, stops in time, raises nothing, counts."""

from __future__ import annotations

import json
import logging
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refused_threads import RefusedThreads
from shelfgap_edge.overwrite import overwrite, overwrite_bytes
from shelfgap_edge.sources.failure import SourceFailureError
from shelfgap_edge.sources.session import Sampler, Session
from shelfgap_edge.sources.source import Backoff, Source
from taken import Taken, running, wait_until

QUICK = Backoff(0.01, 0.05)


def source(read, **options) -> Source:
    return Source("mjpeg", "http://camera", "a1", read, backoff=QUICK, **options)


def test_failures_are_counted_by_reason_and_the_next_attempt_delivers(caplog):
    faults = iter(
        [ConnectionRefusedError("http://user:s3cret@x"), SourceFailureError("http-503"), OSError(5, "s3cret")]
    )

    def read(session: Session) -> None:
        for fault in faults:
            raise fault
        while session.wait(0.01):
            session.deliver("a1", bytearray(b"frame"))

    taken = Taken()
    mine = source(read)
    with caplog.at_level(logging.DEBUG), running(mine, taken):
        taken.wait_for(3)
        state = mine.state()
    assert state.failures == {"refused": 1, "http-503": 1, "eio": 1}
    assert state.last_failure == "eio"
    assert state.connected
    assert state.frames >= 3
    assert state.last_frame is not None
    assert json.loads(json.dumps(state.to_dict()))["failures"]["refused"] == 1
    assert len(caplog.records) == 3
    assert "s3cret" not in caplog.text


def test_a_source_goes_on_once_the_system_allows_its_reading_thread(monkeypatch):
    threads = RefusedThreads(monkeypatch)
    threads.names = ("mjpeg-reader",)

    def read(session: Session) -> None:
        session.deliver("a1", bytearray(b"frame"))
        session.wait(60)

    taken = Taken()
    mine = source(read)
    with running(mine, taken) as thread:
        wait_until(lambda: len(threads.refused) >= 2 or not thread.is_alive(), "two attempts")
        threads.names = ()
        taken.wait_for(1, seconds=5)
    assert mine.state().failures["no-thread"] == len(threads.refused)


def test_a_source_without_a_reading_thread_stops_in_time(monkeypatch):
    threads = RefusedThreads(monkeypatch)
    threads.names = ("mjpeg-reader",)
    with running(Source("mjpeg", "x", "a1", lambda session: None, backoff=Backoff(600, 600)), Taken()):
        wait_until(lambda: bool(threads.refused), "an attempt")


def test_a_read_that_hangs_for_good_does_not_keep_the_source_from_stopping():
    release = threading.Event()
    late = bytearray(b"late frame")

    def read(session: Session) -> None:
        release.wait()  # a library that cannot be interrupted
        session.deliver("a1", late)

    taken = Taken()
    with running(source(read), taken):
        time.sleep(0.05)
    release.set()
    wait_until(lambda: late == bytes(10), "the late frame to be overwritten")
    assert taken.frames == []


def test_silence_cuts_the_connection_and_its_hook_is_called():
    closed = threading.Event()

    def read(session: Session) -> None:
        session.on_cut(closed.set)
        session.connected()
        closed.wait()
        closed.clear()

    mine = source(read, silent_s=0.05)
    with running(mine, Taken()):
        wait_until(lambda: mine.state().failures.get("silent", 0) >= 2, "two cuts")
    assert set(mine.state().failures) == {"silent"}


def test_a_consumer_that_fails_costs_its_frame_only():
    taken = Taken()
    taken.fault = MemoryError()
    frame, pixels = bytearray(b"frame"), np.ones((2, 2, 3), np.uint8)
    go = threading.Event()

    def read(session: Session) -> None:
        session.deliver("a1", frame)
        session.deliver("a1", pixels=pixels)
        taken.fault = None
        go.wait()
        session.deliver("a1", bytearray(b"next"))
        session.wait(60)

    mine = source(read)
    with running(mine, taken):
        wait_until(lambda: mine.state().failures == {"not-taken": 2}, "both to be refused")
        go.set()
        assert bytes(taken.wait_for(1)[0].jpeg) == b"next"
    assert frame == bytes(5)
    assert not pixels.any()


def test_frames_between_two_samples_are_overwritten():
    frames = [bytearray(b"frame") for _ in range(20)]

    def read(session: Session) -> None:
        for frame in frames:
            session.deliver("a1", frame)
        session.wait(60)

    taken = Taken()
    with running(source(read, every_s=60.0), taken):
        taken.wait_for(1)
        wait_until(lambda: frames[-1] == bytes(5), "all to be read")
    assert [frame == bytes(5) for frame in frames] == [False] + [True] * 19
    assert len(taken.frames) == 1


def test_a_flapping_stream_is_still_sampled_at_its_interval():
    def read(session: Session) -> None:
        session.deliver("a1", bytearray(b"frame"))
        raise ConnectionResetError

    mine = source(read, every_s=60.0)
    with running(mine, taken := Taken()):
        wait_until(lambda: mine.state().failures.get("cut", 0) >= 4, "cuts")
    assert len(taken.frames) == 1


def test_a_source_without_more_to_come_ends():
    mine = source(lambda session: None)
    with running(mine, Taken()) as thread:
        thread.join(30)
        assert not thread.is_alive()
    assert mine.state().finished
    assert mine.state().failures == {}


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
@settings(deadline=None)
def test_waits_double_within_bounds_and_are_spread(failures, chance):
    backoff = Backoff(0.5, 20.0)
    whole = min(20.0, 0.5 * 2.0 ** min(failures - 1, 100))
    assert whole / 2 <= backoff.delay_s(failures, chance) <= whole


@given(st.floats(0.1, 100), st.lists(st.floats(0.001, 50), min_size=1, max_size=50))
@settings(deadline=None)
def test_samples_are_never_more_than_the_interval_allows(every_s, steps):
    sampler, now, used = Sampler(every_s), 0.0, []
    for step in steps:
        now += step
        if sampler.is_due(now, take=True):
            used.append(now)
    assert len(used) <= (used[-1] - used[0]) / every_s + 1 + 1e-6


@pytest.mark.parametrize("kind", [bytearray, lambda data: np.frombuffer(data, np.uint8).copy()])
def test_buffers_are_overwritten_in_place(kind):
    buffer = kind(b"canary" * 100)
    view = memoryview(buffer)
    overwrite(buffer)
    assert bytes(view) == bytes(600)
    overwrite(None)


def test_bytes_of_a_library_are_overwritten_and_shared_ones_left():
    data = bytes(bytearray(b"canary") * 100)
    overwrite_bytes(data)
    assert data == bytes(600)
    single = bytes([65])
    overwrite_bytes(single)
    assert single == b"A"
    overwrite_bytes(b"")
