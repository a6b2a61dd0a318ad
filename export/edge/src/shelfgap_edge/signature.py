"""Signatures in the OpenSSF model-signing format (v1, elliptic-curve keys), verified offline.

A signature file is a Sigstore bundle: JSON around a DSSE envelope around an in-toto statement that lists the SHA-256
of each file. `model_signing verify key` of the OpenSSF accepts the same file. Beyond what that tool looks at, a key
here may be expired or revoked, every file counts (also `.gitignore` and the like), and what else the JSON holds must
be known.

Sources: https://github.com/sigstore/model-transparency, https://github.com/secure-systems-lab/dsse (v1.0.0),
https://github.com/in-toto/attestation (v1).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shelfgap_edge.bundle import Files, leads_out
from shelfgap_edge.contract import SIGNATURE_FILE
from shelfgap_edge.errors import SignatureError
from shelfgap_edge.trust import TrustedKey, TrustedKeys, load_keys, short

__all__ = ["Signed", "TrustedKeys", "check_signed", "load_keys", "signed_digests", "verify_signature"]

SINGLE_FILE = "."
"""The path that stands for the file itself in a signature of a single file, as the OpenSSF tool records it."""

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"

_MAX_BYTES = 8 * 2**20  # ten thousand files take three
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}
_T = TypeVar("_T")


@dataclass(frozen=True)
class Signed:
    """What a valid signature says: SHA-256 (hex) by relative POSIX path, and the id of the key that says so."""

    digests: Mapping[str, str]
    key_id: str


def signed_digests(signature: bytes, keys: TrustedKeys, *, now: datetime, where: str) -> Mapping[str, str]:
    """Return the verified SHA-256 (hex) by relative POSIX path; see `verify_signature`."""
    return verify_signature(signature, keys, now=now, where=where).digests


def verify_signature(signature: bytes, keys: TrustedKeys, *, now: datetime, where: str) -> Signed:
    """Verify a signature and return what it covers. Whether the files are those is the caller's to check.

    Args:
        signature: the content of a signature file.
        keys: whom to trust.
        now: a time with time zone, at which the key must count.
        where: what was signed, in messages.

    Returns:
        The digests of all files of a directory but the signature; of a single file, its digest by `SINGLE_FILE`.

    Raises:
        SignatureError: not a signature, of a form or version that is not known here, made by a key that is not
            trusted, expired, not valid yet or revoked, not made by the key that it names, without files, or with a
            path that is there twice or leads out.
    """
    where = f"{where}: signature"
    bundle = _parse(signature, where)
    if bundle.get("mediaType") != MEDIA_TYPE:
        raise SignatureError(
            f"{where}: media type {bundle.get('mediaType')!r} is not known here (expected {MEDIA_TYPE})"
        )
    try:
        hint, payload_type, payload, raw_signature = _unpack(bundle)
    except (KeyError, TypeError, ValueError) as error:
        raise SignatureError(f"{where}: not of the form of {MEDIA_TYPE} ({error})") from None
    if payload_type != PAYLOAD_TYPE:
        raise SignatureError(f"{where}: payload type {payload_type!r} is not known here (expected {PAYLOAD_TYPE})")
    key = _signer(hint, payload, raw_signature, keys, where)
    keys.check_valid(key, now, where)
    return Signed(_digests(_parse(payload, where), where), key.key_id)


def check_signed(files: Files, keys: TrustedKeys, *, now: datetime, where: str) -> str:
    """Check that files are exactly those that their signature covers, byte for byte.

    Args:
        files: what `read_bundle` returned, the signature among them.
        keys: whom to trust.
        now: a time with time zone.
        where: the bundle's name in messages.

    Returns:
        The id of the key that signed.

    Raises:
        SignatureError: no signature, not a valid one (see `verify_signature`), a file missing, altered or not covered.
    """
    if SIGNATURE_FILE not in files:
        raise SignatureError(f"{where}: carries no signature, and one is asked for; get a signed bundle")
    signed = verify_signature(files[SIGNATURE_FILE], keys, now=now, where=where)
    present = files.keys() - {SIGNATURE_FILE}
    for name in sorted(signed.digests.keys() - present):
        raise SignatureError(f"{where}: {name} is missing, the signature lists it; copy the bundle again")
    for name in sorted(present - signed.digests.keys()):
        raise SignatureError(f"{where}: {name} is not covered by the signature; remove it, or get the bundle again")
    for name in sorted(present):
        actual = hashlib.sha256(files[name]).hexdigest()
        if actual != signed.digests[name]:
            raise SignatureError(
                f"{where}: {name} was altered, its SHA-256 is {actual[:12]}... where the signature says "
                f"{signed.digests[name][:12]}...; get the bundle again"
            )
    return signed.key_id


def _parse(content: bytes, where: str) -> dict[str, Any]:
    if len(content) > _MAX_BYTES:
        raise SignatureError(f"{where}: too large, at most {_MAX_BYTES} bytes")
    try:
        parsed = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        raise SignatureError(f"{where}: not JSON, expected a signature of the OpenSSF model-signing format") from None
    if not isinstance(parsed, dict):
        raise SignatureError(f"{where}: expected a JSON object, got {type(parsed).__name__}")
    return parsed


def _unpack(bundle: dict[str, Any]) -> tuple[str | None, str, bytes, bytes]:
    """Return the hint of the key, the type of the payload, the payload and the signature."""
    _only(bundle, "mediaType", "verificationMaterial", "dsseEnvelope")
    material = _field(bundle, "verificationMaterial", dict)
    _only(material, "publicKey", "tlogEntries")
    if material.get("tlogEntries", []) != []:
        raise ValueError("a transparency log cannot be checked offline; sign with a key alone")
    key = _field(material, "publicKey", dict)
    _only(key, "hint")
    envelope = _field(bundle, "dsseEnvelope", dict)
    _only(envelope, "payload", "payloadType", "signatures")
    signatures = _field(envelope, "signatures", list)
    if len(signatures) != 1 or not isinstance(signatures[0], dict):
        raise ValueError(f"expected one signature, got {len(signatures)}")
    _only(signatures[0], "sig", "keyid")
    return (
        None if key.get("hint") is None else _field(key, "hint", str),
        _field(envelope, "payloadType", str),
        _decode(_field(envelope, "payload", str)),
        _decode(_field(signatures[0], "sig", str)),
    )


def _signer(hint: str | None, payload: bytes, raw_signature: bytes, keys: TrustedKeys, where: str) -> TrustedKey:
    """Return the trusted key that made a signature; the hint only tells which one to try."""
    candidates = [key for key in keys.keys if hint in (None, _hint(key.public_key))]
    if not candidates:
        trusted = ", ".join(short(key.key_id) for key in keys.keys)
        raise SignatureError(f"{where}: made by a key that is not trusted here; trusted: {trusted}")
    kind = PAYLOAD_TYPE.encode()
    signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    for key in candidates:
        try:
            key.public_key.verify(raw_signature, signed, ec.ECDSA(_HASHES[key.public_key.curve.name]))
        except InvalidSignature:
            continue
        return key
    named = " or ".join(short(key.key_id) for key in candidates)
    raise SignatureError(f"{where}: does not hold, it or what it says was altered after key {named} signed")


def _hint(public_key: ec.EllipticCurvePublicKey) -> str:
    """Return how the format names a key: the SHA-256 (hex) of its PEM text."""
    pem = public_key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def _digests(statement: dict[str, Any], where: str) -> dict[str, str]:
    for name, expected in (("_type", STATEMENT_TYPE), ("predicateType", PREDICATE_TYPE)):
        if statement.get(name) != expected:
            raise SignatureError(f"{where}: {name} {statement.get(name)!r} is not known here (expected {expected})")
    try:
        (subject,) = _field(statement, "subject", list)
        _field(subject, "name", str)  # the folder's, for people
        root = _field(_field(subject, "digest", dict), "sha256", str)
        predicate = _field(statement, "predicate", dict)
        form = _field(predicate, "serialization", dict)
        _field(form, "allow_symlinks", bool)
        how = (form.get("method"), form.get("hash_type"))
        resources = [
            (_field(entry, "name", str), entry.get("algorithm"), _field(entry, "digest", str))
            for entry in _field(predicate, "resources", list)
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SignatureError(f"{where}: not a statement of the form of {PREDICATE_TYPE} ({error})") from None
    if how != ("files", "sha256"):
        raise SignatureError(f"{where}: made by {how[0]} with {how[1]}, expected files with sha256")
    if not resources:
        raise SignatureError(f"{where}: covers no files")
    digests: dict[str, str] = {}
    together = hashlib.sha256()
    for name, algorithm, digest in resources:
        if algorithm != "sha256" or not _SHA256.fullmatch(digest):
            raise SignatureError(f"{where}: {name!r} has no SHA-256 of 64 hex digits")
        if name in digests:
            raise SignatureError(f"{where}: {name!r} stands twice in it")
        if leads_out(name) or PurePosixPath(name).as_posix() != name or (name == SINGLE_FILE and len(resources) > 1):
            raise SignatureError(f"{where}: the path {name!r} leads out of what was signed, or is not in normal form")
        digests[name] = digest
        together.update(bytes.fromhex(digest))
    if together.hexdigest() != root:
        raise SignatureError(f"{where}: inconsistent, the files in it do not make up its digest {root[:12]}...")
    return digests


def _field(entry: Any, name: str, kind: type[_T]) -> _T:
    if not isinstance(entry, dict) or not isinstance(entry.get(name), kind):
        raise ValueError(f"{name} must be there, as {kind.__name__}")
    value: _T = entry[name]
    return value


def _only(entry: dict[str, Any], *known: str) -> None:
    for name in sorted(entry.keys() - set(known)):
        raise ValueError(f"{name!r} is not known here")


def _decode(text: str) -> bytes:
    decoded = base64.b64decode(text, validate=True)
    if base64.b64encode(decoded).decode() != text:
        raise ValueError("base64 with bits to spare")
    return decoded
