"""`[[sources]]` of edge.toml: what each type takes, every mistake by its name, no secret in any message."""

from __future__ import annotations

import os
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shelfgap_edge.errors import MissingRuntimeError
from shelfgap_edge.sources.address import Address
from shelfgap_edge.sources.params import SOURCE_TYPES, SourceParams
from shelfgap_edge.toml_table import ConfigError, Table

GOOD = {
    "mqtt": {"url": "mqtts://broker.lan:8884", "topic": "shop/{camera}/jpeg", "protocol": "3.1.1", "keepalive_s": 10},
    "mjpeg": {"camera": "a1", "url": "https://camera.lan/video?size=small", "every_s": 5},
    "rtsp": {"camera": "a1", "url": "rtsp://[fe80::1]:8554/live", "every_s": 2.5, "timeout_s": 5},
    "v4l2": {"camera": "a1", "device": "/dev/v4l/by-id/usb-cam_0", "size": "1280x720", "input_format": "yuyv422"},
    "replay": {"folder": "recordings/day", "speed": "max", "loop": True},
}


def read(**values: object) -> SourceParams:
    return SourceParams.from_table(Table(values, "edge.toml: sources[0]"))


@pytest.mark.parametrize("kind", SOURCE_TYPES)
def test_each_type_is_read(kind):
    of = read(type=kind, **GOOD[kind]).of
    for key, value in GOOD[kind].items():
        if key in ("every_s", "timeout_s", "keepalive_s", "topic", "protocol", "device", "input_format", "loop"):
            assert getattr(of, key) == value


