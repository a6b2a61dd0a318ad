"""Where frames wait: the newest a camera, bounded, by turns; nothing that is shed keeps its bytes."""

from __future__ import annotations

import threading
import time
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from shelfgap_edge.service.arrival import Arrival
from shelfgap_edge.service.mailbox import Mailbox


def frame(camera: str, content: bytes = b"jpeg", age: float = 0.0) -> Arrival:
    return Arrival(camera, bytearray(content), 0.0, time.monotonic() - age)


def mailbox(shed=None, *, frames=8, megabytes=1.0, max_wait_seconds=60.0) -> Mailbox:
    note = (lambda arrival, why: None) if shed is None else (lambda arrival, why: shed.append((arrival.camera_id, why)))
    return Mailbox(frames=frames, megabytes=megabytes, max_wait_seconds=max_wait_seconds, on_shed=note)


def test_the_newest_frame_of_a_camera_wins_and_the_older_is_overwritten():
    shed = []
    box, older, newer = mailbox(shed), frame("a", b"older"), frame("a", b"newer")
    buffer = older.jpeg
    box.put(older)
    box.put(newer)
    assert len(box) == 1
    assert box.take(0) is newer
    assert shed == [("a", "replaced")]
    assert buffer == bytes(5)
    assert older.jpeg is None
    assert older.verdict.result(0) == {"status": "shed", "reason": "replaced"}
    assert box.take(0) is None
    assert box.waiting_bytes == 0


def test_a_frame_that_waited_too_long_is_not_judged():
    shed = []
    box, old = mailbox(shed, max_wait_seconds=5), frame("old")
    box.put(old)
    old.waiting_since -= 6
    box.put(frame("new"))
    assert box.take(0).camera_id == "new"
    assert shed == [("old", "stale")]


def test_a_frame_that_came_in_slowly_is_judged():
    shed = []
    box = mailbox(shed, max_wait_seconds=5)
    box.put(frame("slow", age=14))
    assert box.take(0).camera_id == "slow"
    assert shed == []


def test_too_many_bytes_shed_the_camera_that_had_its_turn_last():
    shed = []
    box = mailbox(shed, megabytes=1)
    for camera in ("a", "b"):
        box.put(frame(camera))
        assert box.take(0).camera_id == camera
    for camera in ("b", "a", "c"):
        box.put(frame(camera, bytes(400_000)))
    assert shed == [("b", "overflow")]
    assert [box.take(0).camera_id for _ in range(2)] == ["c", "a"]


def test_a_frame_larger_than_the_mailbox_is_shed_alone_and_told_of_once_a_camera(caplog):
    shed = []
    box = mailbox(shed, megabytes=1)
    box.put(frame("http"))
    for _ in range(3):
        pixels = np.ones((720, 1280, 3), np.uint8)  # as RTSP and V4L2 bring them: 2.6 MiB
        assert box.put(Arrival("rtsp", None, 0.0, time.monotonic(), pixels))
        assert not pixels.any()
    assert shed == [("rtsp", "too-large")] * 3
    assert caplog.messages == ["rtsp: frames of 2.6 MiB are not judged, queue.megabytes is 1"]
    assert box.take(0).camera_id == "http"
    box.limit(frames=8, megabytes=3, max_wait_seconds=60)
    box.put(Arrival("rtsp", None, 0.0, time.monotonic(), np.ones((720, 1280, 3), np.uint8)))
    assert box.take(0).camera_id == "rtsp"


def test_under_any_overload_each_camera_gets_its_turns():
    # 40 cameras in a fixed rhythm, 4 frames for each that is judged: a rhythm could starve the same ones each round.
    box, served = mailbox(frames=10), Counter()
    for number in range(4000):
        box.put(frame(f"camera-{number % 40}"))
        if number % 4 == 3:
            served[box.take(0).camera_id] += 1
    assert len(served) == 40
    assert max(served.values()) - min(served.values()) <= 3


def test_nothing_is_taken_in_after_close_and_what_waits_can_be_judged():
    shed = []
    box = mailbox(shed)
    box.put(frame("a"))
    box.close()
    assert not box.put(frame("b"))
    assert box.take(1).camera_id == "a"
    assert box.take(60) is None, "a closed mailbox keeps nobody waiting"
    assert shed == [("b", "stopping")]


def test_a_frame_that_comes_as_the_wait_runs_out_is_taken_although_the_mailbox_closes(monkeypatch):
    box = mailbox()

    def run_out(timeout):
        monkeypatch.undo()
        box._waiting["a"] = frame("a")  # `put` would wait for the lock, which is held here
        box._waiting["a"].waiting_since = time.monotonic()
        box._closed = True
        return False

    monkeypatch.setattr(box._changed, "wait", run_out)
    assert box.take(60).camera_id == "a"


def test_frames_of_cameras_that_are_gone_are_shed():
    shed = []
    box = mailbox(shed)
    for camera in ("a", "b"):
        box.put(frame(camera))
    box.keep_only({"b"})
    assert shed == [("a", "removed")]
    assert box.take(0).camera_id == "b"


def test_a_frame_wakes_who_waits_for_it():
    box, taken = mailbox(), []
    waiting = threading.Thread(target=lambda: taken.append(box.take(60)))
    waiting.start()
    box.put(frame("a"))
    waiting.join(60)
    assert taken[0].camera_id == "a"


@given(st.lists(st.one_of(st.tuples(st.integers(0, 5), st.integers(0, 300_000)), st.none()), max_size=60))
def test_every_frame_is_taken_or_shed_once_within_the_bounds(steps):
    shed, taken, put = [], [], 0
    box = Mailbox(frames=3, megabytes=0.5, max_wait_seconds=60, on_shed=lambda arrival, why: shed.append(arrival))
    for step in steps:
        if step is None:
            taken += [arrival for arrival in [box.take(0)] if arrival is not None]
        else:
            box.put(frame(f"camera-{step[0]}", bytes(step[1])))
            put += 1
        assert len(box) <= 3
        assert box.waiting_bytes <= 0.5 * 2**20
    while (arrival := box.take(0)) is not None:
        taken.append(arrival)
    assert len(taken) + len(shed) == put == len({id(arrival) for arrival in taken + shed})
    assert all(arrival.jpeg is None for arrival in shed)
    assert all(arrival.jpeg is not None for arrival in taken)
