"""MJPEG over HTTP from a real server on loopback: cut and restored, its habits, its faults, its passwords."""

from __future__ import annotations

import gc
import logging
import socket
import threading
import time
from types import SimpleNamespace
from urllib.parse import quote

import numpy as np
import pytest
from mjpeg_camera import Camera, serving
from shelfgap_edge.overwrite import overwrite
from shelfgap_edge.sources.mjpeg import _read_single
from shelfgap_edge.sources.session import Sampler, Session
from shelfgap_edge.toml_table import ConfigError
from taken import Taken, make_source, running, wait_until


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    import simplejpeg

    rng = np.random.default_rng(1)
    return [simplejpeg.encode_jpeg(rng.integers(0, 255, (48, 64, 3), np.uint8), 80) for _ in range(3)]


def mjpeg(camera: Camera, **options: object):
    return make_source({"type": "mjpeg", "camera": "a1", "url": camera.url, "every_s": 0.0, **options})


def test_a_picture_that_breaks_off_is_overwritten(pictures, monkeypatch):
    chunks = [bytes(bytearray(pictures[0][:500]))]

    def read1(count):
        if not chunks:
            raise TimeoutError
        return chunks.pop()

    seen = []
    monkeypatch.setattr("shelfgap_edge.sources.mjpeg.overwrite", lambda frame: seen.append((frame, overwrite(frame))))
    session = Session(Taken(), threading.Event(), SimpleNamespace(), Sampler(0.0))
    with pytest.raises(TimeoutError):
        _read_single(SimpleNamespace(max_bytes=10_000), SimpleNamespace(read1=read1), session)
    assert [bytes(frame) for frame, _ in seen] == [bytes(500)]


@pytest.mark.parametrize("chunked", [False, True])
def test_frames_come_whole_and_in_time(pictures, chunked):
    with serving(Camera(pictures, chunked=chunked)) as camera:
        begun = time.time()
        source = mjpeg(camera)
        with running(source, taken := Taken()):
            frames = taken.wait_for(5)
            assert source.state().connected
        assert {bytes(frame.jpeg) for frame in frames} == set(pictures)
        assert all(frame.camera_id == "a1" and frame.pixels is None for frame in frames)
        assert all(begun <= frame.at <= time.time() for frame in frames)
        assert isinstance(frames[0].jpeg, bytearray)


def test_one_frame_an_interval_and_it_is_the_newest(pictures):
    numbered = [picture[:-2] + b"%06d" % number + picture[-2:] for number in range(200) for picture in pictures[:1]]
    with serving(Camera(numbered, period_s=0.01)) as camera, running(mjpeg(camera, every_s=0.4), taken := Taken()):
        frames = taken.wait_for(4)
    numbers = [int(bytes(frame.jpeg[-8:-2])) for frame in frames]
    assert numbers == sorted(numbers)
    assert frames[-1].at - frames[0].at > 3 * 0.4 - 0.1  # one that is late does not move those after it
    assert numbers[-1] - numbers[0] > 6


def test_a_cut_stream_is_restored(pictures):
    camera = Camera(pictures)
    source = None
    taken = Taken()
    with serving(camera):
        source = mjpeg(camera)
        context = running(source, taken)
        context.__enter__()
        taken.wait_for(3)
    wait_until(lambda: not source.state().connected, "the cut to be seen")
    wait_until(lambda: "refused" in source.state().failures, "an attempt while the camera is away")
    since = source.state().since
    count = len(taken.frames)
    with serving(camera):
        taken.wait_for(count + 3)
        state = source.state()
        context.__exit__(None, None, None)
    assert state.connected
    assert state.since > since
    assert state.failures["cut"] >= 1


