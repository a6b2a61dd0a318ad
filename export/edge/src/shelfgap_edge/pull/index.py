"""The index: one signed file that says which releases there are, and which one each ring of devices runs.

It travels as one file, so that text and signature change together::

    {"schema": "shelfgap-signed-index/1", "index": "<the text>", "signature": "<its signature>"}

The signature is that of a single file with this text, in the same format as that of bundles.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from shelfgap_edge.bundle import MAX_BUNDLE_BYTES, leads_out
from shelfgap_edge.errors import PullError
from shelfgap_edge.signature import SINGLE_FILE, TrustedKeys, signed_digests

SIGNED_INDEX = "index.signed.json"
"""Its name below the address that devices pull from."""
RINGS = ("canary", "all")
MAX_INDEX_BYTES = 8 * 2**20
_SCHEMA = "shelfgap-index/1"
_SIGNED_SCHEMA = "shelfgap-signed-index/1"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FileEntry:
    """One file of a bundle: path below its root, SHA-256 in hex, size in bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Release:
    """A bundle that was published.

    Attributes:
        number: 1 and up; a later release has a higher one.
        version: the version in the bundle's manifest.
        published_at: ISO 8601 time in UTC.
        files: all of its files, by path.
        offered_at: when each ring was first offered it.
        withdrawn_at: since when it must not be offered, or None.
    """

    number: int
    version: str
    published_at: str
    files: tuple[FileEntry, ...]
    offered_at: Mapping[str, str]
    withdrawn_at: str | None = None

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.files)


@dataclass(frozen=True)
class Index:
    """What the publisher says at one moment.

    Attributes:
        product: the name that the manifests of its bundles bear.
        number: grows with each publication; a device takes no lower one than it has seen.
        issued_at, expires_at: times in UTC; after the latter nothing new is installed from it.
        rings: ring -> number of the release that it runs; a ring may be absent.
        allow_rollback: releases that a device may go back to from a higher one.
        releases: all releases, by number.
    """

    product: str
    number: int
    issued_at: datetime
    expires_at: datetime
    rings: Mapping[str, int]
    allow_rollback: tuple[int, ...]
    releases: tuple[Release, ...]

    def release(self, number: int) -> Release | None:
        """Return a release by its number."""
        return next((release for release in self.releases if release.number == number), None)

    def offered(self, ring: str) -> Release | None:
        """Return what a ring shall run: its own offer, for a canary without one that of all; None for no offer."""
        number = self.rings.get(ring, self.rings.get("all"))
        return None if number is None else self.release(number)

    def to_json(self) -> str:
        """Return the text that is signed."""
        content = {
            **asdict(self),
            "schema": _SCHEMA,
            "issued_at": _time_text(self.issued_at),
            "expires_at": _time_text(self.expires_at),
        }
        return json.dumps(content, indent=1, sort_keys=True) + "\n"


def seal_index(index: Index, signature: bytes) -> bytes:
    """Return the signed index as it is published: the text of the index and its signature in one file."""
    content = {"schema": _SIGNED_SCHEMA, "index": index.to_json(), "signature": signature.decode()}
    return json.dumps(content).encode()


def open_index(content: bytes, keys: TrustedKeys, *, now: datetime, where: str) -> Index:
    """Return a signed index after its signature was verified.

    Args:
        content: see `seal_index`.
        keys: whom to trust.
        now: time in UTC that the validity of keys is judged by.
        where: its address, for messages.

    Raises:
        SignatureError: no trusted key signed it.
        PullError: it is not of the form above.
    """
    text, signature = _unseal(content, where)
    digests = signed_digests(signature, keys, now=now, where=where)
    if dict(digests) != {SINGLE_FILE: hashlib.sha256(text.encode()).hexdigest()}:
        raise PullError(f"{where}: the index was altered after it was signed; publish it again")
    return parse_index(text, where)