def test_the_examples_of_the_documentation_are_read(monkeypatch):
    from pathlib import Path

    text = (Path(__file__).parents[2] / "docs/sources.md").read_text()
    monkeypatch.setenv("SHELFGAP_SOURCE_A7", "rtsp://viewer:x@camera-a7.lan/stream2")
    blocks = [block.split("```")[0] for block in text.split("```toml\n")[1:]]
    tables = [table for block in blocks for table in tomllib.loads(block)["sources"]]
    kinds = [read(**table).of.__class__.__name__ for table in tables if "url_file" not in table]
    assert {kind.removesuffix("Params").lower() for kind in kinds} == set(SOURCE_TYPES)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "type is missing; expected mqtt or mjpeg or rtsp or v4l2 or replay"),
        ({"type": "ftp"}, "type: expected mqtt or mjpeg"),
        ({"type": "mjpeg", "url": "http://camera"}, "camera is missing"),
        ({"type": "mjpeg", "camera": "a1"}, "expected one of url, url_env, url_file, got none"),
        ({"type": "mjpeg", "camera": "a1", "url": "http://c", "url_env": "X"}, "got url and url_env"),
        ({"type": "mjpeg", "camera": "a1", "url": "http://c..lan"}, "url: expected an address"),
        ({"type": "mjpeg", "camera": "a1", "url": "rtsp://c/x"}, "url: expected an address that begins with http://"),
        ({"type": "rtsp", "camera": "a1", "url": "http://c/x"}, "begins with rtsp:// or rtsps://"),
        ({"type": "mjpeg", "camera": "a1", "url": "http:///x"}, "url: expected an address"),
        ({"type": "mjpeg", "camera": "a1", "url": "http://c:99999/"}, "url: expected an address"),
        ({"type": "mjpeg", "camera": "a1", "url": "http://c/a b"}, "url: expected an address"),
        ({"type": "mjpeg", "camera": "a1", "url": "http://c/\r\nX: y"}, "url: expected an address"),
        ({"type": "mjpeg", "camera": "a1", "url": "http://viewer:s3cret@c/"}, "no user or password here"),
        ({"type": "mjpeg", "camera": "a1", "url_env": "SHELFGAP_UNSET"}, "SHELFGAP_UNSET is not set"),
        ({"type": "mjpeg", "camera": "a1", "url_file": "/nowhere/x"}, "url_file: /nowhere/x: No such file"),
        ({"type": "mjpeg", "camera": "a1", "url": "http://c", "every_s": -1}, "every_s: expected a number from 0"),
        ({"type": "mjpeg", "camera": "a1", "url": "http://c", "timeout_s": 0}, "timeout_s: expected a number"),
        ({"type": "mjpeg", "camera": "a1", "url": "http://c", "max_bytes": 10}, "max_bytes: expected an integer"),
        ({"type": "mjpeg", "camera": "a1", "url": "http://c", "retry_s": 9, "retry_max_s": 3}, "at least retry_s"),
        ({"type": "mjpeg", "camera": "a1", "url": "https://c", "cert_file": "x"}, "expected both or neither"),
        (
            {"type": "mjpeg", "camera": "a1", "url": "http://c", "ca_file": "x"},
            "ca_file: expected an address of https://",
        ),
        ({"type": "mqtt", "url": "mqtt://b", "key_file": "x"}, "key_file: expected an address of mqtts:// beside it"),
        ({"type": "mjpeg", "camera": "a1", "url": "http://c", "evry_s": 3}, "unknown evry_s; known here: .*every_s"),
        ({"type": "mqtt", "url": "mqtt://b", "topic": "shop/frame"}, "topic: expected a topic of which one level"),
        ({"type": "mqtt", "url": "mqtt://b", "topic": "#/{camera}"}, "topic: expected a topic of which one level"),
        ({"type": "mqtt", "url": "mqtt://b", "topic": "{camera}/{camera}"}, "topic: expected"),
        ({"type": "mqtt", "url": "mqtt://b", "protocol": "4"}, "protocol: expected 5 or 3.1.1"),
        ({"type": "mqtt", "url": "mqtt://b", "camera": "a1"}, "unknown camera"),
        ({"type": "v4l2", "camera": "a1", "device": "/etc/passwd"}, "device: expected a device"),
        ({"type": "v4l2", "camera": "a1", "device": "/dev/../etc/x"}, "device: expected a device"),
        ({"type": "v4l2", "camera": "a1", "size": "640"}, "size: expected width and height"),
        ({"type": "v4l2", "camera": "a1", "input_format": "a b"}, "input_format: expected a format"),
        ({"type": "replay"}, "folder is missing"),
        ({"type": "replay", "folder": "x", "speed": "fast"}, "speed: expected a number from 0.001"),
        ({"type": "replay", "folder": "x", "speed": 0}, "speed: expected a number from 0.001"),
        ({"type": "replay", "folder": "x", "speed": float("nan")}, "speed: expected a number from 0.001"),
        ({"type": "replay", "folder": "x", "speed": True}, "speed: expected a string or a number"),
    ],
)
def test_every_mistake_is_named(values, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read(**values)
    assert str(caught.value).startswith("edge.toml: sources[0]: ")
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_camera_must_be_configured():
    with pytest.raises(ConfigError, match="camera: 'a1' is not configured; configured are: b2"):
        read(type="mjpeg", **GOOD["mjpeg"]).source(["b2"])
    with pytest.raises(ConfigError, match="the id of a camera on MQTT has no"):
        read(type="mqtt", url="mqtt://b").source(["a/1"])


@pytest.mark.parametrize(
    ("kind", "module", "extra"), [("mqtt", "paho.mqtt.client", "serve"), ("v4l2", "av", "streams")]
)
def test_a_missing_extra_is_one_line_with_the_command(kind, module, extra, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    values = {key: value for key, value in GOOD[kind].items() if key != "url"}
    url = {"url": "mqtt://b"} if kind == "mqtt" else {}
    with pytest.raises(MissingRuntimeError, match=rf"pip install 'shelfgap-edge\[{extra}\]'"):
        read(type=kind, **values, **url).source(["a1"])


@pytest.mark.parametrize("mode", [0o604, 0o620, 0o602, 0o640, 0o644, 0o666])
def test_a_file_that_others_may_use_is_refused(tmp_path, mode):
    path = tmp_path / "camera.url"
    path.write_text("http://viewer:s3cret@camera/")
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"url_file: .*its mode is {mode:04o}.*chmod 600") as caught:
        read(type="mjpeg", camera="a1", url_file=str(path))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "\n", "ftp://viewer:s3cret@camera/", "viewer:s3cret", "http://s3cret:x@[/"])
def test_a_file_without_an_address_is_refused_and_not_told(tmp_path, content):
    path = tmp_path / "camera.url"
    path.touch(mode=0o600)
    path.write_text(content)
    with pytest.raises(ConfigError, match="url_file: ") as caught:
        read(type="mjpeg", camera="a1", url_file=str(path))
    assert "s3cret" not in str(caught.value)


def test_secrets_are_read_and_not_shown(tmp_path):
    path = tmp_path / "camera.url"
    path.touch(mode=0o600)
    path.write_text("http://viewer:s3%40cret@camera.lan:81/x?token=t0ken\n")
    params = read(type="mjpeg", camera="a1", url_file=str(path))
    address = params.of.address
    assert (address.user, address.password(), address.target()) == ("viewer", "s3@cret", "/x?token=t0ken")
    shown = f"{params!r} {address} {address!r} {params.source(['a1'])!r} {params.source(['a1']).state()}"
    assert "http://camera.lan:81" in shown
    for secret in ("viewer", "cret", "t0ken"):
        assert secret not in shown


@given(st.text(max_size=60))
@settings(deadline=None)
def test_no_text_makes_an_address_raise_anything_else(text):
    for candidate in (text, f"http://{text}", f"rtsp://user:{text}@camera/"):
        try:
            address = Address(candidate)
        except ValueError:
            continue
        assert str(address).count("@") == 0
        assert os.linesep not in str(address)
