"""Signatures that a device takes, and every reason not to take one; hostile statements carry a key that is trusted."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from shelfgap_edge.errors import BundleError, SignatureError
from shelfgap_edge.signature import load_keys, signed_digests, verify_signature
from signing_keys import Signer, keys_file, statement

NOW = datetime(2026, 6, 1, tzinfo=UTC)
FILES = {"a": "1" * 64, "d/b": "2" * 64}


@pytest.fixture
def signer(tmp_path):
    return Signer(tmp_path / "keys")


@pytest.fixture
def keys(signer):
    return load_keys(signer.public)


def verify(signature, keys, now=NOW):
    content = signature if isinstance(signature, bytes) else json.dumps(signature).encode()
    return verify_signature(content, keys, now=now, where="b")


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_what_a_trusted_key_signed_is_returned(tmp_path, curve):
    signer = Signer(tmp_path / "keys", curve=curve)
    signature = json.dumps(signer.sign(statement(FILES))).encode()
    keys = load_keys(signer.public)
    assert verify(signature, keys).key_id == signer.key_id
    assert signed_digests(signature, keys, now=NOW, where="b") == FILES


def test_a_signature_that_names_no_key_is_tried_with_all(signer, tmp_path):
    other = Signer(tmp_path / "keys", "other")
    keys = load_keys(keys_file(tmp_path / "keys.json", other.entry(), signer.entry()))
    signature = signer.sign(statement(FILES))
    del signature["verificationMaterial"]["publicKey"]["hint"]
    assert verify(signature, keys).key_id == signer.key_id


def changed(signature, path, value):
    """Set a field below the JSON of a signature; None as value removes it."""
    *parents, last = path
    place = signature
    for name in parents:
        place = place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return signature


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (["mediaType"], "application/vnd.dev.sigstore.bundle.v0.4+json", r"media type '.*v0\.4\+json' is not known"),
        (["mediaType"], None, "media type None is not known"),
        (["verificationMaterial"], None, "verificationMaterial must be there, as dict"),
        (["verificationMaterial", "publicKey"], [], "publicKey must be there, as dict"),
        (["verificationMaterial", "publicKey", "hint"], 7, "hint must be there, as str"),
        (["verificationMaterial", "publicKey", "hint"], "0" * 64, "made by a key that is not trusted here; trusted: "),
        (["verificationMaterial", "tlogEntries"], [{}], "a transparency log cannot be checked offline"),
        (["verificationMaterial", "extra"], 1, "'extra' is not known here"),
        (["dsseEnvelope", "payloadType"], "text/plain", "payload type 'text/plain' is not known here"),
        (["dsseEnvelope", "payload"], "####", "not of the form"),
        (["dsseEnvelope", "payload"], "e30=", "was altered after key .* signed"),
        (["dsseEnvelope", "payload"], "e31=", "base64 with bits to spare"),
        (["dsseEnvelope", "signatures"], [], "expected one signature, got 0"),
        (["dsseEnvelope", "signatures"], ["x"], "expected one signature"),
        (["dsseEnvelope", "signatures", 0, "sig"], "", "was altered after"),
        (["dsseEnvelope", "signatures", 0, "sig"], "AAAA", "was altered after"),
    ],
)
def test_an_altered_envelope_is_refused(signer, keys, path, value, reason):
    with pytest.raises(SignatureError, match=f"^b: signature: .*{reason}"):
        verify(changed(signer.sign(statement(FILES)), path, value), keys)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (["_type"], "https://in-toto.io/Statement/v2", "_type '.*v2' is not known here"),
        (["predicateType"], "https://model_signing/signature/v2.0", r"predicateType '.*v2\.0' is not known here"),
        (["predicateType"], "https://model_signing/Digests/v0.1", "predicateType '.*Digests.*' is not known here"),
        (["subject"], [], "not a statement of the form"),
        (["subject", 0, "name"], None, "name must be there, as str"),
        (["subject", 0, "digest", "sha256"], "3" * 64, "inconsistent"),
        (["predicate", "serialization", "method"], "shards", "made by shards with sha256, expected files"),
        (["predicate", "serialization", "hash_type"], "blake3", "made by files with blake3"),
        (["predicate", "serialization"], None, "serialization must be there"),
        (["predicate", "resources"], [], "covers no files"),
        (["predicate", "resources"], {}, "resources must be there, as list"),
        (["predicate", "resources", 0, "digest"], "1" * 63, "no SHA-256 of 64 hex digits"),
        (["predicate", "resources", 0, "digest"], "A" * 64, "no SHA-256 of 64 hex digits"),
        (["predicate", "resources", 0, "algorithm"], "md5", "no SHA-256"),
        (["predicate", "resources", 0, "name"], "d/b", "'d/b' stands twice"),
        *[
            (["predicate", "resources", 0, "name"], name, "leads out of what was signed, or is not in normal form")
            for name in ("../a", "/a", "d/../../a", "d\\a", "a\0", "", ".", "./a", "d//a", "a/")
        ],
    ],
)
def test_a_hostile_statement_is_refused_whoever_signed_it(signer, keys, path, value, reason):
    with pytest.raises(SignatureError, match=f"^b: signature: .*{reason}"):
        verify(signer.sign(changed(statement(FILES), path, value)), keys)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not JSON"),
        (b"\x80\x04}q\x00.", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "expected a JSON object, got list"),
        (b" " * (8 * 2**20 + 1), "too large"),
        (b"-----BEGIN PGP SIGNATURE-----", "not JSON"),
    ],
)
def test_what_is_no_signature_is_refused(keys, content, reason):
    with pytest.raises(SignatureError, match=f"^b: signature: {reason}"):
        verify(content, keys)


def test_a_payload_that_is_no_statement_is_refused(signer, keys):
    for payload, reason in ((b"text", "not JSON"), (b"[1]", "expected a JSON object"), (b"{}", "_type None")):
        with pytest.raises(SignatureError, match=reason):
            verify(signer.sign(payload), keys)


def test_a_key_counts_from_its_first_to_its_last_moment(signer, tmp_path):
    signature = signer.sign(statement(FILES))
    bounds = {"not_before": "2026-01-01T00:00:00Z", "not_after": "2027-01-01T00:00:00+00:00"}
    keys = load_keys(keys_file(tmp_path / "keys.json", signer.entry(**bounds)))
    first, last, second = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC), timedelta(seconds=1)
    for now in (first, NOW, last):
        assert verify(signature, keys, now).digests == FILES
    with pytest.raises(SignatureError, match=r"not valid before 2026-01-01.*the clock here says 2025-12-31T23:59:59"):
        verify(signature, keys, first - second)
    with pytest.raises(SignatureError, match=r"expired on 2027-01-01.*the clock here says 2027-01-01T00:00:01"):
        verify(signature, keys, last + second)


def test_a_revoked_key_counts_no_more_and_the_others_do(signer, tmp_path):
    other = Signer(tmp_path / "keys", "other")
    path = keys_file(tmp_path / "keys.json", signer.entry(), other.entry(), revoked=(signer.key_id,))
    keys = load_keys(path)
    with pytest.raises(SignatureError, match=f"key {signer.key_id[:16]}.*, which is revoked"):
        verify(signer.sign(statement(FILES)), keys)
    assert verify(other.sign(statement(FILES)), keys).key_id == other.key_id


def test_a_signature_by_another_key_under_a_trusted_name_is_refused(signer, keys, tmp_path):
    forged = Signer(tmp_path / "keys", "other").sign(statement(FILES))
    forged["verificationMaterial"] = signer.sign(statement(FILES))["verificationMaterial"]
    with pytest.raises(SignatureError, match=f"altered after key {signer.key_id[:16]}"):
        verify(forged, keys)


def test_a_signature_is_no_signature_of_another_payload_type(signer, keys):
    signature = signer.sign(statement(FILES), kind="text/plain")
    signature["dsseEnvelope"]["payloadType"] = "application/vnd.in-toto+json"
    with pytest.raises(SignatureError, match="was altered after"):
        verify(signature, keys)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda c: c.update(schema_version=2), r"schema_version 2 is not known here \(expected 1\)"),
        (lambda c: c.update(schema_version=True), "schema_version True is not known"),
        (lambda c: c.update(keys=[]), "keys must be a list that is not empty"),
        (lambda c: c.update(revoked="all"), "revoked must be a list of key ids"),
        (lambda c: c.update(revoked=["AB"]), "revoked must be a list of key ids"),
        (lambda c: c.update(revokd=[]), "'revokd' is not known here"),
        (lambda c: c["keys"].append(c["keys"][0]), "a key stands twice"),
        (lambda c: c["keys"].append(7), r"keys\[1\]: expected an object, got int"),
        (lambda c: c["keys"][0].update(not_afer="2027-01-01T00:00:00Z"), r"keys\[0\]: 'not_afer' is not known here"),
        (lambda c: c["keys"][0].update(not_after="2027-01-01T00:00:00"), "not_after must be a time like"),
        (lambda c: c["keys"][0].update(not_before=5), "not_before must be a time like .*, got 5"),
        (
            lambda c: c["keys"][0].update(not_before="2027-01-01T00:00:00Z", not_after="2026-01-01T00:00:00Z"),
            "not_before is later than not_after",
        ),
        (
            lambda c: c["keys"][0].update(key_id="0" * 64),
            "key_id is '0+', but the id of this public key is [0-9a-f]{64}",
        ),
        (lambda c: c["keys"][0].pop("key_id"), "key_id is None, but the id"),
        (lambda c: c["keys"][0].update(public_key="key"), r"keys\[0\]: not a PEM public key"),
        (lambda c: c["keys"][0].update(public_key="\ud800"), r"keys\[0\]: not a PEM public key"),
        (lambda c: c["keys"][0].pop("public_key"), "public_key must be PEM text"),
    ],
)
def test_a_keys_file_that_could_be_misread_is_refused(signer, tmp_path, edit, reason):
    path = keys_file(tmp_path / "keys.json", signer.entry())
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    with pytest.raises(SignatureError, match=reason) as caught:
        load_keys(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_only_one_public_elliptic_curve_key_is_a_pem_key(signer, tmp_path):
    path = tmp_path / "some.pem"

    def public(key):
        return key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    for content, reason in (
        (signer.private.read_bytes(), "holds a private key; a device gets the public one"),
        (signer.pem * 2, "holds several keys"),
        (public(ed25519.Ed25519PrivateKey.generate()), "expected an elliptic-curve key on secp256r1"),
        (public(ec.generate_private_key(ec.SECP256K1())), "expected an elliptic-curve key on secp256r1"),
        (signer.pem[:60], "not a PEM public key"),
        (b"text", "neither a PEM public key nor JSON"),
        (b"[" * 100_000, "neither a PEM public key nor JSON"),
        (b" " * (2**20 + 1), "too large for keys"),
    ):
        path.write_bytes(content)
        with pytest.raises(SignatureError, match=reason):
            load_keys(path)
    with pytest.raises(SignatureError, match=r"absent.pub: the keys cannot be read \(No such file"):
        load_keys(tmp_path / "absent.pub")
    with pytest.raises(SignatureError, match="cannot be read"):
        load_keys(tmp_path)


def test_the_id_of_a_key_is_that_of_its_der(signer):
    body = "".join(signer.pem.decode().splitlines()[1:-1])
    assert hashlib.sha256(base64.b64decode(body)).hexdigest() == load_keys(signer.public).keys[0].key_id


def test_a_refused_signature_is_a_refused_bundle():
    assert issubclass(SignatureError, BundleError)