def test_a_mute_camera_is_noticed_and_tried_again(pictures):
    with serving(Camera(pictures, mute=True)) as camera:
        source = mjpeg(camera, timeout_s=0.3)
        with running(source, Taken()):
            wait_until(lambda: len(camera.seen) >= 2, "a second attempt")
            assert not source.state().connected
    assert set(source.state().failures) <= {"timeout", "silent", "cut", "remote-disconnected"}


def test_stopping_does_not_wait_for_a_mute_camera(pictures):
    with serving(Camera(pictures, mute=True)) as camera, running(mjpeg(camera, timeout_s=600.0), Taken()):
        wait_until(lambda: len(camera.seen) >= 1, "the request")


def test_a_stream_without_frames_counts_as_cut(pictures):
    with serving(Camera(pictures, part=lambda jpeg: b"x" * 100)) as camera:
        source = mjpeg(camera, timeout_s=0.3)
        with running(source, taken := Taken()):
            wait_until(lambda: source.state().failures.get("silent", 0) >= 2, "silence")
    assert taken.frames == []


def test_single_pictures_are_asked_for_at_the_interval(pictures):
    with serving(Camera(pictures[:1], single=True)) as camera:
        with running(mjpeg(camera, every_s=0.2), taken := Taken()):
            frames = taken.wait_for(3)
        assert camera.sent >= 3
    assert [bytes(frame.jpeg) for frame in frames] == pictures[:1] * 3


def test_a_camera_that_is_asked_for_pictures_for_weeks_leaves_no_connections_behind(pictures):
    with serving(Camera(pictures[:1], single=True)) as camera, running(mjpeg(camera), taken := Taken()):
        taken.wait_for(30)
        gc.collect()
        closed = [one for one in gc.get_objects() if type(one) is socket.socket and one.fileno() == -1]
    assert len(closed) < 10


@pytest.mark.parametrize(("scheme", "port"), [("http", 80), ("https", 443)])
def test_an_ipv6_address_without_a_port_keeps_its_last_part(scheme, port, monkeypatch):
    asked, asked_once = [], threading.Event()

    def refuse(address, *_):
        asked.append(address)
        asked_once.set()
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)
    url = f"{scheme}://[2001:db8::5]/"
    with running(make_source({"type": "mjpeg", "camera": "a1", "url": url}), Taken()):
        asked_once.wait(10)
    assert set(asked) == {("2001:db8::5", port)}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"status": 404}, "not-found"),
        ({"status": 403}, "not-authorised"),
        ({"status": 302}, "http-302"),
        ({"status": 500}, "http-500"),
        ({"content_type": "text/html"}, "not-mjpeg"),
        ({"auth": "basic"}, "not-authorised"),
        ({"frames": [b"no picture at all"]}, "not-jpeg"),
        ({"frames": [b"no picture at all"], "single": True}, "not-jpeg"),
        ({"frames": [b"\xff\xd8\xff" + bytes(5000) + b"\xff\xd9"]}, "too-large"),
        ({"frames": [b"\xff\xd8\xff" + bytes(5000) + b"\xff\xd9"], "single": True}, "too-large"),
    ],
)
def test_faults_are_counted_by_reason(options, reason):
    with serving(Camera(**{"frames": [b""], **options})) as camera:
        source = mjpeg(camera, max_bytes=2000)
        with running(source, taken := Taken()):
            wait_until(lambda: reason in source.state().failures, reason)
    assert taken.frames == []


@pytest.mark.parametrize("auth", ["basic", "digest"])
def test_passwords_are_used_and_never_told(pictures, auth, monkeypatch, caplog):
    with serving(Camera(pictures, auth=auth)) as camera:
        monkeypatch.setenv("CAMERA_URL", camera.url.replace("http://", "http://viewer:s3cret@"))
        source = make_source({"type": "mjpeg", "camera": "a1", "url_env": "CAMERA_URL", "every_s": 0.0})
        with caplog.at_level(logging.DEBUG), running(source, taken := Taken()):
            taken.wait_for(2)
        assert camera.seen[0] == ""  # nothing is told before it is asked for
        assert camera.seen[1].startswith(auth.title())
        if auth == "digest":
            assert "s3cret" not in "".join(camera.seen)
    told = f"{source!r} {source.state()} {source.__dict__} {caplog.text}"
    assert "s3cret" not in told
    assert "viewer" not in told


