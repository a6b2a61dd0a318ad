"""edge.toml: what is wrong is named with file and key, all at once; secrets are kept closed and never repeated."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import zoneinfo
from pathlib import Path

import numpy as np
import pytest
from certificates import Authority
from shelfgap_edge import cli
from shelfgap_edge.service.assemble import EdgeAssembly
from shelfgap_edge.service.clock import Clock
from shelfgap_edge.service.config import read_config
from shelfgap_edge.service.log import JsonFormatter, log_end_of_thread
from shelfgap_edge.service.rate import RateLimit
from shelfgap_edge.service.tokens import hash_token, new_token, token_matches
from shelfgap_edge.toml_table import ConfigError

GOOD = 'bundle = "bundle"\nstate = "/var/lib/shelfgap-edge"\n'
CAMERA = f'[cameras.c1]\ntokens = ["{hash_token("t")}"]\n'


@pytest.fixture
def read(tmp_path: Path):
    def read(text: str):
        (tmp_path / "edge.toml").write_text(text)
        return read_config(tmp_path / "edge.toml")

    return read


def test_defaults_listen_on_loopback_and_paths_are_beside_the_file(read, tmp_path):
    config = read(GOOD + CAMERA)
    assert (config.http.host, config.admin.host) == ("127.0.0.1", "127.0.0.1")
    assert config.bundle == tmp_path / "bundle"
    assert config.state == Path("/var/lib/shelfgap-edge")
    assert config.cameras["c1"].client_name == "c1"


def test_what_other_parts_read_is_left_to_them(read):
    config = read(GOOD + CAMERA + "[monitor]\nopen_frames = 3\n[[sources]]\nkind = 'mjpeg'\n")
    assert config.rest.table("monitor").integer("open_frames", low=1, high=9) == 3
    assert len(config.rest.tables("sources")) == 1
    config.rest.done()


def test_all_that_is_wrong_is_said_at_once_with_file_and_key(read):
    text = "[http]\nport = 70000\n[queue]\nframes = 'many'\n[limits]\nspeed = 1\n" + CAMERA
    with pytest.raises(ConfigError) as refused:
        read(text)
    said = str(refused.value)
    for part in (
        "edge.toml: bundle is missing",
        "edge.toml: state is missing",
        "edge.toml.http: port: expected an integer from 0 to 65535, got 70000",
        "edge.toml.queue: frames: expected an integer",
        "edge.toml.limits: unknown speed",
    ):
        assert part in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("", r"cameras: expected at least one table"),
        ('[cameras."a/b"]\n', r"cameras.a/b: a camera's name has"),
        ("[cameras.c1]\ncolour = 1\n", r"cameras.c1: unknown colour"),
        (CAMERA + '[admin]\nhost = "0.0.0.0"\n', r"admin: host 0.0.0.0 is open to others"),
        (CAMERA + '[http.tls]\ncertificate = "c.pem"\n', r"http.tls: expected both certificate and key"),
        (CAMERA + '[admin]\nhost_names = ["edge.local:8081"]\n', r"admin: host_names: expected names of hosts without"),
        ('tokens_file = "tokens"\n' + CAMERA, r"tokens_file: .*tokens: No such file"),
    ],
)
def test_what_cannot_be_is_refused(read, more, said):
    with pytest.raises(ConfigError, match=said):
        read(GOOD + more)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("[http]\nupload_megabytes = 3.5\n", "http: upload_megabytes: expected 4 or more, .* got 3.5"),
        ("[queue]\nmegabytes = 1\n", "queue: megabytes: expected 4 or more, as much as http.max_body_bytes, got 1"),
    ],
)
def test_bounds_that_the_largest_frame_is_never_within_are_refused(read, more, said):
    with pytest.raises(ConfigError, match=f"edge.toml.{said}"):
        read(GOOD + CAMERA + more)
    small = "max_body_bytes = 1048576\n"
    assert read(GOOD + CAMERA + "[queue]\nmegabytes = 1\n[http]\nupload_megabytes = 1\n" + small).queue.megabytes == 1


def test_a_machine_without_time_zones_needs_none(read, monkeypatch):
    for name in {"tzdata", *(name for name in sys.modules if name.startswith("tzdata."))}:
        monkeypatch.setitem(sys.modules, name, None)
    zoneinfo.reset_tzpath(())
    zoneinfo.ZoneInfo.clear_cache()
    try:
        assert read(GOOD + CAMERA).time_zone is None
        with pytest.raises(ConfigError, match="time_zone: expected a name of the IANA time zone database, got 'UTC'"):
            read('time_zone = "UTC"\n' + GOOD + CAMERA)
    finally:
        zoneinfo.reset_tzpath()


def test_a_token_in_place_of_its_hash_is_refused_and_not_repeated(read):
    token = new_token()
    for text in (
        f'[cameras.c1]\ntokens = ["{token}"]\n',
        f'[cameras.c1]\ntokens = "{token}"\n',
        CAMERA + f'[admin]\ntoken = "{token}"\n',
        CAMERA + f'[admin]\ntoken = ["{token}"]\n',
    ):
        with pytest.raises(ConfigError, match="sha256") as refused:
            read(GOOD + text)
        assert token not in str(refused.value)


def test_files_of_sinks_and_sources_are_beside_the_file_too(read, tmp_path):
    Authority(tmp_path)
    secret = tmp_path / "hook"
    secret.write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    secret.chmod(0o600)
    sink = '[[sinks]]\nname = "web"\ntype = "webhook"\nurl = "https://a"\n'
    sink += 'secret_file = "hook"\nca_file = "authority.pem"\n'
    source = '[[sources]]\ntype = "mjpeg"\ncamera = "c1"\nurl_file = "camera"\nca_file = "authority.pem"\n'
    address = tmp_path / "camera"
    address.write_text("https://viewer:s3cret@camera.lan/")
    address.chmod(0o600)
    (source_made,) = EdgeAssembly().plan(read(GOOD + CAMERA + sink + source)).sources()
    assert source_made.where == "https://camera.lan"
    with pytest.raises(ConfigError, match=f"{tmp_path}/days: expected the folder of a dataset"):
        EdgeAssembly().plan(read(GOOD + CAMERA + '[[sources]]\ntype = "replay"\nfolder = "days"\n'))


def test_tokens_from_a_file_that_is_closed_to_others(read, tmp_path, monkeypatch):
    file = tmp_path / "tokens"
    file.write_text(f"# cameras\nc1 {hash_token('new')}\n\nc1 {hash_token('old')}  # until spring\n")
    file.chmod(0o644)
    text = GOOD + 'tokens_file = "tokens"\n[cameras.c1]\n'
    with pytest.raises(ConfigError, match=r"its mode is 0644, expected 0600 or 0400; run chmod 600"):
        read(text)
    file.chmod(0o440)
    with pytest.raises(ConfigError, match=r"its mode is 0440"):
        read(text)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))  # systemd's access list shows like that
    assert read(text).cameras["c1"].token_hashes == (hash_token("new"), hash_token("old"))
    file.chmod(0o444)
    with pytest.raises(ConfigError, match=r"its mode is 0444"):
        read(text)
    file.chmod(0o600)
    assert read(text).cameras["c1"].token_hashes == (hash_token("new"), hash_token("old"))
    file.write_text(f"c2 {hash_token('x')}\n")
    with pytest.raises(ConfigError, match="names cameras that are not configured: c2"):
        read(text)
    file.write_text("c1 secret\n")
    with pytest.raises(ConfigError, match=r"tokens:1: expected a camera and sha256") as refused:
        read(text)
    assert "secret" not in str(refused.value)


def test_a_tls_key_must_be_closed_to_others(read, tmp_path):
    for name in ("c.pem", "k.pem"):
        (tmp_path / name).write_text("x")
    (tmp_path / "k.pem").chmod(0o640)
    with pytest.raises(ConfigError, match=r"http.tls: key: .* its mode is 0640"):
        read(GOOD + CAMERA + '[http.tls]\ncertificate = "c.pem"\nkey = "k.pem"\n')


def test_the_admin_token_may_come_from_the_environment(read, monkeypatch):
    monkeypatch.setenv("SHELFGAP_EDGE_ADMIN_TOKEN_HASH", hash_token("a"))
    assert read(GOOD + CAMERA + '[admin]\nhost = "0.0.0.0"\n').admin.token_hash == hash_token("a")


def test_tokens_are_random_and_compared_by_hash():
    token = new_token()
    assert len({new_token() for _ in range(100)}) == 100
    assert len(token) >= 40
    assert token_matches(token, [hash_token("other"), hash_token(token)])
    assert not token_matches(token, [hash_token("other")])
    assert not token_matches(token, [])


def test_the_token_command_prints_what_the_file_wants(capsys, read, tmp_path):
    assert cli.main(["token", "c1", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["hash"] == hash_token(printed["token"])
    assert cli.main(["token", "c1"]) == 0
    line = re.search(r"tokens = .*", capsys.readouterr().out).group()
    assert len(read(GOOD + "[cameras.c1]\n" + line).cameras["c1"].token_hashes) == 1


def test_a_rate_limit_gives_back_with_time_and_forgets_the_oldest_name():
    now = [0.0]
    limit = RateLimit(6, 2, names=2, clock=lambda: now[0])
    assert [limit.allow("a") for _ in range(3)] == [True, True, False]
    assert limit.retry_after_seconds() == 10
    now[0] += 10
    assert [limit.allow("a") for _ in range(2)] == [True, False]
    limit.allow("b")
    limit.allow("c")
    assert limit.allow("a"), "forgotten, so it begins anew"


def test_the_clock_goes_on_steadily_and_follows_steps():
    wall, monotonic = [1000.0], [5.0]
    clock = Clock(lambda: wall[0], lambda: monotonic[0])
    monotonic[0] += 10
    assert clock.now() == 1010.0
    wall[0] += 10.5  # slewed
    assert clock.correct() == 0.0
    wall[0] += 3600
    assert clock.correct() == 3600.5
    assert clock.now() == wall[0]
    wall[0] -= 86400
    assert clock.correct() == -86400


def test_logs_hold_scalars_only():
    def line(message, *arguments, **extra):
        record = logging.LogRecord("shelfgap_edge.x", logging.INFO, "f.py", 1, message, arguments, None)
        record.__dict__.update(extra)
        return JsonFormatter().format(record)

    pixels = np.full((4, 4, 3), 171, np.uint8)
    text = line("got %s and %s", b"\xab\xcd", bytearray(b"abc"), pixels=pixels, body=b"secret", camera="c1")
    assert json.loads(text)["camera"] == "c1"
    for leaked in ("171", "secret", "abc", r"\xab"):
        assert leaked not in text
    assert len(line("x" * 10_000)) < 1000


def test_an_exception_is_logged_by_type_and_place_without_its_text():
    try:
        raise ValueError("frame ff d8 ff")
    except ValueError as error:
        record = logging.LogRecord(
            "x", logging.ERROR, "f.py", 1, "failed", (), (type(error), error, error.__traceback__)
        )
    logged = json.loads(JsonFormatter().format(record))
    assert logged["error"] == "ValueError"
    assert "ff d8" not in json.dumps(logged)
    assert "test_service_config.py" in logged["at"][0]


def test_a_thread_that_ends_in_an_error_is_logged_without_its_text(monkeypatch, caplog):
    monkeypatch.setattr(threading, "excepthook", log_end_of_thread)
    thread = threading.Thread(target=lambda: {}["secret"], name="sink-bus")
    thread.start()
    thread.join()
    (record,) = caplog.records
    line = json.loads(JsonFormatter().format(record))
    assert (line["level"], line["message"], line["error"]) == ("error", "sink-bus ended in an error", "KeyError")
    assert "secret" not in json.dumps(line)


def test_narrow_zones_are_warned_of(read, caplog):
    zone = '[[cameras.c1.zones]]\nname = "z{}"\npolygon = [[0.1, 0.2], [{}, 0.2], [{}, 0.9], [0.1, 0.9]]\n'
    wide = zone.format(0, 0.19, 0.19)
    EdgeAssembly().plan(read(GOOD + CAMERA + wide))
    assert not caplog.records
    EdgeAssembly().plan(read(GOOD + CAMERA + wide + "".join(zone.format(n, 0.15, 0.15) for n in range(1, 8))))
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().endswith("(docs/monitor.md): c1/z1, c1/z2, c1/z3, c1/z4, c1/z5 and 2 more")
