"""`shelfgap publish`: what may be published, and the index that says so."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from published import PADDING_BYTES, running_version
from shelfgap_edge.bundle import leads_out
from shelfgap_edge.contract import MODEL_FILES, read_manifest
from shelfgap_edge.errors import BundleError, PullError, ShelfgapError, SignatureError
from shelfgap_edge.pull.index import SIGNED_INDEX, FileEntry, open_index, parse_index
from shelfgap_edge.signature import load_keys
from shelfgap_export import index_edits
from shelfgap_export.index_edits import Moment, PublishError
from shelfgap_export.publish import change_index, publish_bundle, read_index
from shelfgap_flows.cli import app
from signing_keys import Signer, keys_file, sign_folder
from typer.testing import CliRunner

AT = Moment(datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=90))


def test_the_command_from_the_first_bundle_to_a_rollback(shop):
    common = ["--to", str(shop.root), "--key", str(shop.signer.private), "--keys", str(shop.signer.public), "--json"]

    def run(*arguments):
        result = CliRunner().invoke(app, ["publish", *arguments, *common])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    device = shop.device("device")
    assert run(str(shop.bundle("1")), "--create")["rings"] == {"canary": 1}
    assert run("--promote", "1", "--ring", "all")["rings"] == {"canary": 1, "all": 1}
    run(str(shop.bundle("2")))
    run("--promote", "2", "--ring", "all")
    assert shop.pull(device).release == 2
    assert run("--withdraw", "2", "--allow-rollback", "1")["rings"] == {"canary": 1, "all": 1}
    assert shop.pull(device).release == 1
    before = run("--list")
    after = run("--refresh", "--valid-days", "7")
    assert after["number"] == before["number"] + 1
    assert after["expires_at"] < before["expires_at"]
    shown = CliRunner().invoke(app, ["publish", "--list", "--to", str(shop.root)]).stdout
    assert "release 2 (2)" in shown
    assert "withdrawn" in shown


@pytest.mark.parametrize(
    "arguments",
    [[], ["--promote", "1"], ["--promote", "1", "--refresh"], ["bundle", "--ring", "all"], ["--refresh"]],
)
def test_wrong_usage(shop, arguments, monkeypatch):
    monkeypatch.delenv("SHELFGAP_SIGNING_KEY", raising=False)
    assert CliRunner().invoke(app, ["publish", *arguments, "--to", str(shop.root)]).exit_code == 2


@pytest.mark.parametrize("days", ["1e9", "inf", "nan"])
def test_an_index_is_valid_for_a_century_at_most(shop, days):
    keys = ["--key", str(shop.signer.private), "--keys", str(shop.signer.public)]
    arguments = [str(shop.bundle("1")), "--to", str(shop.root), *keys, "--create", "--valid-days", days]
    assert CliRunner().invoke(app, ["publish", *arguments]).exit_code == 2
    assert not (shop.root / SIGNED_INDEX).exists()


def test_what_devices_would_refuse_is_not_published(shop):
    good = shop.bundle("1")
    publish_bundle(shop.publisher, good)
    published = (shop.root / SIGNED_INDEX).read_bytes()
    stranger = Signer(shop.folder / "other")
    with pytest.raises(SignatureError):
        publish_bundle(shop.publisher, sign_folder(shop.bundle("2"), stranger))
    (good / "own.bin").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"own\.bin"):
        publish_bundle(shop.publisher, good)

    def fail_gate(root):
        report = json.loads((root / "gate.json").read_text())
        (root / "gate.json").write_text(json.dumps({**report, "verdict": "inconclusive"}))

    with pytest.raises(PublishError, match="the gate says inconclusive"):
        publish_bundle(shop.publisher, shop.bundle("3", fail_gate))
    with pytest.raises(PublishError, match=r"no gate\.json"):
        publish_bundle(shop.publisher, shop.bundle("4", lambda root: (root / "gate.json").unlink()))
    with pytest.raises(PublishError, match="is for 'bright-square', the bundle is 'other'"):
        publish_bundle(shop.publisher, shop.bundle("5", name="other"))
    with pytest.raises(SignatureError):  # a key that devices do not trust
        publish_bundle(replace(shop.publisher, key=stranger.private), shop.bundle("6"))
    assert (shop.root / SIGNED_INDEX).read_bytes() == published


def other_threshold(root):
    manifest = read_manifest(root)
    (root / "manifest.json").write_text(replace(manifest, score_thresholds={"gap": 0.9, "low": 0.4}).to_json())


def other_model(root):
    model = onnx.load(root / MODEL_FILES["int8"])
    model.doc_string = "other bytes"
    onnx.save(model, root / MODEL_FILES["int8"])


def no_identity(root):
    (root / "gate.json").write_text(json.dumps({"verdict": "pass", "reason": "", "checks": []}))


def no_end(root):
    (root / "gate.json").write_text("[" * 100_000)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (other_threshold, "judged another model"),
        (other_model, "judged another model"),
        (no_identity, "does not say which model it judged"),
        (no_end, "is not the report of a gate"),
    ],
)
def test_a_gate_of_another_model_publishes_nothing(shop, edit, message):
    """Whoever signs may have edited the bundle after the gate: sums and signature fit, the verdict is another's."""
    with pytest.raises(PublishError, match=message):
        shop.publish("1", edit)
    assert not (shop.root / SIGNED_INDEX).exists()


