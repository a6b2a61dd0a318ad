"""RTSP from a real GStreamer server on loopback: decoded no more than needed, cut and restored, its password."""

from __future__ import annotations

import logging
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from shelfgap_edge.errors import MissingRuntimeError
from shelfgap_edge.sources import video
from taken import Taken, make_source, running, wait_until

PYTHON = "/usr/bin/python3"
PROBE = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst, GstRtspServer; "
PROBE += "Gst.init(None); raise SystemExit(Gst.ElementFactory.find('x264enc') is None)"


def is_there() -> bool:
    try:
        return subprocess.run([PYTHON, "-W", "ignore", "-c", PROBE], capture_output=True).returncode == 0
    except OSError:
        return False


pytestmark = pytest.mark.skipif(
    not is_there(),
    reason="needs apt-get install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good -bad -ugly",
)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@contextmanager
def serving(port: int, key_frame_distance: int = 10, rate: str = "25/1", *login: str) -> Iterator[str]:
    command = [PYTHON, Path(__file__).with_name("rtsp_server.py"), str(port), str(key_frame_distance), rate, *login]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield f"rtsp://127.0.0.1:{port}/shelf"
    finally:
        process.kill()
        process.communicate()


def rtsp(url: str, **options: object):
    return make_source({"type": "rtsp", "camera": "a1", "url": url, **options})


@pytest.fixture
def decoded(monkeypatch) -> list[bool]:
    """Whether each packet that went to the decoder went there alone."""
    calls: list[bool] = []
    original = video._decode

    def spy(decoder, packet, *, alone):
        calls.append(alone)
        return original(decoder, packet, alone=alone)

    monkeypatch.setattr(video, "_decode", spy)
    return calls


def test_a_stream_is_cut_and_restored():
    port = free_port()
    with serving(port) as url:
        source = rtsp(url, every_s=0.2, timeout_s=5.0)
        context = running(source, taken := Taken())
        context.__enter__()
        frame = taken.wait_for(2)[0]
        assert source.state().connected
    wait_until(lambda: not source.state().connected, "the cut to be seen")
    wait_until(lambda: "refused" in source.state().failures, "an attempt while it is away")
    count = len(taken.frames)
    with serving(port):
        taken.wait_for(count + 2)
        context.__exit__(None, None, None)
    assert (frame.camera_id, frame.jpeg) == ("a1", None)
    assert frame.pixels.shape == (240, 320, 3)
    assert frame.pixels.dtype == np.uint8
    assert frame.pixels.flags.c_contiguous
    assert frame.pixels.flags.writeable
    assert np.abs(frame.pixels[20:140].astype(int) - frame.pixels[20]).max() < 25  # bars, whole from top to bottom
    bars = frame.pixels[60, [22, 68, 114, 160, 206, 252, 298]].astype(int)  # SMPTE bars: RGB, not BGR
    grey, yellow, cyan, green, magenta, red, blue = bars
    assert np.ptp(grey) < 12
    assert yellow[2] < 60 < yellow[0]
    assert cyan[0] < 60 < cyan[2]
    assert green.argmax() == 1
    assert magenta.argmin() == 1
    assert red.argmax() == 0
    assert blue.argmax() == 2


def test_where_key_frames_are_often_enough_only_they_are_decoded(decoded):
    with serving(free_port(), 5) as url, running(rtsp(url, every_s=1.0), taken := Taken()):
        frames = taken.wait_for(4)
    alone = [index for index, flag in enumerate(decoded) if flag]
    assert len(alone) >= 3
    assert all(decoded[alone[0] :])  # once the distance is known, nothing else is
    assert len(decoded) < 40  # of more than 75 pictures that the stream had
    assert frames[-1].at - frames[0].at > 3 * 1.0 - 0.3
    assert frames[-1].pixels.std() > 30


def test_where_they_are_rarer_the_pictures_between_are_decoded_too(decoded):
    with serving(free_port(), 100) as url, running(rtsp(url, every_s=0.3), taken := Taken()):
        frames = taken.wait_for(5, 90)
    assert not any(decoded)
    assert min(np.diff([frame.at for frame in frames])) < 3  # one key frame is four seconds from the next


def test_a_slow_stream_survives_reads_that_time_out():
    with serving(free_port(), 10, "2/3") as url:  # three times the wait for a packet between two of them
        source = rtsp(url, every_s=0.1, timeout_s=20.0)
        with running(source, taken := Taken()):
            taken.wait_for(1, 60)
            before = source.state().failures  # opening may take the server two attempts
            taken.wait_for(5, 60)
            assert source.state().failures == before


def test_passwords_are_used_and_never_told(monkeypatch, caplog, capfd):
    with serving(free_port(), 10, "25/1", "viewer", "s3cret") as url:
        monkeypatch.setenv("CAMERA_URL", url.replace("rtsp://", "rtsp://viewer:s3cret@"))
        source = make_source({"type": "rtsp", "camera": "a1", "url_env": "CAMERA_URL", "every_s": 0.2})
        monkeypatch.setenv("CAMERA_URL", url.replace("rtsp://", "rtsp://viewer:s3cret-no@"))
        wrong = make_source({"type": "rtsp", "camera": "a1", "url_env": "CAMERA_URL", "every_s": 0.2})
        with caplog.at_level(logging.DEBUG), running(wrong, Taken()), running(source, taken := Taken()):
            taken.wait_for(1)
            wait_until(lambda: len(wrong.state().failures) > 0, "the refusal")
    assert set(wrong.state().failures) == {"not-authorised"}
    captured = capfd.readouterr()
    told = f"{source!r} {source.state()} {source.__dict__} {wrong.state()} {caplog.text} {captured}"
    assert "s3cret" not in told
    assert "viewer" not in told


def test_stopping_does_not_wait_for_a_server_that_says_nothing():
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        source = rtsp(f"rtsp://127.0.0.1:{mute.getsockname()[1]}/x", timeout_s=60.0)
        with running(source, Taken()):
            first = mute.accept()[0]
            time.sleep(0.3)
        first.close()
        assert not source.state().connected


def test_a_missing_extra_is_one_line_with_the_command(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingRuntimeError, match=r"pip install 'shelfgap-edge\[streams\]'"):
        rtsp("rtsp://camera/x")
