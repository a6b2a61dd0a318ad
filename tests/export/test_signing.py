"""Keys and signatures, both ways between shelfgap and the OpenSSF tool's own command."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from shelfgap_edge.bundle import compute_sums, read_bundle
from shelfgap_edge.contract import FORMAT_VERSION
from shelfgap_edge.errors import BundleError
from shelfgap_edge.signature import check_signed, load_keys, signed_digests
from shelfgap_edge.trust import key_id
from shelfgap_export.signing import SigningError, generate_key, sign, sign_bundle

OPENSSF = Path(sys.executable).with_name("model_signing")


def openssf(*arguments):
    return subprocess.run([OPENSSF, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def pair(tmp_path):
    return generate_key(tmp_path / "keys" / "release")


@pytest.fixture
def bundle(tmp_path, manifest_text):
    """A bundle without models: what is signed is not run here."""
    root = tmp_path / "release" / "bundle"
    (root / "golden").mkdir(parents=True)
    (root / "manifest.json").write_text(manifest_text)
    (root / "golden" / "shelf-1.jpg").write_bytes(bytes(range(256)))
    (root / ".gitignore").write_text("*\n")
    (root / "SHA256SUMS").write_text(compute_sums(root))
    return root


@pytest.fixture
def manifest_text():
    return json.dumps(
        {
            "format_version": FORMAT_VERSION,
            "name": "patches",
            "version": "1",
            "created_at": "2026-01-01T00:00:00Z",
            "classes": ["gap"],
            "input_size": [96, 128],
            "score_thresholds": {"gap": 0.5},
            "default_precision": "int8",
            "hashes": {},
            "metrics": {},
            "colour_order": "RGB",
            "resize": "stretch",
            "normalisation": "in-graph",
            "postprocess_version": 1,
        }
    )


def signer_of(bundle, public_key):
    return check_signed(read_bundle(bundle), load_keys(public_key), now=datetime.now(UTC), where="b")


def state(root):
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in [*root.rglob("*"), *root.parent.iterdir()]
    }


def test_the_openssf_command_accepts_what_is_signed_here_and_nothing_that_was_changed(bundle, pair):
    assert sign_bundle(bundle, pair.private_key)
    arguments = ("verify", "key", bundle, "--signature", bundle / "signature", "--public_key", pair.public_key)
    done = openssf(*arguments, "--no-ignore-git-paths")
    assert done.returncode == 0, done.stderr
    (bundle / "golden" / "shelf-1.jpg").write_bytes(b"other")
    assert openssf(*arguments, "--no-ignore-git-paths").returncode != 0


def test_what_the_openssf_command_signed_is_accepted_here(bundle, pair):
    done = openssf(
        "sign", "key", bundle, "--signature", bundle / "signature", "--private_key", pair.private_key,
        "--no-ignore-git-paths",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert signer_of(bundle, pair.public_key) == pair.key_id
    (bundle / ".gitignore").write_text("other\n")
    with pytest.raises(BundleError, match=r"\.gitignore was altered"):
        signer_of(bundle, pair.public_key)


def test_a_single_file_is_signed_under_the_path_of_a_dot_both_ways(tmp_path, pair):
    index, signature = tmp_path / "index.json", tmp_path / "index.json.sig"
    index.write_text("{}")
    digest = {".": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}  # sha256sum of {}
    keys, now = load_keys(pair.public_key), datetime.now(UTC)
    signature.write_bytes(sign(index, pair.private_key))
    assert signed_digests(signature.read_bytes(), keys, now=now, where="index") == digest
    arguments = (index, "--signature", signature)
    assert openssf("verify", "key", *arguments, "--public_key", pair.public_key).returncode == 0
    assert openssf("sign", "key", *arguments, "--private_key", pair.private_key).returncode == 0
    assert signed_digests(signature.read_bytes(), keys, now=now, where="index") == digest


def test_folder_and_tar_carry_the_signature_and_sums_stay_what_they_were(bundle, pair):
    sums = (bundle / "SHA256SUMS").read_bytes()
    bundle.with_name("bundle.tar").write_bytes(b"an older one")
    assert sign_bundle(bundle, pair.private_key)
    packed = bundle.with_name("bundle.tar")
    assert read_bundle(packed) == read_bundle(bundle)
    assert signer_of(packed, pair.public_key) == pair.key_id
    assert (bundle / "SHA256SUMS").read_bytes() == sums
    assert sorted(p.name for p in bundle.parent.iterdir()) == ["bundle", "bundle.tar"]


def test_signing_again_writes_nothing(bundle, pair):
    assert sign_bundle(bundle, pair.private_key)
    before = state(bundle)
    assert not sign_bundle(bundle, pair.private_key)
    assert state(bundle) == before


def test_what_a_kill_left_half_done_is_completed(bundle, pair):
    """The signature is in the folder, and the tar beside it is still the old one."""
    (bundle / "signature").write_bytes(sign(bundle, pair.private_key))
    signature = (bundle / "signature").read_bytes()
    assert sign_bundle(bundle, pair.private_key)
    assert (bundle / "signature").read_bytes() == signature
    assert read_bundle(bundle.with_name("bundle.tar"))["signature"] == signature


def test_another_key_or_a_changed_bundle_is_signed_anew(bundle, pair, tmp_path):
    sign_bundle(bundle, pair.private_key)
    other = generate_key(tmp_path / "keys" / "next")
    assert sign_bundle(bundle, other.private_key)
    assert signer_of(bundle, other.public_key) == other.key_id
    (bundle / "golden" / "shelf-1.jpg").write_bytes(b"new")
    (bundle / "SHA256SUMS").write_text(compute_sums(bundle))
    assert sign_bundle(bundle, other.private_key)
    assert signer_of(bundle.with_name("bundle.tar"), other.public_key) == other.key_id


def test_what_is_not_whole_is_not_signed(bundle, pair, tmp_path):
    (bundle / "golden" / "shelf-1.jpg").write_bytes(b"altered")
    with pytest.raises(BundleError, match=r"shelf-1\.jpg was altered"):
        sign_bundle(bundle, pair.private_key)
    with pytest.raises(BundleError, match="no such bundle"):
        sign_bundle(tmp_path / "absent", pair.private_key)
    (tmp_path / "b.tar").write_bytes(b"")
    with pytest.raises(SigningError, match="give the bundle's directory"):
        sign_bundle(tmp_path / "b.tar", pair.private_key)
    assert not (bundle / "signature").exists()


def test_an_unknown_version_is_not_signed(bundle, pair, manifest_text):
    (bundle / "manifest.json").write_text(manifest_text.replace(f'"{FORMAT_VERSION}"', '"2.0"'))
    (bundle / "SHA256SUMS").write_text(compute_sums(bundle))
    with pytest.raises(BundleError, match=r"format_version '2\.0' is not known here"):
        sign_bundle(bundle, pair.private_key)


def test_links_are_not_signed(bundle, pair):
    (bundle / "link").symlink_to("manifest.json")
    with pytest.raises(SigningError, match="because it is a symlink"):
        sign(bundle, pair.private_key)
    with pytest.raises(SigningError, match="cannot be signed"):
        sign(bundle / "absent", pair.private_key)


def test_a_disk_that_takes_no_more_leaves_the_bundle_as_it_was(bundle, pair, monkeypatch):
    sign_bundle(bundle, pair.private_key)
    (bundle / "golden" / "shelf-1.jpg").write_bytes(b"new")
    (bundle / "SHA256SUMS").write_text(compute_sums(bundle))
    before, signature = state(bundle), (bundle / "signature").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SigningError, match=r"the signature cannot be written \(No space left"):
        sign_bundle(bundle, pair.private_key)
    assert state(bundle) == before
    assert (bundle / "signature").read_bytes() == signature


@pytest.mark.parametrize("passphrase", [None, "correct horse"])
def test_a_key_is_private_and_never_overwritten(tmp_path, passphrase):
    os.umask(umask := os.umask(0))
    pair = generate_key(tmp_path / "new" / "release", passphrase=passphrase)
    assert stat.S_IMODE(pair.private_key.stat().st_mode) == 0o600
    assert stat.S_IMODE(pair.public_key.stat().st_mode) == 0o644 & ~umask
    assert (b"ENCRYPTED" in pair.private_key.read_bytes()) == (passphrase is not None)
    assert load_keys(pair.public_key).keys[0].key_id == pair.key_id
    before = pair.private_key.read_bytes()
    with pytest.raises(SigningError, match="release: is there already, and a key is never overwritten"):
        generate_key(pair.private_key)
    pair.private_key.rename(tmp_path / "moved")
    with pytest.raises(SigningError, match=r"release\.pub: is there already"):
        generate_key(pair.private_key)
    pair.public_key.unlink()
    pair.private_key.symlink_to(tmp_path / "elsewhere")  # not followed, though it leads nowhere yet
    with pytest.raises(SigningError, match="release: is there already"):
        generate_key(pair.private_key)
    assert (tmp_path / "moved").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["moved", "new"]


def test_a_key_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SigningError, match="the key cannot be written"):
        generate_key(tmp_path / "file" / "release")


def test_an_encrypted_key_signs_with_its_passphrase_only(bundle, tmp_path):
    pair = generate_key(tmp_path / "locked", passphrase="correct horse")
    with pytest.raises(SigningError, match="the key is encrypted; set SHELFGAP_SIGNING_PASSPHRASE"):
        sign_bundle(bundle, pair.private_key)
    with pytest.raises(SigningError, match="the passphrase is wrong"):
        sign_bundle(bundle, pair.private_key, passphrase="other")
    assert sign_bundle(bundle, pair.private_key, passphrase="correct horse")
    assert signer_of(bundle, pair.public_key) == pair.key_id


def test_a_passphrase_of_any_bytes_of_the_environment_locks_a_key(bundle, tmp_path):
    passphrase = os.fsdecode(b"caf\xe9")  # as os.environ has it where the terminal is not of UTF-8
    pair = generate_key(tmp_path / "locked", passphrase=passphrase)
    assert serialization.load_pem_private_key(pair.private_key.read_bytes(), b"caf\xe9")
    assert sign_bundle(bundle, pair.private_key, passphrase=passphrase)
    with pytest.raises(SigningError, match="the passphrase is too long, at most 1023 bytes"):
        generate_key(tmp_path / "other", passphrase="x" * 1024)
    assert not (tmp_path / "other.pub").exists()


def test_keys_of_other_kinds_are_refused(bundle, pair, tmp_path):
    path = tmp_path / "some.pem"
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    other = ed25519.Ed25519PrivateKey.generate().private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    for content, reason in (
        (other, "expected an elliptic-curve key on secp256r1"),
        (pair.public_key.read_bytes(), "not a private key in PEM; make one with: shelfgap bundle keygen"),
        (b"text", "not a private key in PEM"),
    ):
        path.write_bytes(content)
        with pytest.raises(SigningError, match=reason):
            sign_bundle(bundle, path)
    with pytest.raises(SigningError, match="and a passphrase was given"):
        sign_bundle(bundle, pair.private_key, passphrase="x")
    with pytest.raises(SigningError, match="the key cannot be read"):
        sign_bundle(bundle, tmp_path / "absent")
    assert not (bundle / "signature").exists()


def test_the_id_is_what_openssl_says(pair):
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", pair.public_key, "-outform", "DER"], capture_output=True, check=True
    ).stdout
    told = subprocess.run(["sha256sum"], input=der, capture_output=True, check=True).stdout.decode()
    assert told.split()[0] == pair.key_id == key_id(load_keys(pair.public_key).keys[0].public_key)


def test_the_tar_holds_plain_files_only(bundle, pair):
    sign_bundle(bundle, pair.private_key)
    with tarfile.open(bundle.with_name("bundle.tar")) as archive:
        assert all(member.isreg() and member.mode == 0o644 for member in archive.getmembers())