def test_the_openssf_package_accepts_the_index(shop):
    from model_signing.hashing import Config as Hashing
    from model_signing.verifying import Config as Verifying

    shop.publish("1")
    sealed = json.loads((shop.root / SIGNED_INDEX).read_text())
    text, signature = shop.folder / "text", shop.folder / "signature"
    text.write_text(sealed["index"])
    signature.write_text(sealed["signature"])
    verifier = Verifying().use_elliptic_key_verifier(public_key=shop.signer.public).set_hashing_config(Hashing())
    verifier.verify(text, signature)
    text.write_text(sealed["index"] + " ")
    with pytest.raises(ValueError, match="mismatch"):
        verifier.verify(text, signature)


def test_every_altered_byte_of_an_index_is_refused(shop):
    shop.publish("1")
    content = (shop.root / SIGNED_INDEX).read_bytes()
    keys, now = load_keys(shop.signer.public), datetime.now(UTC)
    index = open_index(content, keys, now=now, where="index")
    for position in range(0, len(content), 7):
        altered = bytearray(content)
        altered[position] ^= 1
        try:
            assert open_index(bytes(altered), keys, now=now, where="index") == index
        except ShelfgapError:
            continue  # else the byte was one that says nothing: the signature's hint of the key
    with pytest.raises(PullError):
        open_index(content[:-1], keys, now=now, where="index")


def test_an_index_that_is_no_text_is_refused(shop):
    """A genuine signature beside a text with half a surrogate pair, which JSON can hold and nobody can hash."""
    shop.publish("1")
    sealed = json.loads((shop.root / SIGNED_INDEX).read_bytes())
    content = json.dumps({**sealed, "index": sealed["index"] + "\ud800"}).encode()
    keys, now = load_keys(shop.signer.public), datetime.now(UTC)
    with pytest.raises(PullError, match=r"index: not a signed index \(surrogates not allowed\)$"):
        open_index(content, keys, now=now, where="index")


def an_index():
    index = index_edits.new_index("gaps", AT)
    return index_edits.issue(index_edits.add_release(index, "1", (FileEntry("a", "0" * 64, 3),), frozenset(), AT), AT)


def test_an_index_is_read_as_it_was_written():
    assert parse_index(an_index().to_json(), "index") == an_index()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"path": "a"', '"path": "../a"', "no path below"),
        ('"path": "a"', '"path": "/a"', "no path below"),
        ('"path": "a"', '"path": "b//a"', "no path below"),
        ('"path": "a"', '"path": "."', "no path below"),
        ('"size": 3', '"size": -1', "no size"),
        ('"size": 3', '"size": true', "no size"),
        ('"size": 3', '"size": 999999999', "at most"),
        ("0" * 64, "../../x", "no SHA-256"),
        ('"canary": 1', '"canary": 2', "which is not in the index"),
        ('"withdrawn_at": null', '"withdrawn_at": "now"', "was withdrawn"),
        ("+00:00", "", "a time with its zone"),
        ("2026-01-01T00:00:00+00:00", "0001-01-01T00:00:00+23:00", "not of its schema"),
        ("shelfgap-index/1", "shelfgap-index/2", "upgrade"),
        ('"releases": [', '"releases": 7, "x": [', "not of its schema"),
    ],
)
def test_indexes_that_are_refused_though_signed(old, new, message):
    text = an_index().to_json()
    assert old in text
    with pytest.raises(PullError, match=message):
        parse_index(text.replace(old, new), "index")


@given(st.text())
def test_no_path_of_an_index_leads_out(path):
    text = an_index().to_json().replace('"path": "a"', f'"path": {json.dumps(path)}')
    try:
        (entry,) = parse_index(text, "index").releases[0].files
    except PullError:
        return
    assert not leads_out(entry.path)
    assert "" not in entry.path.split("/")