def _challenge(algorithm: str, qop: str = ', qop="auth"') -> str:
    return f'Digest realm="camera", nonce="of {algorithm}"{qop}, algorithm={algorithm}, opaque="xyz"'


@pytest.mark.parametrize(
    ("challenges", "answered"),
    [
        ((_challenge("SHA-256"), _challenge("MD5")), "SHA-256"),  # the strongest first, as RFC 7616 has it
        ((_challenge("SHA-512-256"), _challenge("MD5")), "MD5"),
        ((_challenge("MD5", ', qop="auth-int"'), _challenge("SHA-256-sess", ', qop="auth-int, auth"')), "SHA-256-sess"),
        (("Digest realm", "Digest nonce=", _challenge("MD5", "")), "MD5"),
        (("Digest nonsense", 'Basic realm="camera"'), None),
    ],
)
def test_the_first_challenge_that_can_be_answered_is(pictures, challenges, answered, monkeypatch):
    auth = "digest" if answered else "basic"
    with serving(Camera(pictures, auth=auth, challenges=challenges)) as camera:
        monkeypatch.setenv("CAMERA_URL", camera.url.replace("http://", "http://viewer:s3cret@"))
        source = make_source({"type": "mjpeg", "camera": "a1", "url_env": "CAMERA_URL", "every_s": 0.0})
        with running(source, taken := Taken()):
            taken.wait_for(2)
    if answered:
        assert f'nonce="of {answered}"' in camera.seen[1]
        assert f"algorithm={answered}" in camera.seen[1]
        assert 'opaque="xyz"' in camera.seen[1]
    else:
        assert camera.seen[1].startswith("Basic ")


def test_names_and_passwords_are_of_any_alphabet(pictures, monkeypatch):
    login = ("gérant", "café, ключ")
    with serving(Camera(pictures, auth="digest", login=login)) as camera:
        url = camera.url.replace("http://", f"http://{quote(login[0])}:{quote(login[1])}@")
        monkeypatch.setenv("CAMERA_URL", url)
        source = make_source({"type": "mjpeg", "camera": "a1", "url_env": "CAMERA_URL", "every_s": 0.0})
        with running(source, taken := Taken()):
            taken.wait_for(2)


@pytest.mark.parametrize("challenge", [_challenge("SHA-512-256"), "Negotiate", "Digest"])
def test_a_login_of_an_unknown_kind_is_told(pictures, challenge, monkeypatch):
    with serving(Camera(pictures, auth="digest", challenges=(challenge,))) as camera:
        monkeypatch.setenv("CAMERA_URL", camera.url.replace("http://", "http://viewer:s3cret@"))
        source = make_source({"type": "mjpeg", "camera": "a1", "url_env": "CAMERA_URL", "every_s": 0.0})
        with running(source, Taken()):
            wait_until(lambda: source.state().failures.get("unknown-login", 0) >= 2, "two refusals")
        assert set(source.state().failures) == {"unknown-login"}


def test_a_certificate_that_nobody_vouches_for_is_refused(pictures, tmp_path):
    with serving(Camera(pictures)) as camera:  # speaks no TLS at all
        source = make_source(
            {"type": "mjpeg", "camera": "a1", "url": camera.url.replace("http:", "https:"), "every_s": 0.0}
        )
        with running(source, Taken()):
            wait_until(lambda: "tls" in source.state().failures, "the handshake to fail")
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"https://x: ca_file: .*/ca\.pem holds no certificate in PEM"):
        make_source({"type": "mjpeg", "camera": "a1", "url": "https://x", "ca_file": str(tmp_path / "ca.pem")})
