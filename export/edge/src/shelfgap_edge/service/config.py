"""`edge.toml`: what the service is told, read strictly. Tables of other parts are handed on to them as they are."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shelfgap_edge.contract import AUTO, PRECISIONS, RUNTIMES
from shelfgap_edge.private_file import check_private
from shelfgap_edge.service.tokens import is_token_hash, read_tokens_file
from shelfgap_edge.toml_table import ConfigError, Table, read_toml

_R = TypeVar("_R")
_HOST_NAME = re.compile(r"[A-Za-z0-9.-]+")
_CAMERA_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
ADMIN_TOKEN_VARIABLE = "SHELFGAP_EDGE_ADMIN_TOKEN_HASH"


@dataclass(frozen=True)
class DetectorConfig:
    """Which model runs, and how; see `Detector.load`. `keys` None leaves signatures to `pull`."""

    precision: str | None
    threads: int
    runtime: str
    keys: Path | None


@dataclass(frozen=True)
class TlsConfig:
    """Certificate and key of the service; with `client_ca` every camera must show a certificate of that authority."""

    certificate: Path
    key: Path
    client_ca: Path | None
    client_ca_content: bytes | None


@dataclass(frozen=True)
class HttpConfig:
    """Where frames come in, and how large and slow they may be."""

    host: str
    port: int
    tls: TlsConfig | None
    max_body_bytes: int
    max_pixels: int
    body_seconds: float
    upload_megabytes: float
    connections: int


@dataclass(frozen=True)
class AdminConfig:
    """Where operators look; `token_hash` None asks for none."""

    host: str
    port: int
    token_hash: str | None
    host_names: tuple[str, ...]


@dataclass(frozen=True)
class LimitsConfig:
    """Frames a minute of each camera, failed logins a minute of each address."""

    frames_per_minute: float
    burst: int
    failed_logins_per_minute: float


@dataclass(frozen=True)
class QueueConfig:
    """How much may wait for its verdict, see `mailbox.Mailbox`."""

    frames: int
    megabytes: float
    max_wait_seconds: float


@dataclass(frozen=True)
class CameraConfig:
    """One camera; without a token or certificate it cannot send over HTTP. `zones` belong to the monitor."""

    camera_id: str
    token_hashes: tuple[str, ...]
    client_name: str
    shelf: str | None
    zones: tuple[Table, ...]


@dataclass(frozen=True)
class EdgeConfig:
    """All of `edge.toml`.

    Attributes:
        path: the file.
        bundle: a bundle directory, a `.tar`, or the `current` of a `shelfgap-edge pull` state folder.
        state: folder of the outbox, the only one that is written to.
        store: name of the store, in alerts.
        time_zone: IANA name of the zone in which people read times; None for UTC on the status page, and for the zone
            of the device in messages.
        log_level: of Python's logging.
        stop_seconds: how long a stop may take for frames and alerts that are under way.
        cameras: by id.
        rest: what is left of the file, for the monitor, the outbox, sinks and sources; read once.
    """

    path: Path
    bundle: Path
    state: Path
    store: str | None
    time_zone: str | None
    log_level: str
    stop_seconds: float
    detector: DetectorConfig
    http: HttpConfig
    admin: AdminConfig
    limits: LimitsConfig
    queue: QueueConfig
    cameras: Mapping[str, CameraConfig]
    rest: Table


def read_config(path: Path) -> EdgeConfig:
    """Read `edge.toml`.

    Raises:
        ConfigError: something in it cannot be; all that is wrong in its tables at once, each with file and key.
    """
    root = read_toml(path)
    problems: list[str] = []

    def attempt(read: Callable[[], _R]) -> Any:
        try:
            return read()
        except ConfigError as error:
            problems.append(str(error))

    def section(name: str, read: Callable[[Table], _R]) -> Any:
        def whole() -> _R:
            values = root.table(name)
            result = read(values)
            values.done()
            return result

        return attempt(whole)

    values: dict[str, Any] = {
        "bundle": attempt(lambda: root.path("bundle")),
        "state": attempt(lambda: root.path("state")),
        "store": attempt(lambda: root.text("store", None)),
        "time_zone": attempt(lambda: _time_zone(root)),
        "log_level": attempt(lambda: root.choice("log_level", ("debug", "info", "warning", "error"), "info")),
        "stop_seconds": attempt(lambda: root.number("stop_seconds", 20.0, low=0, high=600)),
        "detector": section("detector", _detector),
        "http": section("http", _http),
        "admin": section("admin", _admin),
        "limits": section("limits", _limits),
        "queue": section("queue", _queue),
    }
    tokens_file = attempt(lambda: root.path("tokens_file", None))
    tokens: dict[str, tuple[str, ...]] = {}
    if tokens_file is not None:
        tokens = attempt(lambda: read_tokens_file(tokens_file, f"{root.where}: tokens_file")) or {}
    listed = attempt(lambda: root.named("cameras")) or {}
    values["cameras"] = {name: attempt(partial(_camera, name, table, tokens)) for name, table in listed.items()}
    attempt(lambda: _check_cameras(root.where, values["cameras"], tokens))
    if values["http"] is not None and values["queue"] is not None:
        attempt(lambda: _check_room(root.where, values["http"], values["queue"]))
    if problems:
        raise ConfigError("; ".join(problems))
    return EdgeConfig(path=path, rest=root, **values)


def _time_zone(table: Table) -> str | None:
    name: str | None = table.text("time_zone", None)
    try:
        if name is not None:  # a machine without the database needs none
            ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise table.wrong("time_zone", "a name of the IANA time zone database", name) from None
    return name


def _detector(table: Table) -> DetectorConfig:
    return DetectorConfig(
        precision=table.choice("precision", (*PRECISIONS, AUTO), None),
        threads=table.integer("threads", 1, low=1, high=256),
        runtime=table.choice("runtime", RUNTIMES, RUNTIMES[0]),
        keys=table.path("keys", None),
    )


def _http(table: Table) -> HttpConfig:
    tls, values = None, table.table("tls")
    certificate, key, client_ca = (values.path(name, None) for name in ("certificate", "key", "client_ca"))
    values.done()
    if certificate is not None or key is not None or client_ca is not None:
        if certificate is None or key is None:
            raise ConfigError(f"{values.where}: expected both certificate and key")
        check_private(key, f"{values.where}: key")
        tls = TlsConfig(certificate, key, client_ca, _content(client_ca, values))
    return HttpConfig(
        host=table.text("host", "127.0.0.1"),
        port=table.integer("port", 8080, low=0, high=65535),
        tls=tls,
        max_body_bytes=table.integer("max_body_bytes", 4 * 2**20, low=1024, high=32 * 2**20),
        max_pixels=int(1e6 * table.number("max_megapixels", 16, low=0.01, high=50)),
        body_seconds=table.number("body_seconds", 15, low=0.1, high=300),
        upload_megabytes=table.number("upload_megabytes", 64, low=1, high=4096),
        connections=table.integer("connections", 4096, low=1, high=100_000),
    )


def _content(path: Path | None, table: Table) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{table.where}: client_ca: {path}: {error.strerror}") from None


def _admin(table: Table) -> AdminConfig:
    host = table.text("host", "127.0.0.1")
    token_hash = _unshown(lambda: table.text("token", None), "?") or os.environ.get(ADMIN_TOKEN_VARIABLE) or None
    if token_hash is not None and not is_token_hash(token_hash):
        # Without the value: who put the token itself there shall not find it in the log.
        raise ConfigError(f"{table.where}: token: expected sha256:<64 hex digits>, as `shelfgap-edge token` prints it")
    if token_hash is None and not is_loopback(host):
        raise ConfigError(
            f"{table.where}: host {host} is open to others, and there is no token; "
            'set token (see `shelfgap-edge token`) or host = "127.0.0.1"'
        )
    names = tuple(table.items("host_names", str, []))
    if not all(_HOST_NAME.fullmatch(name) or _is_ipv6(name) for name in names):
        raise table.wrong("host_names", "names of hosts without port", names)
    return AdminConfig(
        host=host,
        port=table.integer("port", 8081, low=0, high=65535),
        token_hash=token_hash,
        host_names=names,
    )


def _is_ipv6(name: str) -> bool:
    try:
        ipaddress.IPv6Address(name)
    except ValueError:
        return False
    return True


def _limits(table: Table) -> LimitsConfig:
    return LimitsConfig(
        frames_per_minute=table.number("frames_per_minute", 60, low=0.1, high=1e6),
        burst=table.integer("burst", 10, low=1, high=1_000_000),
        failed_logins_per_minute=table.number("failed_logins_per_minute", 30, low=0.1, high=1e6),
    )


def _queue(table: Table) -> QueueConfig:
    return QueueConfig(
        frames=table.integer("frames", 256, low=1, high=100_000),
        megabytes=table.number("megabytes", 64, low=1, high=65536),
        max_wait_seconds=table.number("max_wait_seconds", 5, low=0.1, high=3600),
    )


def _camera(name: str, table: Table, tokens: Mapping[str, tuple[str, ...]]) -> CameraConfig:
    if _CAMERA_ID.fullmatch(name) is None:
        raise ConfigError(f"{table.where}: a camera's name has 1 to 64 letters, digits and . _ -, got {name!r}")
    own = _unshown(lambda: table.items("tokens", str, []), ["?"])
    if not all(is_token_hash(one) for one in own):
        raise ConfigError(f"{table.where}: tokens: expected a list of sha256:<64 hex digits>, as `token` prints them")
    camera = CameraConfig(
        camera_id=name,
        token_hashes=(*own, *tokens.get(name, ())),
        client_name=table.text("client_name", name),
        shelf=table.text("shelf", None),
        zones=tuple(table.tables("zones")),
    )
    table.done()
    return camera


def _unshown(read: Callable[[], _R], wrong: _R) -> _R:
    """Return what is read, or a wrong value in place of the error: that repeats what may be the token itself."""
    try:
        return read()
    except ConfigError:
        return wrong


def _check_cameras(where: str, cameras: Mapping[str, object], tokens: Mapping[str, object]) -> None:
    if not cameras:
        raise ConfigError(f"{where}: cameras: expected at least one table [cameras.NAME]")
    unknown = sorted(set(tokens) - set(cameras))
    if unknown:
        raise ConfigError(f"{where}: tokens_file: names cameras that are not configured: {', '.join(unknown[:5])}")


def _check_room(where: str, http: HttpConfig, queue: QueueConfig) -> None:
    """Refuse bounds that the largest frame is never within: it would be told to try again each time."""
    needed = http.max_body_bytes / 2**20
    for key, megabytes in (("http: upload_megabytes", http.upload_megabytes), ("queue: megabytes", queue.megabytes)):
        if megabytes < needed:
            raise ConfigError(
                f"{where}.{key}: expected {needed:g} or more, as much as http.max_body_bytes, got {megabytes:g}"
            )


def is_loopback(host: str) -> bool:
    """Say whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