def test_steps_that_are_refused():
    index = an_index()
    with pytest.raises(PublishError, match="no release 9"):
        index_edits.offer(index, 9, "all", AT)
    withdrawn = index_edits.withdraw(index, 1, None, AT)
    assert dict(withdrawn.rings) == {}
    with pytest.raises(PublishError, match="was withdrawn"):
        index_edits.offer(withdrawn, 1, "all", AT)
    with pytest.raises(PublishError, match="was never in ring all"):
        index_edits.allow_rollback(index, 1, "all", AT)
    with pytest.raises(PublishError, match="set the clock"):
        index_edits.issue(index, replace(AT, now=AT.now - timedelta(days=1)))
    skipped = replace(index, releases=tuple(replace(release, offered_at={}) for release in index.releases))
    with pytest.raises(PublishError, match="never in ring canary"):
        index_edits.offer(skipped, 1, "all", AT)


def test_an_allowance_ends_when_no_ring_runs_the_release():
    files = (FileEntry("a", "1" * 64, 3),)
    index = index_edits.add_release(an_index(), "2", files, frozenset(), AT)
    index = index_edits.allow_rollback(index, 1, "canary", AT)
    assert index.allow_rollback == (1,)
    assert index_edits.offer(index, 2, "canary", AT).allow_rollback == ()


def test_the_same_bundle_signed_again_is_the_same_release(shop):
    index = shop.publish("1")
    sign_folder(shop.folder / "bundle-1", shop.signer)
    assert publish_bundle(shop.publisher, shop.folder / "bundle-1") == index
    assert sum(path.stat().st_size for path in shop.root.glob("blobs/*/*")) < 2 * PADDING_BYTES + 50_000


def test_a_bundle_signed_with_the_next_key_reaches_devices_before_the_old_one_is_revoked(shop):
    old, new = shop.signer, Signer(shop.folder / "keys", "next")
    keys = keys_file(shop.folder / "keys.json", old.entry(), new.entry())
    shop.publisher = replace(shop.publisher, keys=keys)
    bundle, device = shop.bundle("1"), replace(shop.device("device"), keys=keys)
    publish_bundle(shop.publisher, bundle)
    shop.promote(1)
    assert shop.pull(device).release == 1

    shop.publisher = replace(shop.publisher, key=new.private)
    index = publish_bundle(shop.publisher, sign_folder(bundle, new))
    assert index.rings == {"canary": 2, "all": 1}
    signature_bytes = (bundle / "signature").stat().st_size  # that of another signing may be shorter or longer
    assert publish_bundle(shop.publisher, sign_folder(bundle, new)) == index  # the same key again is the same release
    shop.promote(2)
    keys_file(keys, old.entry(), new.entry(), revoked=(old.key_id,))
    outcome = shop.pull(device)
    assert (outcome.status, outcome.release) == ("updated", 2)
    assert outcome.fetched_bytes == signature_bytes
    assert running_version(device) == "1"


def test_a_signature_that_counts_no_more_is_replaced_too(shop):
    old, new = shop.signer, Signer(shop.folder / "keys", "next")
    keys = keys_file(shop.folder / "keys.json", old.entry(), new.entry())
    shop.publisher = replace(shop.publisher, key=new.private, keys=keys)  # the index is the new key's from the start
    bundle = shop.bundle("1")
    publish_bundle(shop.publisher, bundle)
    keys_file(keys, old.entry(not_after="2026-01-01T00:00:00Z"), new.entry())
    assert publish_bundle(shop.publisher, sign_folder(bundle, new)).rings == {"canary": 2}


def test_nothing_published_there(shop):
    shop.root.mkdir(exist_ok=True)
    with pytest.raises(PublishError, match="nothing is published there; check the address"):
        read_index(shop.publisher.destination)
    with pytest.raises(PublishError, match="--create"):
        change_index(shop.publisher, index_edits.renew)


def test_a_folder_of_a_mistyped_address_is_not_made(shop, tmp_path):
    keys = ["--key", str(shop.signer.private), "--keys", str(shop.signer.public)]
    for arguments in (["--list"], ["--promote", "1", "--ring", "all", *keys], [str(shop.bundle("1")), *keys]):
        found = CliRunner().invoke(app, ["publish", "--to", str(tmp_path / "typo"), *arguments])
        assert isinstance(found.exception, PublishError)
        assert str(found.exception).startswith(f"{tmp_path / 'typo'}: nothing is published there; check the address")
        assert not (tmp_path / "typo").exists()
