"""Hundreds of ways to tamper with a signed bundle: none is accepted, none gets as far as a session.

The OpenSSF tool is asked about each as well, where it has an opinion: it knows no expiry and no revocation.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import tarfile
import zipfile
from datetime import UTC, datetime, timedelta
from itertools import combinations

import pytest
from model_signing.hashing import Config as Hashing
from model_signing.signing import Config as Signing
from model_signing.verifying import Config as Verifying
from shelfgap_edge.bench.detectors import bench_bundle
from shelfgap_edge.errors import BundleError, SignatureError
from shelfgap_edge.runtime import Detector
from shelfgap_edge.signature import load_keys
from shelfgap_edge.verify import verify_bundle
from signing_keys import Signer, keys_file, sign_folder, statement


def hashing():
    return Hashing().set_ignored_paths(paths=["signature"], ignore_git_paths=False)


def openssf_accepts(bundle, public_key):
    verifier = Verifying().use_elliptic_key_verifier(public_key=public_key).set_hashing_config(hashing())
    try:
        verifier.verify(bundle, bundle / "signature")
    except Exception:  # it raises what its parsers raise
        return False
    return True


@pytest.fixture
def signer(tmp_path):
    return Signer(tmp_path / "keys")


@pytest.fixture
def signed(bundle, reseal, signer):
    """A bundle that the OpenSSF tool signed."""
    (bundle / ".gitattributes").write_text("* -text\n")
    for name in ("gate.json", "MODEL_CARD.md"):
        (bundle / name).write_text(f"{name}, as a release writes it\n")
    reseal(bundle)
    config = Signing().use_elliptic_key_signer(private_key=signer.private).set_hashing_config(hashing())
    config.sign(bundle, bundle / "signature")
    return bundle


@pytest.fixture
def no_session(monkeypatch):
    def refuse(*_, **__):
        pytest.fail("a session was created")

    monkeypatch.setattr("onnxruntime.InferenceSession", refuse)
    monkeypatch.setattr("shelfgap_edge.runtime.open_session", refuse)


def swapped_bytes(content):
    """Swap the first byte with the first that differs."""
    other = next(index for index, value in enumerate(content) if value != content[0])
    changed = bytearray(content)
    changed[0], changed[other] = changed[other], changed[0]
    return bytes(changed)


BYTES = {
    "first byte": lambda b: bytes([b[0] ^ 0xFF]) + b[1:],
    "middle byte": lambda b: b[: len(b) // 2] + bytes([b[len(b) // 2] ^ 0xFF]) + b[len(b) // 2 + 1 :],
    "last byte": lambda b: b[:-1] + bytes([b[-1] ^ 0xFF]),
    "lowest bit": lambda b: b[: len(b) // 3] + bytes([b[len(b) // 3] ^ 1]) + b[len(b) // 3 + 1 :],
    "highest bit": lambda b: b[: len(b) // 4] + bytes([b[len(b) // 4] ^ 0x80]) + b[len(b) // 4 + 1 :],
    "two bytes swapped": swapped_bytes,
    "cut by one": lambda b: b[:-1],
    "cut in half": lambda b: b[: len(b) // 2],
    "emptied": lambda b: b"",
    "a byte appended": lambda b: b + b"\0",
    "a byte put before": lambda b: b"\0" + b,
    "a byte inserted": lambda b: b[: len(b) // 2] + b"\0" + b[len(b) // 2 :],
    "doubled": lambda b: b + b,
}


def files_of(bundle):
    return sorted(path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file())


def byte_cases(bundle):
    for name in files_of(bundle):
        for what, change in BYTES.items():

            def tamper(root, name=name, change=change):
                (root / name).write_bytes(change((root / name).read_bytes()))

            yield f"{what} of {name}", tamper


def file_cases(bundle):
    names = files_of(bundle)

    def swap(root, one, two):
        content = (root / one).read_bytes()
        (root / one).write_bytes((root / two).read_bytes())
        (root / two).write_bytes(content)

    for one, two in combinations(names, 2):
        # two files of the same content, as the models of this bundle are, say the same when swapped
        if (bundle / one).read_bytes() != (bundle / two).read_bytes():
            yield f"{one} and {two} swapped", lambda root, one=one, two=two: swap(root, one, two)
    for name in names:
        yield f"{name} removed", lambda root, name=name: (root / name).unlink()
        for new in (f"{name}.bak", f"golden/moved/{name}", name.swapcase()):

            def rename(root, name=name, new=new):
                (root / new).parent.mkdir(parents=True, exist_ok=True)
                (root / name).rename(root / new)

            yield f"{name} renamed to {new}", rename
        yield f"{name} replaced by a link", lambda root, name=name: link(root / name)
    for new in (
        "extra.txt", "golden/extra.jpg", "model.int8.onnx.data", ".gitignore", ".git/config", ".github/x", ".hidden",
        "signature.sig", "golden/signature", "model.pt", "ä.json", "a b", "new/folder/file",
    ):  # fmt: skip

        def add(root, new=new):
            (root / new).parent.mkdir(parents=True, exist_ok=True)
            (root / new).write_bytes(b"more")

        yield f"{new} added", add
    yield "an empty file added", lambda root: (root / "empty").touch()
    yield "a link to a folder added", lambda root: (root / "folder").symlink_to(root.parent)
    yield "a link that leads nowhere added", lambda root: (root / "nowhere").symlink_to("absent")
    yield "a pipe added", lambda root: os.mkfifo(root / "pipe")


def link(path):
    kept = path.parent.parent.parent / "kept"
    kept.mkdir(exist_ok=True)
    shutil.move(path, kept / path.name)
    path.symlink_to(kept / path.name)


def signature_cases(bundle, signer, tmp_path):
    original = json.loads((bundle / "signature").read_text())
    payload = json.loads(base64.b64decode(original["dsseEnvelope"]["payload"]))

    def put(edit):
        def tamper(root):
            content = json.loads(json.dumps(original))
            edit(content)
            (root / "signature").write_text(json.dumps(content))

        return tamper

    def field(*path, value):
        def edit(content):
            *parents, last = path
            for name in parents:
                content = content[name]
            content[last] = value

        return put(edit)

    envelope = ("dsseEnvelope",)
    for name, value in (("v0.1", "application/vnd.dev.sigstore.bundle+json;version=0.1"), ("none", ""), ("v9", "x.v9")):
        yield f"media type {name}", field("mediaType", value=value)
    yield "another hint", field("verificationMaterial", "publicKey", "hint", value="0" * 64)
    yield "a certificate in place of a key", field("verificationMaterial", value={"certificate": {"rawBytes": "AAAA"}})
    yield "no material", field("verificationMaterial", value=None)
    yield "another payload type", field(*envelope, "payloadType", value="application/json")
    yield "no signatures", field(*envelope, "signatures", value=[])
    yield "an empty signature", field(*envelope, "signatures", 0, "sig", value="")
    yield "a signature of zeros", field(*envelope, "signatures", 0, "sig", value=base64.b64encode(bytes(71)).decode())
    yield (
        "r and s of zero",
        field(*envelope, "signatures", 0, "sig", value=base64.b64encode(b"\x30\x06\x02\x01\x00\x02\x01\x00").decode()),
    )
    for position in range(0, 60, 6):
        raw = bytearray(base64.b64decode(original["dsseEnvelope"]["signatures"][0]["sig"]))
        raw[position + 8] ^= 1
        text = base64.b64encode(raw).decode()
        yield f"bit of byte {position + 8} of the signature", field(*envelope, "signatures", 0, "sig", value=text)

    def restated(edit):
        changed = json.loads(json.dumps(payload))
        edit(changed)
        return base64.b64encode(json.dumps(changed).encode()).decode()

    resources = payload["predicate"]["resources"]
    for row, resource in enumerate(resources):
        text = restated(lambda c, row=row: c["predicate"]["resources"].pop(row))
        yield f"{resource['name']} left out of the statement", field(*envelope, "payload", value=text)
        text = restated(lambda c, row=row: c["predicate"]["resources"][row].update(digest="0" * 64))
        yield f"another digest of {resource['name']} in the statement", field(*envelope, "payload", value=text)
    for name, edit in {
        "_type": lambda c: c.update(_type="https://in-toto.io/Statement/v2"),
        "predicateType": lambda c: c.update(predicateType="https://model_signing/signature/v2.0"),
        "the name of the subject": lambda c: c["subject"][0].update(name="other"),
        "ignore_paths": lambda c: c["predicate"]["serialization"].update(ignore_paths=["signature", "extra.txt"]),
        "allow_symlinks": lambda c: c["predicate"]["serialization"].update(allow_symlinks=True),
    }.items():
        yield f"{name} of the statement", field(*envelope, "payload", value=restated(edit))
    same_again = json.dumps(payload, indent=3).encode()
    yield "the statement written otherwise", field(*envelope, "payload", value=base64.b64encode(same_again).decode())

    def older(root):
        """The whole signature of an older bundle, which was true once."""
        before = tmp_path / "older"
        shutil.copytree(bundle, before)
        (before / "model.int8.onnx").write_bytes(b"older model")
        config = Signing().use_elliptic_key_signer(private_key=signer.private).set_hashing_config(hashing())
        config.sign(before, root / "signature")
        shutil.rmtree(before)

    yield "the signature of an older bundle", older

    def older_payload(root):
        older(root)
        taken = json.loads((root / "signature").read_text())["dsseEnvelope"]["payload"]
        field(*envelope, "payload", value=taken)(root)

    yield "the statement of an older bundle under the signature of this", older_payload

    def older_signature(root):
        older(root)
        taken = json.loads((root / "signature").read_text())["dsseEnvelope"]["signatures"]
        field(*envelope, "signatures", value=taken)(root)

    yield "the signature of an older bundle over the statement of this", older_signature
    stranger = Signer(tmp_path / "keys", "stranger")
    yield "signed by a stranger", lambda root: sign_folder(root, stranger)

    def disguised(root):
        sign_folder(root, stranger)
        content = json.loads((root / "signature").read_text())
        content["verificationMaterial"] = original["verificationMaterial"]
        (root / "signature").write_text(json.dumps(content))

    yield "signed by a stranger under the name of the key", disguised
    for name in ("../outside", "/etc/hostname", "golden/../../outside", "nothing"):
        listed = [(r["name"], r["digest"]) for r in resources] + [(name, "0" * 64)]
        content = json.dumps(signer.sign(statement(listed)))
        yield f"a signed path {name}", lambda root, content=content: (root / "signature").write_text(content)


def refusal(root, keys):
    """Return why a bundle is refused; None if it is not."""
    try:
        Detector.load(root, keys=keys)
    except BundleError as error:
        return str(error)
    return None


def test_nothing_that_was_tampered_with_is_accepted(signed, signer, no_session, tmp_path):
    """Each case is made on a fresh copy, and looked at by `Detector.load` and by the OpenSSF tool."""
    keys = load_keys(signer.public)
    assert openssf_accepts(signed, signer.public)
    cases = [*byte_cases(signed), *file_cases(signed), *signature_cases(signed, signer, tmp_path)]
    assert len({name for name, _ in cases}) == len(cases) >= 300
    accepted, accepted_by_openssf, mute = [], [], []
    for number, (name, tamper) in enumerate(cases):
        root = tmp_path / f"case-{number}" / "bundle"
        shutil.copytree(signed, root)
        tamper(root)
        reason = refusal(root, keys)
        if reason is None:
            accepted.append(name)
        elif not reason.startswith(f"{root}: ") or "\n" in reason:
            mute.append((name, reason))
        if openssf_accepts(root, signer.public):
            accepted_by_openssf.append(name)
        shutil.rmtree(root.parent)
    assert (accepted, accepted_by_openssf, mute) == ([], [], [])


def test_the_untouched_bundle_is_accepted_as_a_folder_and_as_a_tar(signed, signer, tmp_path):
    keys = load_keys(signer.public)
    for top in (".", "some-folder"):
        with tarfile.open(tmp_path / "b.tar", "w") as tar:
            tar.add(signed, arcname=top)
        assert verify_bundle(tmp_path / "b.tar", keys).signature == signer.key_id
    assert verify_bundle(signed, keys).passed
    assert Detector.load(signed, keys=keys).signature == signer.key_id
    assert Detector.load(signed).signature == "not checked"


def test_every_way_in_refuses_before_a_session(signed, signer, no_session):
    (signed / "extra.txt").write_text("x")
    keys = load_keys(signer.public)
    for way_in in (Detector.load, verify_bundle, bench_bundle):
        with pytest.raises(SignatureError, match=r"extra\.txt is not covered by the signature"):
            way_in(signed, keys=keys)


def test_checksums_that_fit_do_not_replace_a_signature(signed, signer, reseal, no_session):
    """Who can alter a bundle can also write its SHA256SUMS anew."""
    (signed / "gate.json").write_text('{"verdict": "pass"}')
    reseal(signed)
    with pytest.raises(SignatureError, match=r"SHA256SUMS was altered|gate\.json was altered"):
        Detector.load(signed, keys=load_keys(signer.public))


def test_sums_are_checked_where_nobody_asks_for_them_to_be_skipped_and_a_signature_always(signed, signer, no_session):
    (signed / "gate.json").write_text("other")
    with pytest.raises(SignatureError, match=r"gate\.json was altered"):
        Detector.load(signed, keys=load_keys(signer.public), verify=False)


def test_expired_early_and_revoked_keys_are_refused_before_a_session(signed, signer, no_session, tmp_path):
    now = datetime.now(UTC)
    day = timedelta(days=1)
    path = tmp_path / "keys.json"
    for bounds, revoked, reason in (
        ({"not_after": (now - day).isoformat()}, (), "expired on"),
        ({"not_before": (now + day).isoformat()}, (), "not valid before"),
        ({}, (signer.key_id,), "is revoked"),
    ):
        keys = load_keys(keys_file(path, signer.entry(**bounds), revoked=revoked))
        for way_in in (Detector.load, verify_bundle, bench_bundle):
            with pytest.raises(SignatureError, match=reason):
                way_in(signed, keys=keys)


def test_an_unknown_major_version_is_refused_though_it_is_signed(bundle, reseal, signer, no_session):
    manifest = json.loads((bundle / "manifest.json").read_text()) | {"format_version": "2.0"}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    reseal(bundle)
    sign_folder(bundle, signer)
    for way_in in (Detector.load, verify_bundle, bench_bundle):
        with pytest.raises(BundleError, match=r"format_version '2\.0' is not known here \(expected 1\.x\)"):
            way_in(bundle, keys=load_keys(signer.public))


def bombs(folder):
    """Small files that would unfold to gigabytes."""
    zeros = bytes(2**20)
    packed = folder / "zip.tar"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("model.int8.onnx", "w") as member:
        for _ in range(300):
            member.write(zeros)
    yield packed, "cannot be read"
    packed = folder / "gzip.tar"
    with tarfile.open(packed, "w:gz") as archive:
        info = tarfile.TarInfo("model.int8.onnx")
        info.size = 300 * 2**20
        archive.addfile(info, _Zeros(info.size))
    yield packed, "cannot be read"
    packed = folder / "claims.tar"
    info = tarfile.TarInfo("model.int8.onnx")
    info.size = 2**40
    packed.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + zeros)
    yield packed, "too large"
    packed = folder / "sparse.tar"
    info = tarfile.TarInfo("model.int8.onnx")
    info.size, info.type = 512, tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"77777777777\0"  # the size that it unfolds to
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    packed.write_bytes(header + bytes(1536))
    yield packed, "not a regular file|too large|cannot be read"
    packed = folder / "many.tar"
    with tarfile.open(packed, "w") as archive:
        for number in range(10_001):
            archive.addfile(tarfile.TarInfo(str(number)))
    yield packed, "too large"
    packed = folder / "folder-of-holes"
    packed.mkdir()
    with (packed / "model.int8.onnx").open("wb") as file:
        file.truncate(2**40)  # a hole: no disk is used
    yield packed, "too large"


class _Zeros(io.RawIOBase):
    def __init__(self, size):
        self.left = size

    def read(self, size=-1):
        taken = min(size, self.left)
        self.left -= taken
        return bytes(taken)


def test_bombs_and_hostile_archives_are_refused(signer, tmp_path, no_session):
    keys = load_keys(signer.public)
    for packed, reason in bombs(tmp_path):
        with pytest.raises(BundleError, match=reason):
            Detector.load(packed, keys=keys)
