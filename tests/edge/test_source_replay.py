"""Replay of recordings: order, times, speed; and V4L2 where there is no camera."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import Future
from itertools import pairwise
from pathlib import Path

import pytest
from shelfgap_edge.sources.recording import read_recording
from shelfgap_edge.sources.v4l2 import do_not_block
from shelfgap_edge.toml_table import ConfigError
from taken import Taken, make_source, running, wait_until

JPEG = b"\xff\xd8\xff%d\xff\xd9"
MORNING = 1767254400.0  # 2026-01-01T08:00:00Z


def record(folder: Path, images: list[dict[str, object]]) -> Path:
    for number, image in enumerate(images):
        path = folder / "images" / str(image["file_name"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(JPEG % number)
    (folder / "annotations.json").write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    return folder


@pytest.fixture
def day(tmp_path) -> Path:
    moments = ["08:00:02", "08:00:00", "08:00:01.500000", "08:00:00"]  # not in order
    cameras = ["a1", "a1", "b2", "b2"]
    return record(
        tmp_path / "day",
        [
            {"file_name": f"day/{number}.jpg", "camera": camera, "captured_at": f"2026-01-01T{moment}"}
            for number, (moment, camera) in enumerate(zip(moments, cameras, strict=True))
        ],
    )


def replay(folder: Path, **options: object):
    return make_source({"type": "replay", "folder": str(folder), **options}, ("a1", "b2"))


def all_of(source) -> list[tuple[str, bytes, float]]:
    with running(source, taken := Taken()) as thread:
        thread.join(60)
        assert source.state().finished
    return [(frame.camera_id, bytes(frame.jpeg), frame.at - MORNING) for frame in taken.frames]


def test_pictures_come_in_the_order_and_with_the_times_in_which_they_were_taken(day):
    begun = time.monotonic()
    expected = [("a1", JPEG % 1, 0), ("b2", JPEG % 3, 0), ("b2", JPEG % 2, 1.5), ("a1", JPEG % 0, 2)]
    assert all_of(replay(day, speed="max")) == expected
    assert time.monotonic() - begun < 60
    begun = time.monotonic()
    assert all_of(replay(day, speed=4)) == expected
    assert time.monotonic() - begun >= 0.5


def test_at_full_speed_a_picture_waits_for_the_verdict_on_the_last(day):
    class Slow(Taken):
        def __call__(self, *frame):
            super().__call__(*frame)
            verdicts.append(Future())
            return verdicts[-1]

    verdicts = []
    with running(replay(day, speed="max"), taken := Slow()) as thread:
        for number in range(1, 5):
            taken.wait_for(number)
            time.sleep(0.05)
            assert len(taken.frames) == number
            verdicts[-1].set_result({})
        thread.join(60)
        assert not thread.is_alive()


def test_stopping_does_not_wait_for_the_next_picture(day):
    with running(replay(day, speed=0.001), taken := Taken()):
        taken.wait_for(2)


def test_one_camera_of_a_recording_can_stand_for_another(day):
    assert [one[:2] for one in all_of(replay(day, speed="max", camera="b2", recorded_as="a1"))] == [
        ("b2", JPEG % 1),
        ("b2", JPEG % 0),
    ]


def test_a_loop_goes_on_where_it_ended(day):
    with running(replay(day, speed="max", loop=True, every_s=1.0), taken := Taken()):
        frames = taken.wait_for(9)
    times = [frame.at for frame in frames]
    assert times[:4] == [MORNING, MORNING, MORNING + 1.5, MORNING + 2]
    assert times[4:8] == [moment + 3 for moment in times[:4]]


def test_a_folder_of_jpegs_is_spaced_by_the_interval(tmp_path):
    for name in ("b.JPG", "a.jpeg", "c.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(JPEG % ord(name[0]))
    with running(replay(tmp_path, speed=1e6, camera="a1", every_s=30.0), taken := Taken()):
        frames = taken.wait_for(3)
    assert [bytes(frame.jpeg) for frame in frames] == [JPEG % ord(letter) for letter in "abc"]
    assert [later.at - sooner.at for sooner, later in pairwise(frames)] == pytest.approx([30, 30], abs=1e-3)


def test_files_that_cannot_be_used_are_counted_and_the_others_come(day):
    (day / "images/day/1.jpg").write_bytes(JPEG % 1 + bytes(2000))
    (day / "images/day/2.jpg").write_bytes(b"")
    (day / "images/day/3.jpg").unlink()
    source = replay(day, speed="max", max_bytes=1024)
    assert [one[1] for one in all_of(source)] == [JPEG % 0]
    assert source.state().failures == {"too-large": 1, "not-jpeg": 1, "not-found": 1}


def test_a_loop_whose_pictures_have_gone_is_tried_now_and_then(day):
    source = replay(day, speed="max", loop=True)
    for path in day.glob("images/day/*"):
        path.unlink()
    with running(source, Taken()):
        wait_until(lambda: source.state().failures.get("not-found", 0) >= 4, "a turn")
        time.sleep(0.3)
        assert source.state().failures["not-found"] < 100


def test_a_folder_that_the_system_refuses_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot be listed \\(File name too long\\)"):
        read_recording(tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file_name": "../../etc/x.jpg"}, "lies outside"),
        ({"file_name": "/etc/x.jpg"}, "lies outside"),
        ({"captured_at": "yesterday"}, "Invalid isoformat"),
        ({"captured_at": 5}, "cannot be read as a dataset"),
        ({"camera": ["a1"]}, "camera must be a string"),
        ({"camera": "c3"}, "'c3', which is not configured"),
        ({"camera": None}, "name no camera"),
        ({"file_name": "day/0.png"}, "no JPEG"),
    ],
)
def test_recordings_that_cannot_be_replayed(tmp_path, change, message):
    image = {"file_name": "day/0.jpg", "camera": "a1", "captured_at": "2026-01-01T08:00:00"}
    folder = record(tmp_path / "day", [image])
    text = json.dumps({"images": [{**image, **change}]})
    (folder / "annotations.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        replay(folder, speed="max")


def test_annotations_that_are_none(tmp_path):
    with pytest.raises(ConfigError, match="is not there"):
        replay(tmp_path / "nowhere")
    (tmp_path / "annotations.json").write_text("[]")
    with pytest.raises(ConfigError, match="cannot be read as a dataset"):
        replay(tmp_path)
    (tmp_path / "annotations.json").write_text("[" * 100_000)
    with pytest.raises(ConfigError, match="cannot be read as a dataset"):
        replay(tmp_path)


@pytest.mark.parametrize("device", ["/dev/shelfgap-no-such-camera", "/dev/null"])
def test_a_v4l2_device_that_is_none_is_tried_again(device):
    source = make_source({"type": "v4l2", "camera": "a1", "device": device, "size": "640x480", "input_format": "mjpeg"})
    with running(source, taken := Taken()):
        wait_until(lambda: sum(source.state().failures.values()) >= 3, "three attempts")
    assert taken.frames == []
    assert not source.state().connected
    if device != "/dev/null":
        assert set(source.state().failures) == {"not-found"}


def test_reads_of_an_open_device_need_not_block():
    master, slave = os.openpty()
    try:
        assert os.get_blocking(slave)
        do_not_block(os.ttyname(slave))
        assert not os.get_blocking(slave)
        assert os.get_blocking(master)
    finally:
        os.close(master)
        os.close(slave)