def read_kept_index(content: bytes, where: str) -> Index:
    """Return a signed index that this device verified before it kept it; its keys may have expired since.

    Raises:
        PullError: it is not of the form above.
    """
    return parse_index(_unseal(content, where)[0], where)


def _unseal(content: bytes, where: str) -> tuple[str, bytes]:
    try:
        envelope = json.loads(content)
        if envelope["schema"] != _SIGNED_SCHEMA:
            raise PullError(f"{where}: schema {envelope['schema']!r} is not known here (expected {_SIGNED_SCHEMA})")
        text, signature = str(envelope["index"]), str(envelope["signature"]).encode()
        text.encode()  # what cannot be encoded was never signed
        return text, signature
    except UnicodeEncodeError as error:
        raise PullError(f"{where}: not a signed index ({error.reason})") from None  # without the text, which is in it
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PullError(f"{where}: not a signed index ({error!r})") from None


def parse_index(text: str, where: str) -> Index:
    """Parse and check the text of an index.

    Raises:
        PullError: not of the schema, an unsafe path, or a ring that offers what is not there or was withdrawn.
    """
    try:
        raw = json.loads(text)
        if raw["schema"] != _SCHEMA:
            raise PullError(f"{where}: schema {raw['schema']!r} is not known here (expected {_SCHEMA}); upgrade")
        index = Index(
            product=_text(raw["product"]),
            number=_count(raw["number"]),
            issued_at=_time(raw["issued_at"]),
            expires_at=_time(raw["expires_at"]),
            rings={ring: _count(number) for ring, number in raw["rings"].items()},
            allow_rollback=tuple(_count(number) for number in raw["allow_rollback"]),
            releases=tuple(_release(entry) for entry in raw["releases"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise PullError(f"{where}: the index is not of its schema ({error!r})") from None
    numbers = [release.number for release in index.releases]
    if len(set(numbers)) != len(numbers):
        raise PullError(f"{where}: the index has two releases of one number")
    for ring, number in index.rings.items():
        offered = index.release(number)
        if offered is None or offered.withdrawn_at is not None:
            state = "is not in the index" if offered is None else "was withdrawn"
            raise PullError(f"{where}: ring {ring} offers release {number}, which {state}")
    return index


def _release(raw: Mapping[str, Any]) -> Release:
    files = []
    for entry in raw["files"]:
        path, sha256, size = _path(entry["path"]), _text(entry["sha256"]), entry["size"]
        if not _SHA256.fullmatch(sha256):
            raise ValueError(f"{path}: {sha256!r} is no SHA-256")
        if type(size) is not int or size < 0:
            raise ValueError(f"{path}: {size!r} is no size")
        files.append(FileEntry(path, sha256, size))
    release = Release(
        number=_count(raw["number"]),
        version=_text(raw["version"]),
        published_at=_text(raw["published_at"]),
        files=tuple(files),
        offered_at={ring: _text(time) for ring, time in raw["offered_at"].items()},
        withdrawn_at=None if raw["withdrawn_at"] is None else _text(raw["withdrawn_at"]),
    )
    if not files or len({entry.path for entry in files}) != len(files):
        raise ValueError(f"release {release.number} has no files, or one twice")
    if release.size > MAX_BUNDLE_BYTES:
        raise ValueError(f"release {release.number} has {release.size} bytes, at most {MAX_BUNDLE_BYTES} are taken")
    return release


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"expected a text, got {value!r}")
    return value


def _path(value: object) -> str:
    text = _text(value)
    if leads_out(text) or text == "." or PurePosixPath(text).as_posix() != text:
        raise ValueError(f"{text!r} is no path below a bundle's root")
    return text


def _count(value: object) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"expected a whole number from 1, got {value!r}")
    return value


def _time(value: object) -> datetime:
    time = datetime.fromisoformat(_text(value))
    if time.tzinfo is None:
        raise ValueError(f"expected a time with its zone, got {value!r}")
    return time.astimezone(UTC)


def _time_text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds")
