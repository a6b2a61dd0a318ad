r"""Whom this device trusts: public keys, how long each is valid, and which are revoked.

One PEM file with one public key is trusted without limit. Rotation and revocation take a JSON file::

    {
      "schema_version": 1,
      "keys": [
        {
          "key_id": "9f2c...",                                   SHA-256 of the key's DER SubjectPublicKeyInfo, hex
          "public_key": "-----BEGIN PUBLIC KEY-----\n...",         PEM
          "not_before": "2026-01-01T00:00:00Z",                  optional; both bounds are valid still
          "not_after": "2028-01-01T00:00:00Z"                    optional
        }
      ],
      "revoked": ["77ab..."]                                     optional; ids of keys that are not trusted any more
    }
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shelfgap_edge.errors import SignatureError

SCHEMA_VERSION = 1
CURVES = ("secp256r1", "secp384r1", "secp521r1")
_MAX_BYTES = 2**20
_KEY_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class TrustedKey:
    """A public key and when its signatures count; None is no bound."""

    key_id: str
    public_key: ec.EllipticCurvePublicKey
    not_before: datetime | None = None
    not_after: datetime | None = None


@dataclass(frozen=True)
class TrustedKeys:
    """The keys of a device. A revoked id counts whether its key is listed or not."""

    keys: tuple[TrustedKey, ...]
    revoked: frozenset[str] = frozenset()

    def check_valid(self, key: TrustedKey, now: datetime, where: str) -> None:
        """Check that a key counts at a time.

        Args:
            key: one of `keys`.
            now: a time with time zone.
            where: what was signed, in messages.

        Raises:
            SignatureError: the key is revoked, expired or not valid yet.
        """
        if key.key_id in self.revoked:
            raise SignatureError(f"{where}: signed with key {short(key.key_id)}, which is revoked; do not use it")
        if key.not_before is not None and now < key.not_before:
            raise SignatureError(
                f"{where}: signed with key {short(key.key_id)}, which is not valid before "
                f"{key.not_before.isoformat()}; the clock here says {now.isoformat(timespec='seconds')}"
            )
        if key.not_after is not None and now > key.not_after:
            raise SignatureError(
                f"{where}: signed with key {short(key.key_id)}, which expired on {key.not_after.isoformat()}; "
                f"the clock here says {now.isoformat(timespec='seconds')}; get a release signed with a newer key"
            )


def key_id(public_key: ec.EllipticCurvePublicKey) -> str:
    """Return the id of a key: the SHA-256 (hex) of its DER SubjectPublicKeyInfo."""
    der = public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def short(key: str) -> str:
    """Return as much of a key's id as people compare."""
    return f"{key[:16]}..."


def load_keys(path: Path) -> TrustedKeys:
    """Read the keys that a device trusts.

    Args:
        path: a PEM public key, or a JSON file (see the module).

    Raises:
        SignatureError: not readable, not of one of these forms, no key in it, or a key of another kind than an
            elliptic curve of `CURVES`.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise SignatureError(f"{path}: the keys cannot be read ({error.strerror})") from None
    if len(content) > _MAX_BYTES:
        raise SignatureError(f"{path}: too large for keys, at most {_MAX_BYTES} bytes")
    if content.lstrip().startswith(b"-----BEGIN"):
        public_key = _parse_pem(content, str(path))
        return TrustedKeys((TrustedKey(key_id(public_key), public_key),))
    return _parse_json(content, str(path))


def _parse_json(content: bytes, where: str) -> TrustedKeys:
    try:
        raw = json.loads(content)
    except (ValueError, RecursionError):
        raise SignatureError(f"{where}: neither a PEM public key nor JSON; see docs/signing.md") from None
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if type(version) is not int or version != SCHEMA_VERSION:
        raise SignatureError(f"{where}: schema_version {version!r} is not known here (expected {SCHEMA_VERSION})")
    _only(raw, {"schema_version", "keys", "revoked"}, where)
    listed, revoked = raw.get("keys"), raw.get("revoked", [])
    if not isinstance(listed, list) or not listed:
        raise SignatureError(f"{where}: keys must be a list that is not empty")
    if not isinstance(revoked, list) or not all(isinstance(name, str) and _KEY_ID.fullmatch(name) for name in revoked):
        raise SignatureError(f"{where}: revoked must be a list of key ids, 64 lower-case hex digits each")
    keys = tuple(_parse_key(entry, f"{where}: keys[{row}]") for row, entry in enumerate(listed))
    if len({key.key_id for key in keys}) < len(keys):
        raise SignatureError(f"{where}: a key stands twice in it")
    return TrustedKeys(keys, frozenset(revoked))


def _parse_key(entry: Any, where: str) -> TrustedKey:
    if not isinstance(entry, dict):
        raise SignatureError(f"{where}: expected an object, got {type(entry).__name__}")
    _only(entry, {"key_id", "public_key", "not_before", "not_after"}, where)
    if not isinstance(entry.get("public_key"), str):
        raise SignatureError(f"{where}: public_key must be PEM text")
    public_key = _parse_pem(entry["public_key"].encode(errors="replace"), where)
    computed = key_id(public_key)
    if entry.get("key_id") != computed:
        raise SignatureError(f"{where}: key_id is {entry.get('key_id')!r}, but the id of this public key is {computed}")
    not_before, not_after = (_parse_time(entry.get(name), name, where) for name in ("not_before", "not_after"))
    if not_before is not None and not_after is not None and not_before > not_after:
        raise SignatureError(f"{where}: not_before is later than not_after")
    return TrustedKey(computed, public_key, not_before, not_after)


def _parse_pem(content: bytes, where: str) -> ec.EllipticCurvePublicKey:
    if b"PRIVATE KEY" in content:
        raise SignatureError(f"{where}: holds a private key; a device gets the public one")
    if content.count(b"-----BEGIN") > 1:
        raise SignatureError(f"{where}: holds several keys; list them in a JSON file, see docs/signing.md")
    try:
        public_key = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise SignatureError(f"{where}: not a PEM public key") from None
    if not isinstance(public_key, ec.EllipticCurvePublicKey) or public_key.curve.name not in CURVES:
        raise SignatureError(f"{where}: expected an elliptic-curve key on {', '.join(CURVES)}")
    return public_key


def _parse_time(value: object, name: str, where: str) -> datetime | None:
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(str(value))
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise SignatureError(f"{where}: {name} must be a time like 2026-01-01T00:00:00Z, got {value!r}")
    return time


def _only(entry: dict[str, Any], known: set[str], where: str) -> None:
    """Refuse keys that are not known: a misspelt `not_after` must not pass for no limit."""
    for name in sorted(entry.keys() - known):
        raise SignatureError(f"{where}: {name!r} is not known here; expected {', '.join(sorted(known))}")
