"""`shelfgap bundle keygen | sign`, and the signature of a release: noted in DVC, made once."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from canary import check_a_bad_canary
from patches_workspace import patches_params, shelfgap
from shelfgap_edge.bundle import compute_sums, read_bundle
from shelfgap_edge.contract import FORMAT_VERSION, Manifest
from shelfgap_edge.signature import check_signed, load_keys
from shelfgap_edge.verify import verify_bundle
from shelfgap_export.signing import SigningError, generate_key
from shelfgap_flows.settings import Settings
from shelfgap_flows.sign import sign_release
from shelfgap_flows.workspace import Workspace, run_dvc
from small_network import dark_patches

MAKE = """
from pathlib import Path
print("made", file=open("made.log", "a"))
Path("release/bundle").mkdir(parents=True, exist_ok=True)
for name in ("manifest.json", "SHA256SUMS"):
    Path("release/bundle", name).write_bytes(Path(name).read_bytes())
Path("release/bundle/signature").unlink(missing_ok=True)
Path("release/bundle.tar").write_bytes(b"")
"""
STAGES = """
stages:
  bundle:
    cmd: {python} make.py
    deps: [manifest.json]
    outs:
      - release/bundle: {{persist: true}}
      - release/bundle.tar: {{persist: true}}
"""


@pytest.fixture
def workspace(tmp_path):
    """A workspace under DVC whose stage `bundle` writes a bundle without models."""
    root = tmp_path / "ws"
    root.mkdir()
    manifest = Manifest(FORMAT_VERSION, "patches", "1", "now", ("gap",), (96, 128), {"gap": 0.5}, "int8", {}, {})
    (root / "manifest.json").write_text(manifest.to_json())
    (root / "SHA256SUMS").write_text(compute_sums({"manifest.json": manifest.to_json().encode()}))
    (root / "make.py").write_text(MAKE)
    (root / "dvc.yaml").write_text(STAGES.format(python=sys.executable))
    made = Workspace(root)
    run_dvc(made, "init", "--no-scm", "--quiet")
    return made


@pytest.fixture
def pair(tmp_path):
    return generate_key(tmp_path / "keys" / "release")


def signer_of(bundle, public_key):
    return check_signed(read_bundle(bundle), load_keys(public_key), now=datetime.now(UTC), where="b")


def reproduce(workspace):
    run_dvc(workspace, "repro", "--single-item", "bundle")
    return (workspace.root / "made.log").read_text().count("made")


def test_a_signed_release_is_up_to_date_and_not_signed_anew(workspace, pair):
    settings = Settings(signing_key=pair.private_key)
    assert reproduce(workspace) == 1
    assert sign_release(workspace, settings)
    signature = (workspace.bundle / "signature").read_bytes()
    assert reproduce(workspace) == 1
    assert not sign_release(workspace, settings)
    assert (workspace.bundle / "signature").read_bytes() == signature
    assert signer_of(workspace.bundle.with_name("bundle.tar"), pair.public_key) == pair.key_id


def test_without_a_key_nothing_is_signed(workspace):
    reproduce(workspace)
    assert not sign_release(workspace, Settings())
    assert not (workspace.bundle / "signature").exists()


def test_a_kill_before_dvc_was_told_heals_by_itself(workspace, pair):
    settings = Settings(signing_key=pair.private_key)
    reproduce(workspace)
    with pytest.MonkeyPatch.context() as patch:

        def killed(*_):
            raise KeyboardInterrupt

        patch.setattr("shelfgap_flows.sign.run_dvc", killed)
        with pytest.raises(KeyboardInterrupt):
            sign_release(workspace, settings)
    reproduce(workspace)
    sign_release(workspace, settings)
    assert signer_of(workspace.bundle, pair.public_key) == pair.key_id
    made = reproduce(workspace)
    assert reproduce(workspace) == made
    assert signer_of(workspace.bundle, pair.public_key) == pair.key_id


def test_a_new_bundle_is_signed_again(workspace, pair):
    settings = Settings(signing_key=pair.private_key)
    reproduce(workspace)
    sign_release(workspace, settings)
    changed = (workspace.root / "manifest.json").read_text().replace('"patches"', '"others"')
    (workspace.root / "manifest.json").write_text(changed)
    (workspace.root / "SHA256SUMS").write_text(compute_sums({"manifest.json": changed.encode()}))
    assert reproduce(workspace) == 2
    assert not (workspace.bundle / "signature").exists()
    assert sign_release(workspace, settings)
    assert signer_of(workspace.bundle, pair.public_key) == pair.key_id


def test_a_key_that_is_set_and_cannot_be_used_stops_the_release(workspace, tmp_path):
    reproduce(workspace)
    with pytest.raises(SigningError, match="absent: the key cannot be read"):
        sign_release(workspace, Settings(signing_key=tmp_path / "absent"))


def test_the_environment_names_key_and_passphrase_and_empty_is_unset(monkeypatch):
    monkeypatch.setenv("SHELFGAP_SIGNING_KEY", "/keys/release")
    monkeypatch.setenv("SHELFGAP_SIGNING_PASSPHRASE", "correct horse")
    settings = Settings()
    assert (settings.signing_key, settings.passphrase()) == (Path("/keys/release"), "correct horse")
    assert "correct horse" not in repr(settings)
    for name in ("KEY", "PASSPHRASE"):  # as CI does with a secret that is not there
        monkeypatch.setenv(f"SHELFGAP_SIGNING_{name}", "")
    assert (Settings().signing_key, Settings().passphrase()) == (None, None)


@pytest.fixture
def run(run_command, monkeypatch, tmp_path):
    """The command in an empty directory."""
    monkeypatch.chdir(tmp_path)
    return run_command


def test_keygen_and_sign_as_commands(run, workspace, monkeypatch):
    monkeypatch.setenv("SHELFGAP_SIGNING_PASSPHRASE", "correct horse")
    code, out, _ = run("bundle", "keygen", "keys/release", "--json")
    made = json.loads(out)
    assert (code, made["encrypted"], made["private_key"]) == (0, True, "keys/release")
    assert stat.S_IMODE(os.stat("keys/release").st_mode) == 0o600  # noqa: PTH116
    assert "correct horse" not in out
    code, out, err = run("bundle", "keygen", "keys/release")
    assert (code, out) == (1, "")
    assert "is there already, and a key is never overwritten" in err
    reproduce(workspace)
    code, out, _ = run("bundle", "sign", workspace.bundle, "--key", "keys/release")
    assert (code, out) == (0, f"{workspace.bundle}: signed\n")
    code, out, _ = run("bundle", "sign", workspace.bundle, "--key", "keys/release", "--json")
    assert (code, json.loads(out)["written"]) == (0, False)
    assert signer_of(workspace.bundle, Path("keys/release.pub")) == made["key_id"]
    monkeypatch.delenv("SHELFGAP_SIGNING_PASSPHRASE")
    code, out, err = run("bundle", "sign", workspace.bundle, "--key", "keys/release")
    assert (code, out) == (1, "")
    assert "the key is encrypted; set SHELFGAP_SIGNING_PASSPHRASE" in err
    assert "Traceback" not in err
    code, _, err = run("bundle", "sign", workspace.bundle)
    assert code == 2
    assert "SHELFGAP_SIGNING_KEY" in err
    code, out, _ = run("bundle", "keygen", "keys/open")
    assert code == 0
    assert "not encrypted: SHELFGAP_SIGNING_PASSPHRASE was not set" in out


@pytest.mark.slow
def test_a_release_with_a_key_ships_a_signed_bundle(tmp_path, pair, monkeypatch):
    """The whole flow; a second one writes nothing; the OpenSSF command agrees; devices take it, and nothing worse."""
    dark_patches(tmp_path / "data")
    params = patches_params(tmp_path / "params.yaml", tmp_path / "data")
    monkeypatch.setenv("SHELFGAP_SIGNING_KEY", str(pair.private_key))
    code, result, err = shelfgap("release", "--workspace", tmp_path / "ws", "--params", params)
    assert code == 0, err[-4000:]
    bundle = Path(result["bundle"])
    for form in (bundle, bundle.with_name("bundle.tar")):
        report = verify_bundle(form, load_keys(pair.public_key))
        assert (report.passed, report.signature) == (True, pair.key_id)
    arguments = ("verify", "key", bundle, "--signature", bundle / "signature", "--public_key", pair.public_key)
    subprocess.run([Path(sys.executable).with_name("model_signing"), *arguments], check=True, capture_output=True)
    before = {path: path.stat().st_mtime_ns for path in [*bundle.rglob("*"), bundle.with_name("bundle.tar")]}
    code, again, err = shelfgap("release", "--workspace", tmp_path / "ws")
    assert (code, again) == (0, result), err[-4000:]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    check_a_bad_canary(bundle, pair, tmp_path)
